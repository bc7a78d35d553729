import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { ManualClock } from '../lib/clock.ts';
import { type FaultCode, isFault } from '../lib/fault.ts';
import { type Hold, parseDevicePattern } from '../model/assignment.ts';
import { newUuid } from '../model/ids.ts';
import { Inventory, type InventoryChange } from './inventory.ts';

const root = mkdtempSync(join(tmpdir(), 'usher-inventory-'));
const opened: Inventory[] = [];
let folder = root;
beforeEach(() => {
  folder = mkdtempSync(join(root, 'test-'));
});
after(() => {
  for (const inventory of opened) inventory.close();
  rmSync(root, { recursive: true, force: true });
});

const UUID = '00000000-0000-0000-0000-000000000001';
const open = () => {
  const inventory = new Inventory(join(folder, 'usher.db'), { defaultDriver: 'simulator', clock: new ManualClock() });
  opened.push(inventory);
  return inventory;
};
const write = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const has =
  (...codes: FaultCode[]) =>
  (error: unknown) =>
    isFault(error, ...codes);

test('a file is held against the driver that the VM has, when it comes in and at each start', async () => {
  const inventory = open();
  await assert.rejects(
    inventory.createVm({ content: 'name = a\ndriver = qemu\nusbctrl = type=qusb\n' }),
    (error) => isFault(error, 'config.invalid') && /content:3:11: Only Xen has/.test(error.message),
  );
  const path = write('b.vm', 'usbctrl = type=qusb\nkernel = /k\nvirtmode = pv\n');
  const { record, warnings } = await inventory.createVm({ path });
  assert.match(warnings.join(), /b\.vm:3:1: "virtmode" is ignored with simulator/);
  writeFileSync(path, 'driver = qemu\nusbctrl = type=qusb\n');
  const loaded = await inventory.configs.load(record.uuid);
  assert.equal(loaded.config.usbControllers[0]?.type, 'qusb', 'the VM keeps its driver, which has them');
});

test('a disk whose key is missing is refused when it comes in; later its VM is kept, whose domain may run', async () => {
  const inventory = open();
  const key = write('key', 'x'.repeat(32));
  const path = write('c.vm', `disk = /x:file:sda:w:disk:key-file=${key}\n`);
  const { record } = await inventory.createVm({ path });
  unlinkSync(key);
  const loaded = await inventory.configs.load(record.uuid);
  assert.deepEqual([loaded.config.disks[0]?.encryption?.keyFile, loaded.warnings], [key, []]);
  const missing = (error: unknown) =>
    isFault(error, 'config.invalid') && /c\.vm:1:27: The disk sda .* is not there\.$/.test(error.message);
  await assert.rejects(inventory.configs.reread(record.uuid), missing);
  assert.deepEqual(await inventory.configs.reread(record.uuid, path, 'at text alone'), []);
  await assert.rejects(inventory.configs.change(record.uuid, { key: 'memory', value: '64' }), missing);
  inventory.removeVm(record.uuid);
  await assert.rejects(inventory.createVm({ path }), missing);
});

test('takes a VM in from its file, and finds it by name and by uuid after a restart', async () => {
  const path = write('work.vm', `uuid = ${UUID}\nmemory = 512\ndisk = root.img:file:hda:w:disk\nhat = true\n`);
  const { record, warnings } = await open().createVm({ path, autostart: true });
  assert.equal(record.name, 'work');
  assert.equal(record.driver, 'simulator');
  assert.deepEqual(warnings, [`${path}:4:1: There is no key "hat". Did you mean "hap"?`]);
  const again = open();
  assert.deepEqual(again.findVm('work'), record);
  assert.deepEqual(again.findVm(UUID.toUpperCase()), record);
  assert.deepEqual(again.listVms(), [record]);
  assert.equal(again.configs.summaryOf(record.uuid).memoryMiB, 512);
  assert.equal(again.configs.stored(record.uuid).disks[0]?.path, join(folder, 'root.img'));
  assert.equal(statSync(join(folder, 'usher.db')).mode & 0o777, 0o600);
});

test('makes a uuid up once, and keeps it', async () => {
  const path = write('play.vm', 'memory = 64\n');
  const { record } = await open().createVm({ path });
  const { config } = await open().configs.load(record.uuid);
  assert.equal(config.uuid, record.uuid);
  assert.equal(config.name, 'play');
});

test('takes content without a file, and a name that wins', async () => {
  const inventory = open();
  const { record } = await inventory.createVm({ content: 'name = inner\nkernel = /k\n', name: 'outer' });
  assert.equal(record.name, 'outer');
  assert.equal(record.path, undefined);
  assert.equal((await inventory.configs.load(record.uuid)).config.name, 'outer');
  assert.match((await inventory.createVm({ content: '' })).record.name, /^vm-[0-9a-f]{8}$/);
});

