import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diskLines, nicLines, pciLines } from './device-lists.ts';

test('disks are told by their fields, also with colons in the path', () => {
  assert.deepEqual(diskLines(['/d:1.img:file:hda:w:disk', '/c.iso:file:hdc:r:cdrom:x=1', 'odd']), [
    'physpath: /d:1.img, type: file, virtpath: hda, mode: w, devtype: disk',
    'physpath: /c.iso, type: file, virtpath: hdc, mode: r, devtype: cdrom',
    'odd',
  ]);
});

test('interfaces have numbers, the lowest that is free where none is given', () => {
  assert.deepEqual(nicLines(['mac=00:16:3e:00:00:01,bridge=b0', 'id=0', '', 'network=n']), [
    'id: 1, network: , mac: 00:16:3e:00:00:01, bridge: b0',
    'id: 0, network: , mac: ',
    'id: 2, network: , mac: ',
    'id: 3, network: n, mac: ',
  ]);
});

test('PCI devices have a line for the number and one for the address', () => {
  assert.deepEqual(pciLines(['1,bind,0000:02:1d.7', '02:00.0', 'odd']), [
    'id:1',
    '  domain:0000, bus:02, slot: 1d, func: 7',
    'id:1',
    '  domain:0000, bus:02, slot: 00, func: 0',
    'id:2',
    '  odd',
  ]);
});
