import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mountCovering, parseMounts, parseSwaps } from './mounts.ts';

test('mountinfo: optional fields, none of them, several sources, octal escapes; other lines are left out', () => {
  const text = `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue
37 35 8:17 / /media/a\\040b\\134c rw - vfat /dev/sdb1 rw
38 35 0:46 / /data rw - bcachefs /dev/sda1:/dev/sdb1 rw
nonsense
39 35 0:47 / /merged rw - overlay overlay rw,lowerdir=/l1:/l2::/l3,upperdir=/u,workdir=/w
40 35 0:48 / /new rw - overlay none rw,lowerdir+=/l1,lowerdir+=/l2,datadir+=/d,redirect_dir=on
41 35 0:49 / /docker rw - overlay overlay rw,lowerdir=l/A:l/B,upperdir=/u
`;
  const none = { layers: [] };
  assert.deepEqual(parseMounts(text), [
    { number: '98:0', at: '/mnt2', type: 'ext3', sources: ['/dev/root'], ...none },
    { number: '8:17', at: '/media/a b\\c', type: 'vfat', sources: ['/dev/sdb1'], ...none },
    { number: '0:46', at: '/data', type: 'bcachefs', sources: ['/dev/sda1', '/dev/sdb1'], ...none },
    { number: '0:47', at: '/merged', type: 'overlay', sources: ['overlay'], layers: ['/l1', '/l2', '/l3', '/u'] },
    { number: '0:48', at: '/new', type: 'overlay', sources: ['none'], layers: ['/l1', '/l2', '/d'] },
    { number: '0:49', at: '/docker', type: 'overlay', sources: ['overlay'], layers: ['/u'] },
  ]);
});

test('the mount that covers a path: the deepest, of two in one place the later', () => {
  const mounts = ['/', '/a', '/a/b', '/a/b', '/ab'].map((at, number) => {
    return { at, number: String(number), type: '', sources: [], layers: [] };
  });
  const covering = (path: string) => mountCovering(mounts, path)?.number;
  assert.deepEqual(['/', '/x', '/a', '/a/x', '/a/b/c', '/abc', '/ab/c'].map(covering), [
    '0',
    '0',
    '1',
    '1',
    '3',
    '0',
    '4',
  ]);
  assert.equal(mountCovering([], '/a'), undefined);
});

test('swaps', () => {
  const text = `Filename\t\t\t\tType\t\tSize
/dev/dm-1                               partition\t8388604
/swap\\040file\\040(deleted)                file\t\t1024
`;
  assert.deepEqual(parseSwaps(text), [
    { path: '/dev/dm-1', isFile: false },
    { path: '/swap file', isFile: true },
  ]);
});