test('refuses what makes no sense, and nothing is half done', async () => {
  const inventory = open();
  await inventory.createVm({ content: `uuid = ${UUID}\nname = work\n` });
  await assert.rejects(inventory.createVm({ content: 'name = work\n' }), has('vm.exists'));
  await assert.rejects(inventory.createVm({ content: `uuid = ${UUID}\n` }), has('vm.exists'));
  await assert.rejects(inventory.createVm({ content: 'memory = lots\nvcpus = no\n' }), (error) => {
    return isFault(error, 'config.invalid') && error.message.split('\n').length === 2;
  });
  await assert.rejects(inventory.createVm({ content: 'x = 1', name: 'dom0' }), has('vm.name_invalid'));
  await assert.rejects(inventory.createVm({}), has('params.invalid'));
  await assert.rejects(inventory.createVm({ content: '', path: '/x' }), has('params.invalid'));
  for (const path of [join(folder, 'missing.vm'), folder, '/dev/zero', write('binary.vm', '\0')]) {
    await assert.rejects(inventory.createVm({ path }), has('file.unreadable', 'config.invalid'));
  }
  writeFileSync(join(folder, 'latin.vm'), Buffer.from([0x6e, 0xe4]));
  await assert.rejects(inventory.createVm({ path: join(folder, 'latin.vm') }), /not UTF-8/);
  assert.equal(inventory.listVms().length, 1);
});

test('says what VM there is when the name is wrong', async () => {
  const inventory = open();
  await inventory.createVm({ content: 'name = personal\n' });
  assert.throws(
    () => inventory.findVm('persnal'),
    (error) => isFault(error, 'vm.not_found') && error.hint === 'Did you mean "personal"?',
  );
  assert.throws(() => inventory.findVm(newUuid()), has('vm.not_found'));
});

test('reads the file again at each start; a broken or missing one leaves the last good content', async () => {
  const inventory = open();
  const path = write('work.vm', 'memory = 64\n');
  const { uuid } = (await inventory.createVm({ path })).record;
  writeFileSync(path, 'memory = 128\n');
  assert.equal((await inventory.configs.load(uuid)).config.memoryMiB, 128);
  writeFileSync(path, 'memory = much\n');
  const broken = await inventory.configs.load(uuid);
  assert.equal(broken.config.memoryMiB, 128);
  assert.match(broken.warnings.join(), /:1:10: "memory" is a whole number.*\nThe last good content/);
  unlinkSync(path);
  const missing = await open().configs.load(uuid);
  assert.equal(missing.config.memoryMiB, 128);
  assert.match(missing.warnings.join(), /cannot be read/);
  writeFileSync(path, 'memory = 256\n');
  assert.deepEqual(await inventory.configs.load(uuid), { config: inventory.configs.stored(uuid), warnings: [] });
  assert.equal(inventory.configs.summaryOf(uuid).memoryMiB, 256);
});

test('a VM keeps its uuid, name and driver whatever its file says later', async () => {
  const inventory = open();
  const path = write('work.vm', `uuid = ${UUID}\nname = work\n`);
  const { record } = await inventory.createVm({ path, name: 'byhand' });
  assert.deepEqual((await inventory.configs.load(record.uuid)).warnings, []);
  writeFileSync(path, `uuid = ${newUuid()}\nname = other\ndriver = xen\n`);
  const { config, warnings } = await inventory.configs.load(record.uuid);
  assert.deepEqual([config.uuid, config.name, config.driver], [UUID, 'byhand', 'simulator']);
  assert.equal(warnings.length, 3);
  assert.match(warnings[0] ?? '', /now has the uuid/);
});

test('keeps what a monitor remembers, and what people set', async () => {
  const inventory = open();
  const { uuid } = (await inventory.createVm({ content: 'name = work\n' })).record;
  const power = inventory.powerRecordOf(uuid);
  assert.deepEqual(power.read(), { wanted: 'halted', wantedBoot: '' });
  power.write({ wanted: 'suspended', wantedBoot: 'b1', suspendFile: '/s' });
  assert.deepEqual(open().powerRecordOf(uuid).read(), { wanted: 'suspended', wantedBoot: 'b1', suspendFile: '/s' });
  power.write({ wanted: 'running', wantedBoot: 'b2' });
  assert.deepEqual(power.read(), { wanted: 'running', wantedBoot: 'b2' });
  assert.equal(inventory.patchVm(uuid, { autostart: true }).autostart, true);
  assert.equal(open().findVm('work').autostart, true);
  assert.equal(inventory.lastBoot(), undefined);
  inventory.noteBoot('b1');
  inventory.noteBoot('b2');
  assert.equal(open().lastBoot(), 'b2');
});

const hold = (more: Partial<Hold> = {}): Hold => ({
  ...{ backend: 'dom0', busid: '3-1', generation: 'g1', kind: 'out', by: 'hand', createdAt: 1 },
  ...more,
});

