import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { RunNotes } from './run-notes.ts';

let folder: string;
/** The number of a process that is no more. */
let deadPid: number;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-notes-'));
  deadPid = spawnSync('true').pid;
});
after(async () => {
  await rm(folder, { recursive: true });
});

test('a dead run leaves its patterns to the next, a living one does not, and other VMs have their own', async () => {
  await new RunNotes(folder, deadPid).write('vm-1', ['a', 'b']);
  const [parent, own] = [new RunNotes(folder, process.ppid), new RunNotes(folder)];
  await parent.write('vm-1', ['c']);
  assert.deepEqual(await own.leftWith('vm-1'), ['a', 'b']);
  assert.deepEqual(await own.leftWith('vm-2'), []);
  await own.write('vm-1', ['a', 'b', 'd']);
  assert.deepEqual((await readdir(folder)).sort(), [`${process.pid}.json`, `${process.ppid}.json`].sort());
  const next = new RunNotes(folder, deadPid);
  assert.deepEqual(await next.leftWith('vm-1'), [], 'both live');
  await own.write('vm-1', []);
  await parent.write('vm-1', []);
  assert.deepEqual(await readdir(folder), []);
});

test('our own number is that of a run before us, and so is any number of another boot', async () => {
  await new RunNotes(folder).write('vm-1', ['a']);
  assert.deepEqual(await new RunNotes(folder).leftWith('vm-1'), ['a']);
  const path = join(folder, `${process.pid}.json`);
  const note = JSON.parse(await readFile(path, 'utf8')) as object;
  await writeFile(
    join(folder, `${process.ppid}.json`),
    JSON.stringify({ ...note, boot: 'x', pid: process.ppid, patterns: ['b'] }),
  );
  assert.deepEqual((await new RunNotes(folder).leftWith('vm-1')).sort(), ['a', 'b']);
  for (const name of await readdir(folder)) await rm(join(folder, name));
});

test('notes that make no sense, and a folder that is not there, are nothing', async () => {
  await writeFile(join(folder, `${deadPid}.json`), '{"boot":1,"patterns":"all"}');
  await writeFile(join(folder, '1.json'), 'nonsense');
  assert.deepEqual(await new RunNotes(folder).leftWith('vm-1'), []);
  assert.deepEqual(await new RunNotes(join(folder, 'none')).leftWith('vm-1'), []);
});
