import assert from 'node:assert/strict';
import { appendFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { DiskConfig } from '../model/vm.ts';
import { parseSavedDisks, snapshotNameOf, stampDisks, whyDiskChanged, writableDisks } from './saved-disks.ts';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-disks-'));
});
after(() => rm(folder, { recursive: true }));

function disk(changes: Partial<DiskConfig> = {}): DiskConfig {
  return { path: join(folder, 'a.img'), format: 'raw', target: 'vda', isReadOnly: false, kind: 'disk', ...changes };
}

test('only what a guest can write to counts', () => {
  const disks = [disk(), disk({ target: 'vdb', isReadOnly: true }), disk({ target: 'vdc', kind: 'cdrom' })];
  assert.deepEqual(
    writableDisks(disks).map(({ target }) => target),
    ['vda'],
  );
});

test('a disk that was written to since is found, one that was only moved is not', async () => {
  const { path } = disk();
  await writeFile(path, 'content');
  const saved = await stampDisks([disk()]);
  assert.equal(await whyDiskChanged(saved, [disk()]), undefined);
  const moved = join(folder, 'moved.img');
  await rename(path, moved);
  assert.equal(await whyDiskChanged(saved, [disk({ path: moved })]), undefined);
  await appendFile(moved, 'more');
  assert.match(
    (await whyDiskChanged(saved, [disk({ path: moved })])) ?? '',
    /its disk vda \(raw, .*moved\.img\) has changed/,
  );
});

test('what is no file has no stamp, and is not judged', async () => {
  const saved = await stampDisks([disk({ path: '/dev/null' })]);
  assert.deepEqual(saved, [{ target: 'vda' }]);
  assert.equal(await whyDiskChanged(saved, [disk({ path: '/dev/zero' })]), undefined);
});

test('of a save only what a save can say is taken', () => {
  const snapshot = snapshotNameOf('0b7b6e35-6d3c-4b5e-9a6c-0a4e4a1f0c11');
  const disks = [{ target: 'vda', snapshot }, { target: 'hdb', stamp: '1.2' }, { target: 'xvdc' }];
  assert.deepEqual(parseSavedDisks(JSON.parse(JSON.stringify(disks))), disks);
  for (const odd of [
    undefined,
    {},
    [7],
    [{ target: '../etc' }],
    [{ target: 'vda', snapshot: '-d' }],
    [{ target: 'vda', snapshot: `${snapshot},driver=host_device` }],
    [{ target: 'vda', stamp: 'yesterday' }],
  ]) {
    assert.equal(parseSavedDisks(odd), undefined, JSON.stringify(odd));
  }
  fc.assert(fc.property(fc.jsonValue(), (value) => void parseSavedDisks(value)));
});
