import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { removeLeftovers, replaceFile, writeFileAtomic } from './atomic-file.ts';
import { isFault } from './fault.ts';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-atomic-'));
});
after(() => rm(folder, { recursive: true }));

test('a file has its new content as a whole, for its owner alone', async () => {
  const path = join(folder, 'note');
  await writeFile(path, 'old', { mode: 0o644 });
  await writeFileAtomic(path, 'new');
  assert.deepEqual([await readFile(path, 'utf8'), (await stat(path)).mode & 0o777], ['new', 0o600]);
  assert.deepEqual(await readdir(folder), ['note']);
});

test('what fails leaves the file as it was, and nothing beside it', async () => {
  const path = join(folder, 'kept');
  await writeFile(path, 'old');
  const half = replaceFile(path, async (file) => {
    await file.writeFile('half');
    throw new Error('the pen broke');
  });
  await assert.rejects(half, /the pen broke/);
  assert.equal(await readFile(path, 'utf8'), 'old');
  assert.deepEqual((await readdir(folder)).sort(), ['kept', 'note']);
});

test('a folder that is not there is told before anything is written', async () => {
  let hasWritten = false;
  const gone = replaceFile(join(folder, 'none/x'), async () => {
    hasWritten = true;
  });
  await assert.rejects(gone, (error) => isFault(error, 'file.unwritable'));
  assert.equal(hasWritten, false);
});

test('what a process that died has left is removed, of one file or of all', async () => {
  for (const name of ['.a.1234.usher-tmp', '.b.1234.usher-tmp', '.b.5678.usher-tmp'])
    await writeFile(join(folder, name), '');
  assert.equal(await removeLeftovers(folder, 'b'), 2);
  assert.equal(await removeLeftovers(folder), 1);
  assert.deepEqual((await readdir(folder)).sort(), ['kept', 'note']);
  assert.equal(await removeLeftovers(join(folder, 'none')), 0);
});
