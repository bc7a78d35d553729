import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { groupId, userName } from './accounts.ts';
import { bootId } from './boot-id.ts';
import { isFault } from './fault.ts';
import { lockFile, peerCredentials } from './native.ts';
import { connectUnix, listenUnix } from './unix-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-native-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('tells who is at the other end of a socket, and nothing of a closed one', async () => {
  const path = join(folder, 'peer.sock');
  const accepted = Promise.withResolvers<Socket>();
  const server = await listenUnix(path, accepted.resolve);
  const client = await connectUnix(path, { timeoutMs: 1000 });
  const socket = await accepted.promise;
  const expected = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() };
  assert.deepEqual(peerCredentials(socket), expected);
  assert.deepEqual(peerCredentials(client), expected);
  client.destroy();
  await server.close();
  assert.equal(peerCredentials(socket), undefined);
});

test('locks a file once, names the holder, and locks again after the release', () => {
  const path = join(folder, 'lock');
  const first = lockFile(path);
  assert.ok('release' in first);
  assert.deepEqual(lockFile(path), { heldBy: process.pid });
  assert.equal(readFileSync(path, 'utf8').trim(), String(process.pid));
  first.release();
  first.release();
  const second = lockFile(path);
  assert.ok('release' in second);
  second.release();
});

test('a child that lives on does not hold the lock', async () => {
  const path = join(folder, 'inherited');
  const lock = lockFile(path);
  assert.ok('release' in lock);
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  await once(child, 'spawn');
  lock.release();
  const again = lockFile(path);
  child.kill();
  await once(child, 'exit');
  assert.ok('release' in again);
  again.release();
});

test('does not follow a link to lock another file', () => {
  const path = join(folder, 'link');
  writeFileSync(join(folder, 'target'), '');
  symlinkSync(join(folder, 'target'), path);
  assert.throws(
    () => lockFile(path),
    (error) => isFault(error, 'file.unwritable'),
  );
});

test('knows users and groups by name, and shows others by number', () => {
  const passwd = join(folder, 'passwd');
  writeFileSync(passwd, 'root:x:0:0::/root:/bin/sh\nada:x:4242:4242::/home/ada:/bin/sh\n');
  const group = join(folder, 'group');
  writeFileSync(group, 'root:x:0:\nusher:x:77:ada\n');
  assert.equal(userName(4242, passwd), 'ada');
  assert.equal(userName(4243, passwd), '4243');
  assert.equal(groupId('usher', group), 77);
  assert.equal(groupId('nobody', group), undefined);
  assert.equal(groupId('usher', join(folder, 'missing')), undefined);
});

test('knows the boot', () => {
  assert.match(bootId(), /^[0-9a-f-]{36}$/);
  assert.equal(bootId(), bootId());
});