test('keeps assignments: each once, with a number that is never used again', async () => {
  const inventory = open();
  const { uuid: vm } = (await inventory.createVm({ content: 'name = work\n' })).record;
  const { uuid: other } = (await inventory.createVm({ content: 'name = play\n' })).record;
  const pattern = parseDevicePattern('virtual:1-*:0951:1666:*:*');
  const first = inventory.addAssignment({ vm, pattern, mode: 'auto' });
  assert.deepEqual(open().assignments(), [first]);
  const place = parseDevicePattern('dom0:0000:00:14.0/1.4:0951:1666:*:*');
  const placed = inventory.addAssignment({ vm, pattern: place, mode: 'auto' });
  assert.deepEqual(open().assignments(), [first, placed]);
  assert.throws(
    () => inventory.addAssignment({ vm, pattern, mode: 'manual' }),
    (error) => isFault(error, 'assignment.exists') && error.details['assignment'] === first.id,
  );
  const second = inventory.addAssignment({ vm: other, pattern, mode: 'auto' });
  inventory.removeAssignment(second.id);
  assert.ok(inventory.addAssignment({ vm: other, pattern, mode: 'auto' }).id > second.id);
  assert.throws(() => inventory.removeAssignment(second.id), has('assignment.not_found'));
  assert.throws(() => inventory.addAssignment({ vm: newUuid(), pattern, mode: 'auto' }), has('vm.not_found'));
});

test('keeps one hold a device, and drops only that of the same plug', async () => {
  const inventory = open();
  const { uuid: vm } = (await inventory.createVm({ content: 'name = work\n' })).record;
  inventory.putHold(hold());
  const later = hold({ generation: 'g2', kind: 'in', vm, slot: { controller: 0, port: 3 } });
  inventory.putHold(later);
  inventory.dropHold(hold());
  assert.deepEqual(inventory.holds(), [later]);
  assert.deepEqual(open().findHold(later), later);
  inventory.dropHold(later);
  assert.throws(() => inventory.findHold(later), has('hold.not_found'));
});

test('a hold goes with its device to another id, unless another hand came first', () => {
  const inventory = open();
  const before = hold({ deviceId: '12d1:1f01::080650' });
  const after = hold({ generation: 'g2', deviceId: '12d1:14db::020600' });
  inventory.putHold(before);
  assert.equal(inventory.carryHold(before, after), true);
  assert.deepEqual(open().holds(), [after]);
  const hand = hold({ generation: 'g3' });
  inventory.putHold(hand);
  assert.equal(inventory.carryHold(after, hold({ generation: 'g4' })), false);
  assert.deepEqual(inventory.holds(), [hand]);
});

test('keeps where devices may be, until they are known to be in no VM', () => {
  const { places } = open();
  const place = { vm: newUuid(), generation: 'g1', controller: 0, port: 2 };
  places.save(new Map([['dom0:1-1', place]]));
  places.save(new Map([['dom0:1-2', { ...place, port: 3 }]]));
  assert.deepEqual(
    open().places.load(),
    new Map([
      ['dom0:1-1', place],
      ['dom0:1-2', { ...place, port: 3 }],
    ]),
  );
  places.save(
    new Map([
      ['dom0:1-1', undefined],
      ['dom0:1-2', { ...place, port: 4 }],
    ]),
  );
  assert.deepEqual(open().places.load(), new Map([['dom0:1-2', { ...place, port: 4 }]]));
});

test('a VM that leaves takes its wishes with it', async () => {
  const inventory = open();
  const { uuid: vm } = (await inventory.createVm({ content: 'name = work\n' })).record;
  inventory.addAssignment({ vm, pattern: parseDevicePattern('dom0:3-*'), mode: 'auto' });
  inventory.putHold(hold({ kind: 'in', vm }));
  inventory.putHold(hold({ busid: '3-2' }));
  inventory.removeVm(vm);
  assert.deepEqual(inventory.wishes(), { assignments: [], holds: [hold({ busid: '3-2' })], questions: [] });
  assert.throws(() => inventory.removeVm(vm), has('vm.not_found'));
  await inventory.createVm({ content: 'name = work\n' });
});

test('keeps software devices', () => {
  const { softwareDevices } = open();
  const device = {
    busid: '1-2',
    software: { kind: 'storage', file: '/s.img', serial: 'S1' },
    generation: 'p1',
  } as const;
  softwareDevices.save([device, { busid: '1-1', software: { kind: 'mouse' }, generation: 'p2' }]);
  softwareDevices.save([device]);
  assert.deepEqual(open().softwareDevices.load(), [device]);
});

test('tells of changes after they are made, and sees those of another process', async () => {
  const one = open();
  const two = open();
  const told: InventoryChange[] = [];
  const stop = one.onChange((change) => told.push(change));
  const { uuid } = (await one.createVm({ content: 'name = work\n' })).record;
  assert.equal(two.findVm('work').uuid, uuid);
  two.patchVm(uuid, { autostart: true });
  assert.equal(one.findVm('work').autostart, true);
  one.putHold(hold());
  assert.equal(two.holds().length, 1);
  assert.deepEqual(told, ['vms', 'wishes']);
  stop();
  two.removeVm(uuid);
  assert.throws(() => one.findVm('work'), has('vm.not_found'));
});
