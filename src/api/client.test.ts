import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { Client } from './client.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-client-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('goes on to the next socket when no daemon answers on the first, and tells of the first when none does', async () => {
  const path = join(folder, 'answers.sock');
  const server = createServer((socket) => socket.on('error', () => undefined).resume()).listen(path);
  await new Promise((resolve) => server.once('listening', resolve));
  const [first, second] = [join(folder, 'first.sock'), join(folder, 'second.sock')];
  const client = await Client.connectToAny([first, second, path], 'test');
  client.close();
  server.close();
  await assert.rejects(
    Client.connectToAny([first, second], 'test'),
    (error) => isFault(error, 'daemon.unreachable') && error.message.includes(first),
  );
});

test('says so when the next one does not let it in', {
  skip: process.getuid?.() === 0 && 'root is let in',
}, async () => {
  const closed = join(folder, 'closed');
  mkdirSync(closed);
  chmodSync(closed, 0);
  await assert.rejects(
    Client.connectToAny([join(folder, 'first.sock'), join(closed, 'usher.sock')], 'test'),
    (error) => isFault(error, 'denied') && error.message.includes(closed),
  );
});
