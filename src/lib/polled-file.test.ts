/** A device that can be polled, and one that cannot; a terminal's master side stands for the first. */
import assert from 'node:assert/strict';
import { constants, openSync, readSync } from 'node:fs';
import { test } from 'node:test';
import { isFault } from './fault.ts';
import { readPolled } from './polled-file.ts';

const open = (path: string) => openSync(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY);

test('reads what comes, and closes the file in the end', async () => {
  const fd = open('/dev/ptmx');
  const stream = readPolled(fd, '/dev/ptmx', 'ptmx');
  const chunk = new Promise<Buffer>((resolve) => stream.once('data', resolve));
  // A new terminal echoes what its master is written.
  stream.write('hello\n');
  assert.equal((await chunk).toString(), 'hello\r\n');
  const closed = new Promise((resolve) => stream.once('close', resolve));
  stream.destroy();
  await closed;
  assert.throws(() => readSync(fd, Buffer.alloc(1)), { code: 'EBADF' });
});

test('occupies no thread while nothing comes', async () => {
  const streams = Array.from({ length: 8 }, () => readPolled(open('/dev/ptmx'), '/dev/ptmx', 'ptmx').resume());
  const { readFile } = await import('node:fs/promises');
  assert.equal((await readFile('/dev/null')).length, 0, 'the pool of four threads is free');
  for (const stream of streams) stream.destroy();
});

test('refuses another device than it was told, and what is none', () => {
  for (const path of ['/dev/null', '/tmp']) {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    assert.throws(
      () => readPolled(fd, path, 'ptmx'),
      (error) => isFault(error, 'file.unreadable') && /it is (null|no device), not ptmx/.test(error.message),
    );
    assert.throws(() => readSync(fd, Buffer.alloc(1)), { code: 'EBADF' });
  }
});
