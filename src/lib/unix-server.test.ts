import assert from 'node:assert/strict';
import { once } from 'node:events';
import { lstatSync, mkdtempSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isFault } from './fault.ts';
import { connectUnix, listenUnix } from './unix-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-unix-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('carries bytes both ways, with the mode asked for, and leaves no file behind', async () => {
  const path = join(folder, 'talk.sock');
  const server = await listenUnix(path, (socket) => socket.end('hello\n'), { mode: 0o600 });
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const client = await connectUnix(path, { timeoutMs: 1000 });
  const [chunk] = (await once(client, 'data')) as [Buffer];
  assert.equal(chunk.toString(), 'hello\n');
  client.destroy();
  await server.close();
  assert.equal(lstatSync(path, { throwIfNoEntry: false }), undefined);
});

test('refuses a path that the kernel would cut, and one that is taken', async () => {
  const long = join(folder, 'x'.repeat(107));
  await assert.rejects(
    listenUnix(long, () => undefined),
    (error) => isFault(error, 'socket.path_long'),
  );
  const path = join(folder, 'taken.sock');
  const server = await listenUnix(path, () => undefined);
  await assert.rejects(
    listenUnix(path, () => undefined),
    (error) => isFault(error, 'socket.busy') && error.message.includes(path),
  );
  await server.close();
});

test('accepts a path of exactly 107 bytes', async () => {
  const path = join(folder, 'x'.repeat(107 - folder.length - 1));
  assert.equal(path.length, 107);
  const server = await listenUnix(path, () => undefined);
  (await connectUnix(path, { timeoutMs: 1000 })).destroy();
  await server.close();
});

test('takes the place of a dead socket', async () => {
  const path = join(folder, 'dead.sock');
  // libuv removes the name that it bound; what stays under another name is what a killed process leaves.
  const dead = createServer().listen(join(folder, 'dying.sock'));
  await once(dead, 'listening');
  renameSync(join(folder, 'dying.sock'), path);
  await new Promise((resolve) => dead.close(resolve));
  const server = await listenUnix(path, (socket) => socket.end());
  (await connectUnix(path, { timeoutMs: 1000 })).destroy();
  await server.close();
});

test('never removes what is not a socket', async () => {
  for (const make of [
    (path: string) => writeFileSync(path, 'precious'),
    (path: string) => symlinkSync('/dev/null', path),
  ]) {
    const path = join(folder, 'other');
    make(path);
    await assert.rejects(
      listenUnix(path, () => undefined),
      (error) => isFault(error, 'file.unwritable'),
    );
    assert.ok(lstatSync(path));
    rmSync(path);
  }
});

test('leaves the socket of a successor alone when it closes', async () => {
  const path = join(folder, 'next.sock');
  const first = await listenUnix(path, () => undefined);
  rmSync(path);
  const second = await listenUnix(path, (socket) => socket.end());
  await first.close();
  (await connectUnix(path, { timeoutMs: 1000 })).destroy();
  await second.close();
});

test('closes while clients are connected', async () => {
  const path = join(folder, 'open.sock');
  const server = await listenUnix(path, () => undefined);
  const client = await connectUnix(path, { timeoutMs: 1000 });
  const ended = once(client.resume(), 'close');
  await server.close();
  await ended;
});

test('says that nothing answers', async () => {
  await assert.rejects(connectUnix(join(folder, 'nobody.sock'), { timeoutMs: 1000 }), (error) =>
    isFault(error, 'socket.unreachable'),
  );
});

test('connects 40 clients at once through a backlog of 1', async () => {
  const path = join(folder, 'narrow.sock');
  const server = await listenUnix(path, () => undefined, { backlog: 1 });
  const clients = await Promise.all(Array.from({ length: 40 }, () => connectUnix(path, { timeoutMs: 5000 })));
  for (const client of clients) client.destroy();
  await server.close();
});

test('opens and closes 1000 listeners quickly', async () => {
  const begin = performance.now();
  const servers = [];
  for (let i = 0; i < 1000; i++) servers.push(await listenUnix(join(folder, `many-${i}.sock`), () => undefined));
  await Promise.all(servers.map((server) => server.close()));
  assert.ok(performance.now() - begin < 60_000, 'listeners wait for one another');
});
