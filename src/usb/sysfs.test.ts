import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, suite, test } from 'node:test';
import { ManualClock } from '../lib/clock.ts';
import { matchDevice, parseDevicePattern } from '../model/assignment.ts';
import { bytesOf, DESCRIPTORS, SysfsTree } from '../model/testing/sysfs-tree.ts';
import { SysfsSource } from './sysfs.ts';

let tree = new SysfsTree();
let clock = new ManualClock(0);
let source = open();

function open(): SysfsSource {
  return new SysfsSource({
    sysRoot: tree.root,
    devRoot: join(tree.root, 'dev'),
    bootId: 'boot',
    clock,
    hotplug: () => () => {},
  });
}

suite('SysfsSource', () => {
  beforeEach(() => {
    tree.remove();
    tree = new SysfsTree();
    clock = new ManualClock(0);
    source = open();
  });
  after(() => tree.remove());

  const busids = async () => (await source.list()).map(({ busid }) => busid);

  test('a pattern by location means the same socket when its bus has another number', async () => {
    const matching = async (pattern: string) =>
      (await source.list())
        .filter((device) => matchDevice(parseDevicePattern(pattern), device) !== undefined)
        .map(({ busid }) => busid);
    const other = { descriptors: 'stick', controller: 'pci0000:00/0000:05:00.0' } as const;
    tree.plug('1-2', { descriptors: 'stick', devnum: 7 });
    tree.plug('3-2', { ...other, devnum: 8 });
    assert.deepEqual(await matching('dom0:0000:00:14.0/2'), ['1-2']);
    assert.deepEqual(await matching('dom0:1-2'), ['1-2']);
    tree.plug('1-2', { ...other, devnum: 2 });
    tree.plug('3-2', { descriptors: 'stick', devnum: 2 });
    assert.deepEqual(await matching('dom0:0000:00:14.0/2'), ['3-2']);
    assert.deepEqual(await matching('dom0:1-2'), ['1-2'], 'the port is another socket now');
  });

  test('a stick, whole; root hubs and interfaces are no devices', async () => {
    tree.plug('1-2.4', {
      descriptors: 'stick',
      devnum: 7,
      speed: '5000',
      serial: 'S 1',
      manufacturer: 'QEMU',
      product: 'Stick',
      removable: 'removable',
    });
    assert.deepEqual(await source.list(), [
      {
        backend: 'dom0',
        busid: '1-2.4',
        deviceId: '46f4:0001:S%201:080650',
        vendorId: '46f4',
        productId: '0001',
        untrustedSerial: 'S 1',
        untrustedManufacturer: 'QEMU',
        untrustedProduct: 'Stick',
        speed: 'super',
        interfaces: ['080650'],
        generation: 'boot.1.7',
        host: { bus: 1, devnum: 7 },
        location: '0000:00:14.0/2.4',
        attachedAs: 'removable',
      },
    ]);
  });

  test('the identity is the same whatever the interface folders are', async () => {
    tree.plug('1-1', { descriptors: 'composite', devnum: 2, interfaces: '2', folders: 2 });
    const [before] = await source.list();
    source = open();
    tree.plug('1-1', { descriptors: 'composite', devnum: 2, interfaces: '1', folders: 1 });
    const [later] = await source.list();
    assert.equal(before?.deviceId, '46f4:0002::010104.010200');
    assert.equal(later?.deviceId, before.deviceId);
  });

  test('speeds', async () => {
    const speeds = { '1.5': 'low', '12': 'full', '480': 'high', '5000': 'super', '20000': 'super', unknown: 'full' };
    let devnum = 1;
    for (const [text, speed] of Object.entries(speeds)) {
      tree.plug('1-1', { descriptors: 'stick', devnum: ++devnum, speed: text });
      assert.equal((await source.list())[0]?.speed, speed, text);
      source = open();
    }
  });

  test('guards: hubs, devices of virtual controllers, what is not authorised', async () => {
    tree.plug('1-1', { descriptors: 'hub', devnum: 2 });
    tree.plug('1-2', { descriptors: 'stick', devnum: 3, controller: 'platform/vhci_hcd.0' });
    tree.plug('1-3', { descriptors: 'stick', devnum: 4, controller: 'platform/dummy_hcd.0' });
    tree.plug('1-4', { descriptors: 'stick', devnum: 5, authorized: '0' });
    assert.deepEqual(
      (await source.list()).map(({ busid, guard }) => [busid, guard]),
      [
        ['1-1', 'it is a hub'],
        ['1-2', 'it is on a virtual controller'],
        ['1-3', undefined],
        ['1-4', 'the host has not authorised it'],
      ],
    );
  });

  test('strings may be missing or hostile', async () => {
    const evil = `\u001b[2J\u202e${'x'.repeat(200)}`;
    tree.plug('1-1', { descriptors: 'stick', devnum: 2, serial: `a\nb:c`, product: evil, manufacturer: '' });
    const [device] = await source.list();
    assert.equal(device?.deviceId, '46f4:0001:a%0Ab%3Ac:080650');
    assert.equal(device.untrustedProduct?.length, 126);
    assert.ok(!('untrustedManufacturer' in device));
  });

  test('a replug changes the generation; the same plug is not read again', async () => {
    tree.plug('1-1', { descriptors: 'stick', devnum: 2, serial: 'A' });
    const [first] = await source.list();
    tree.plug('1-1', { descriptors: 'stick', devnum: 2, serial: 'B' });
    assert.equal((await source.list())[0], first, 'strings change while a guest has the device, the plug does not');
    tree.plug('1-1', { descriptors: 'stick', devnum: 3, serial: 'B' });
    const [second] = await source.list();
    assert.deepEqual([second?.generation, second?.untrustedSerial], ['boot.1.3', 'B']);
    tree.unplug('1-1');
    assert.deepEqual(await source.list(), []);
  });

  test('a device whose node is gone is gone, though sysfs has it still; without nodes sysfs has to do', async () => {
    tree.plug('1-1', { descriptors: 'stick', devnum: 2 });
    assert.deepEqual(await busids(), ['1-1']);
    const node = join(tree.root, 'dev/bus/usb/001/002');
    mkdirSync(join(node, '..'), { recursive: true });
    writeFileSync(node, '');
    assert.deepEqual(await busids(), ['1-1']);
    rmSync(node);
    assert.deepEqual(await busids(), []);
    assert.deepEqual(await busids(), [], 'it is not taken for a new plug');
    tree.plug('1-1', { descriptors: 'stick', devnum: 3 });
    assert.deepEqual(await busids(), ['1-1']);
  });

  test('a bad device hides no other', async () => {
    tree.plug('1-1', { descriptors: Buffer.alloc(3), devnum: 2 });
    tree.plug('1-2', { descriptors: bytesOf(DESCRIPTORS.stick).subarray(0, 20), devnum: 3 });
    tree.plug('1-3', { descriptors: 'stick', devnum: 4 });
    tree.plug('1-4', { descriptors: 'stick', devnum: 5 });
    tree.removeAttribute('1-4', 'devnum');
    tree.plug('1-5', { descriptors: 'stick', devnum: 6 });
    tree.removeAttribute('1-5', 'descriptors');
    assert.deepEqual(await busids(), ['1-2', '1-3']);
  });

  test('a device that is not configured yet is left out and looked at again soon', async () => {
    await source.list();
    let hints = 0;
    const stop = source.watch(() => hints++);
    tree.plug('1-1', { descriptors: 'composite', devnum: 2, interfaces: '2', folders: 1 });
    tree.plug('1-2', { descriptors: 'stick', devnum: 3, interfaces: '', folders: 0 });
    tree.plug('1-3', { descriptors: 'stick', devnum: 4 });
    assert.deepEqual(await busids(), ['1-3']);
    assert.equal(hints, 0);
    await clock.advance(5);
    assert.equal(hints, 1);
    tree.plug('1-1', { descriptors: 'composite', devnum: 2, interfaces: '2', folders: 2 });
    assert.deepEqual(await busids(), ['1-1', '1-3']);
    await clock.advance(2_000);
    assert.deepEqual(await busids(), ['1-1', '1-2', '1-3'], 'one that never is configured is shown in the end');
    const { waiting } = clock;
    stop();
    assert.equal(clock.waiting, 0, `${waiting} timers before`);
  });

  test('once listed a device stays, whatever a guest does to its configuration', async () => {
    tree.plug('1-1', { descriptors: 'stick', devnum: 2 });
    await source.list();
    tree.plug('1-1', { descriptors: 'stick', devnum: 2, interfaces: '', folders: 0 });
    assert.deepEqual(await busids(), ['1-1']);
  });

  test('what is unready at the first reading is not waited for: a guest may have it', async () => {
    tree.plug('1-1', { descriptors: 'stick', devnum: 2, interfaces: '', folders: 0 });
    assert.deepEqual(await busids(), ['1-1']);
  });

  test('a device that stays unreadable is looked at ever less often, then no more', async () => {
    await source.list();
    let hints = 0;
    source.watch(() => hints++);
    tree.plug('1-1', { descriptors: Buffer.alloc(0), devnum: 2 });
    for (let ms = 0; ms < 6_000; ms += 50) {
      await source.list();
      await clock.advance(50);
    }
    assert.ok(hints > 5 && hints < 60, `${hints} looks`);
    assert.equal(clock.waiting, 0);
  });

  test('a host without USB has no devices', async () => {
    assert.deepEqual(await new SysfsSource({ sysRoot: '/nonexistent', bootId: 'boot', clock }).list(), []);
  });
});
