import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { bytesOf, SysfsTree } from '../../model/testing/sysfs-tree.ts';
import { examineUsbRights } from './usb-rights.ts';

const tree = new SysfsTree();
after(() => tree.remove());

/** A printer: one interface of class 07. */
const PRINTER = bytesOf(`12 01 00 02 00 00 00 40 f4 46 02 00 00 00 01 02 03 01
  09 02 19 00 01 01 00 c0 32  09 04 00 00 01 07 01 02 00  07 05 81 02 00 02 00`);

const examine = (open: readonly string[], uid = 54_321) =>
  examineUsbRights({
    usbfsRoot: '/dev/bus/usb',
    sysfsRoot: tree.root,
    uid,
    canUse: async (path) => open.includes(path),
  });

test('names the devices that may be used, and those that may not', async () => {
  assert.deepEqual(await examine([], 0), [], 'root may use all');
  assert.match((await examine([]))[0]?.says ?? '', /no device is plugged by which to tell/);
  tree.plug('1-2', { descriptors: 'stick', devnum: 7 });
  tree.plug('1-10', { descriptors: 'composite', devnum: 12 });
  tree.plug('1-3', { descriptors: 'hub', devnum: 3 });
  const [all] = await examine(['/dev/bus/usb/001/007', '/dev/bus/usb/001/012']);
  assert.deepEqual([all?.level, all?.says], ['ok', 'user 54321 may use 2 of 2 devices']);
  const [none] = await examine([]);
  assert.equal(none?.level, 'warning');
  assert.equal(none?.says, 'user 54321 may use 0 of 2 devices, and not 1-2, 1-10');
  assert.match(none?.advice ?? '', /60-usher\.rules.*--unprivileged/);
});

test('what the udev rule leaves to others is told, and is no fault', async () => {
  tree.plug('1-4', { descriptors: 'keyboard', devnum: 8 });
  tree.plug('1-5', { descriptors: PRINTER, devnum: 9 });
  const [finding] = await examine(['/dev/bus/usb/001/007', '/dev/bus/usb/001/012']);
  assert.equal(finding?.level, 'note');
  assert.match(finding?.says ?? '', /2 of 4 devices, and not 1-4 \(input, .*\), 1-5 \(a printer, of the group lp\)$/);
  assert.equal((await examine(['/dev/bus/usb/001/007']))[0]?.level, 'warning', 'the sound card ought to be there');
});

test('a device that is pulled meanwhile, and many of them', async () => {
  tree.plug('1-6', { descriptors: 'stick', devnum: 20 });
  tree.removeAttribute('1-6', 'devnum');
  for (let i = 0; i < 20; i++) tree.plug(`1-7.${i}`, { descriptors: 'stick', devnum: 30 + i });
  const [finding] = await examine([]);
  assert.match(finding?.says ?? '', /^user 54321 may use 0 of 24 devices, and not (\S.*?, ){7}\S+ and 16 more$/);
});
