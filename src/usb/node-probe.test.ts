/** On files, and on pipes, which hold whoever opens them: in /var/tmp, because not every tmpfs can be read past its cache. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { probeOpen, probeSector } from './node-probe.ts';

const folder = mkdtempSync('/var/tmp/usher-probe-');
const disk = join(folder, 'disk');
const pipe = join(folder, 'pipe');
const quick = { timeoutMs: 20_000 };

suite('probes', () => {
  after(() => rmSync(folder, { recursive: true }));
  writeFileSync(disk, Buffer.alloc(8192));
  execFileSync('mkfifo', [pipe]);

  test('a disk that is there answers', async () => {
    assert.equal(await probeSector(disk, 4096, quick), 'answers');
    assert.equal(await probeOpen(disk, quick), 'answers');
  });

  test('a node that is missing, and one that cannot be opened, in the words of the system', async () => {
    assert.deepEqual(await probeSector(join(folder, 'none'), 512, quick), { fails: 'its node is missing' });
    const socket = join(folder, 'socket');
    const server = createServer().listen(socket);
    await once(server, 'listening');
    assert.deepEqual(await probeOpen(socket, quick), { fails: 'No such device or address' });
    server.close();
  });

  test('a reader without a card is empty, and an error in between is told; what is asked for', async (context) => {
    const path = process.env['PATH'];
    context.after(() => {
      process.env['PATH'] = path;
    });
    process.env['PATH'] = `${folder}:${path}`;
    const says = (words: string) => {
      writeFileSync(join(folder, 'dd'), `#!/bin/sh\necho "dd: ${words}" >&2\nexit 1\n`, { mode: 0o755 });
      return probeSector(disk, 512, quick);
    };
    const operands = `if=${disk} of=/dev/null status=none bs=512 count=1 iflag=direct`;
    assert.deepEqual(await says('asked: $*'), { fails: operands });
    assert.equal(await says("failed to open '/dev/sdb': No medium found"), 'empty');
    assert.equal(await says("failed to open '/dev/sdb': Operation not permitted"), 'forbidden');
    assert.deepEqual(await says("error reading '/dev/sdb': Input/output error"), { fails: 'Input/output error' });
    assert.deepEqual(await says('broken'), { fails: 'status 1, it said: dd: broken' });
  });

  test('what hangs is left at the deadline', async () => {
    assert.deepEqual(await probeOpen(pipe, { timeoutMs: 200 }), { fails: 'it does not answer within 0.2 s' });
  });

  test('giving up is no answer', async () => {
    const giving = new AbortController();
    const answer = probeOpen(pipe, { ...quick, signal: giving.signal });
    giving.abort();
    await assert.rejects(answer, (error) => isFault(error, 'aborted'));
  });

  test('what we may not read is said to be forbidden', { skip: process.getuid?.() === 0 }, async () => {
    chmodSync(disk, 0);
    assert.equal(await probeSector(disk, 512, quick), 'forbidden');
  });
});
