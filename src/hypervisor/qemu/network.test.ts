import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { completeConfig } from '../../config/xenvm-file.ts';
import { isFault } from '../../lib/fault.ts';
import { macOf } from '../../model/nic-address.ts';
import type { NicConfig, VmConfig } from '../../model/vm.ts';
import { readHostFirmware } from '../host-firmware.ts';
import { lookAtNetwork, networkArgv, planNetwork } from './network.ts';
import { checkPciDevices } from './pci.ts';

const BASE = completeConfig({}, { name: 'work', driver: 'qemu' });
const withNics = (...nics: NicConfig[]): VmConfig => ({ ...BASE, nics });

test('a card is on a bridge where that can be, else behind NAT with the reason', () => {
  const config = withNics({ id: 0 }, { id: 1, bridge: 'br1', mac: '00:16:3e:00:00:01', model: 'virtio' });
  const good = planNetwork(config, { isRoot: true, bridges: ['br0', 'br1'] });
  assert.deepEqual(good.warnings, []);
  assert.deepEqual(
    good.nics.map(({ id, mac, model, tap }) => [id, mac, model, tap?.bridge]),
    [
      [0, macOf(BASE.uuid, { id: 0 }), 'virtio-net-pci', 'br0'],
      [1, '00:16:3e:00:00:01', 'virtio-net-pci', 'br1'],
    ],
  );
  const names = good.nics.map(({ tap }) => tap?.name ?? '');
  assert.equal(new Set(names).size, 2);
  assert.ok(names.every((name) => /^ush[0-9a-f]{12}$/.test(name)));

  const whys = (host: Parameters<typeof planNetwork>[1]) => planNetwork(config, host).warnings.join('\n');
  assert.match(whys({ isRoot: false, bridges: ['br0'] }), /card 0 .* only root can.*\n.*card 1 .* only root can/);
  assert.match(whys({ isRoot: true, bridges: ['br0'] }), /^Network card 1 .* the host has no bridge "br1"\.$/);
  assert.match(whys({ isRoot: true, bridges: [] }), /card 0 .*: the host has no bridge\.\n/);
  assert.ok(planNetwork(config, { isRoot: false, bridges: [] }).nics.every(({ tap }) => tap === undefined));
});

test('an address that is derived stays, is of one card, and is local', () => {
  const other = completeConfig({}).uuid;
  assert.equal(macOf(BASE.uuid, { id: 0 }), macOf(BASE.uuid, { id: 0 }));
  assert.equal(new Set([macOf(BASE.uuid, { id: 0 }), macOf(BASE.uuid, { id: 1 }), macOf(other, { id: 0 })]).size, 3);
  assert.match(macOf(BASE.uuid, { id: 0 }), /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
});

test('the words for QEMU; only a card that is booted from has a ROM', () => {
  const words = (config: VmConfig) => {
    const plan = planNetwork(config, { isRoot: true, bridges: ['br0'] });
    return networkArgv(config, plan)
      .filter((word) => word.startsWith('{'))
      .map((word) => JSON.parse(word));
  };
  const [netdev, device] = words(withNics({ id: 4, model: 'e1000' }));
  assert.deepEqual({ ...netdev, ifname: '' }, { type: 'tap', id: 'nic-4', ifname: '', script: 'no', downscript: 'no' });
  const mac = macOf(BASE.uuid, { id: 4 });
  assert.deepEqual(device, { driver: 'e1000', id: 'nic-4', netdev: 'nic-4', mac, romfile: '' });
  assert.deepEqual(words({ ...withNics({ id: 4 }), bootOrder: 'n' })[1], {
    ...{ driver: 'virtio-net-pci', id: 'nic-4', netdev: 'nic-4', mac, bootindex: 1 },
  });
  assert.equal(words({ ...withNics({ id: 4 }), bootOrder: 'n', kernel: '/k' })[1].romfile, '');
});

test('bridges, PCI devices and tables of firmware are looked for below /sys', async (t) => {
  const sysfs = await mkdtemp(join(tmpdir(), 'usher-sysfs-'));
  t.after(() => rm(sysfs, { recursive: true }));
  assert.deepEqual(await lookAtNetwork(sysfs, true), { isRoot: true, bridges: [] });
  for (const [name, index] of [
    ['br9', 3],
    ['br1', 7],
    ['eth0', 2],
  ] as const) {
    await mkdir(join(sysfs, 'class/net', name, ...(name === 'eth0' ? [] : ['bridge'])), { recursive: true });
    await writeFile(join(sysfs, 'class/net', name, 'ifindex'), `${index}\n`);
  }
  assert.deepEqual(await lookAtNetwork(sysfs, false), { isRoot: false, bridges: ['br9', 'br1'] });

  const pci = { id: 0, domain: 0, bus: 3, device: 0, function: 0, isSeized: false };
  const check = () => checkPciDevices({ ...BASE, pciDevices: [pci] }, sysfs);
  const refused = (what: RegExp) => (error: unknown) => isFault(error, 'vm.start_failed') && what.test(error.message);
  await assert.rejects(check(), refused(/the host has no PCI device 0000:03:00\.0/));
  const device = join(sysfs, 'devices/0000:03:00.0');
  await mkdir(device, { recursive: true });
  await mkdir(join(sysfs, 'bus/pci/devices'), { recursive: true });
  await symlink(device, join(sysfs, 'bus/pci/devices/0000:03:00.0'));
  await assert.rejects(check(), refused(/bound to no kernel driver/));
  await symlink('/sys/bus/pci/drivers/nvme', join(device, 'driver'));
  await assert.rejects(check(), refused(/used by the host \(nvme\)/));
  await rm(join(device, 'driver'));
  await symlink('/sys/bus/pci/drivers/vfio-pci', join(device, 'driver'));
  await check();

  const firmware = join(sysfs, 'firmware');
  const entry = async (name: string, bytes: readonly number[]) => {
    await mkdir(join(firmware, 'dmi/entries', name), { recursive: true });
    await writeFile(join(firmware, 'dmi/entries', name, 'raw'), Buffer.from(bytes));
  };
  for (const type of [0, 1, 2]) await entry(`${type}-0`, [type, 4, 0, 0, 0, 0]);
  await entry('200-0', [200, 4, 0, 0, 0, 0]);
  await entry('200-1', [200, 4, 1, 0, 0, 0]);
  const wishes = { name: 'work', hasHostSmbios: true, hostSmbiosTypes: [200], hasHostAcpiTables: true };
  const found = await readHostFirmware(wishes, firmware);
  assert.deepEqual(
    found.smbios.map((bytes) => bytes[0]),
    [0, 1, 2, 200, 200],
  );
  assert.deepEqual(found.acpi, []);
  assert.match(found.warnings.join('\n'), /^VM work gets no SMBIOS table 3 .*\nVM work gets no ACPI table/);
  assert.deepEqual(await readHostFirmware({ name: 'work' }, firmware), { smbios: [], acpi: [], warnings: [] });
});
