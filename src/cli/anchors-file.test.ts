import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { MAX_ANCHORS } from '../api/operations.ts';
import { isFault } from '../lib/fault.ts';
import { formatAnchor } from '../model/audit-anchor.ts';
import { readAnchors } from './anchors-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-anchors-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const anchor = (row: number) => ({ row, hash: 'ab'.repeat(32), home: '/var/lib/usher' });
const line = (row: number) => `Nov 21 10:00:00 host usherd[1]: ${formatAnchor(anchor(row))}`;

test('takes anchors out of a log, and passes over the rest', async () => {
  const file = join(folder, 'auth.log');
  writeFileSync(file, [line(1), 'Nov 21 10:00:01 host sshd[2]: Accepted', '', line(5)].join('\r\n'));
  assert.deepEqual(await readAnchors(file), [anchor(1), anchor(5)]);
});

test('takes them from standard input', async () => {
  assert.deepEqual(await readAnchors('-', Readable.from([`${line(1)}\n${line(2).slice(0, 40)}`, line(2).slice(40)])), [
    anchor(1),
    anchor(2),
  ]);
});

test('of the log of years takes as many as a check takes, the newest among them', async () => {
  const rows = Array.from({ length: 5 * MAX_ANCHORS }, (_, i) => i + 1);
  const anchors = await readAnchors('-', Readable.from(rows.map((row) => `${line(row)}\n`)));
  assert.equal(anchors.length, MAX_ANCHORS);
  assert.equal(anchors.at(-1)?.row, rows.length);
  assert.equal(anchors[0]?.row, 1);
});

test('says so when there is no file, or no anchor in it', async () => {
  const missing = join(folder, 'missing');
  await assert.rejects(readAnchors(missing), (error) => isFault(error, 'file.unreadable'));
  await assert.rejects(readAnchors(folder), (error) => isFault(error, 'file.unreadable'));
  await assert.rejects(
    readAnchors('-', Readable.from(['nothing\n'])),
    (error) => isFault(error, 'usage') && (error.hint ?? '').includes('journalctl'),
  );
});
