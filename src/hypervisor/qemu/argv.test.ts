import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../lib/fault.ts';
import { parseUuid } from '../../model/ids.ts';
import type { DiskConfig, VmConfig } from '../../model/vm.ts';
import { qemuArgv } from './argv.ts';
import { getsBalloon } from './balloon.ts';
import { controllersOf } from './controllers.ts';
import { planNetwork } from './network.ts';
import { domainPaths } from './paths.ts';

const uuid = parseUuid('0d8dbe2a-95b3-4a72-b8ae-6c1e7c0e1a52');
const NOW = Date.UTC(2026, 10, 28, 12, 0, 0);
const paths = domainPaths('/run/u', '/var/u', uuid);

function config(changes: Partial<VmConfig> = {}): VmConfig {
  const startup = { do: 'started' } as const;
  const actions = { onCrash: 'restart', onHalt: 'destroy', onReboot: 'restart' } as const;
  const usual = {
    driver: 'qemu',
    memoryMiB: 256,
    vcpus: 2,
    disks: [],
    usbControllers: [],
    startup,
    ...actions,
  } as const;
  return { uuid, name: 'work', ...usual, ...changes };
}

function argvOf(changes: Partial<VmConfig> = {}, more: Partial<Parameters<typeof qemuArgv>[0]> = {}): string[] {
  const whole = config(changes);
  const network = planNetwork(whole, { isRoot: false, bridges: [] });
  const firmware = { smbios: [], acpi: [] };
  const host = { accelerator: 'tcg', network, firmware, now: NOW, hasBalloon: false } as const;
  return qemuArgv({ binary: 'qemu', config: whole, paths, isPaused: false, ...host, ...more });
}

/** Gives the values of an option, in order. */
function values(argv: readonly string[], option: string): string[] {
  return argv.flatMap((word, i) => (argv[i - 1] === option ? [word] : []));
}

test('the whole command line of a VM with a kernel', () => {
  const argv = argvOf({ kernel: '/k', initrd: '/i', cmdline: 'console=ttyS0 a,b', serial: 'pty' });
  assert.deepEqual(argv, [
    'qemu',
    ...['-name', 'guest=work,process=usher:work', '-uuid', uuid],
    ...['-no-user-config', '-nodefaults', '-display', 'none'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-machine', 'q35,dump-guest-core=off', '-accel', 'tcg', '-m', 'size=256M', '-smp', 'cpus=2'],
    ...['-rtc', 'base=utc', '-boot', 'strict=on', '-action', 'panic=pause,shutdown=pause,reboot=shutdown'],
    ...['-D', 'trace.log', '-trace', 'runstate_set', '-trace', 'qemu_system_shutdown_request'],
    ...[
      '-chardev',
      `socket,id=qmp,path=/run/u/${uuid}/qmp.sock,server=on,wait=off`,
      '-mon',
      'chardev=qmp,mode=control',
    ],
    '-chardev',
    `socket,id=console,path=/run/u/${uuid}/console.sock,server=on,wait=off,logfile=/var/u/${uuid}.console.log,logappend=on`,
    ...['-serial', 'chardev:console', '-chardev', 'pty,id=serial', '-serial', 'chardev:serial', '-device', 'pvpanic'],
    ...['-kernel', '/k', '-initrd', '/i', '-append', 'console=ttyS0 a,b'],
  ]);
});

test('paused, restored and accelerated domains', () => {
  const argv = argvOf({}, { isPaused: true, restore: { machine: 'pc-q35-7.2' }, accelerator: 'kvm' });
  assert.deepEqual(argv.slice(-3), ['-S', '-incoming', 'defer']);
  assert.deepEqual(values(argv, '-machine'), ['pc-q35-7.2,dump-guest-core=off,graphics=off']);
  assert.deepEqual(values(argv, '-cpu'), ['host']);
});

test('a balloon comes behind all devices of ours, and a ceiling is the size of the machine', () => {
  const extraArguments = [{ name: 'device', value: 'virtio-rng-pci' }];
  const argv = argvOf({ memoryMaxMiB: 512, extraArguments }, { hasBalloon: true });
  assert.deepEqual(argv.slice(-4), [
    '-device',
    '{"driver":"virtio-balloon-pci","id":"balloon"}',
    '-device',
    'virtio-rng-pci',
  ]);
  assert.deepEqual(values(argv, '-m'), ['size=512M']);
  assert.deepEqual(values(argvOf({ memoryMaxMiB: 128 }), '-m'), ['size=256M']);
  assert.ok(!argvOf().join().includes('balloon'));
  assert.equal(getsBalloon(config({ extraArguments })), true);
  const own = [{ name: 'device', value: 'virtio-balloon-pci,deflate-on-oom=on' }];
  assert.equal(getsBalloon(config({ extraArguments: own })), false, 'QEMU takes one at most');
});

test('disks go where their names say', () => {
  const disk = (target: string, changes: Partial<DiskConfig> = {}): DiskConfig => {
    return { path: `/d/${target},x=y.img`, format: 'raw', target, isReadOnly: false, kind: 'disk', ...changes };
  };
  const disks = [
    disk('hda'),
    disk('vda', { format: 'qcow2', isReadOnly: true }),
    disk('hdc', { kind: 'cdrom' }),
    disk('xvdb', { kind: 'cdrom' }),
    disk('sda', { format: 'vhd' }),
  ];
  const argv = argvOf({ disks });
  const devices = values(argv, '-device')
    .slice(1)
    .map((json) => JSON.parse(json));
  assert.deepEqual(devices, [
    { driver: 'virtio-scsi-pci', id: 'scsi' },
    { driver: 'ide-hd', id: 'disk-0', drive: 'disk-0', bus: 'ide.0', bootindex: 1 },
    { driver: 'virtio-blk-pci', id: 'disk-1', drive: 'disk-1', bootindex: 2 },
    { driver: 'ide-cd', id: 'disk-2', drive: 'disk-2', bus: 'ide.1', bootindex: 3 },
    { driver: 'scsi-cd', id: 'disk-3', drive: 'disk-3', bus: 'scsi.0', 'scsi-id': 3, bootindex: 4 },
    { driver: 'scsi-hd', id: 'disk-4', drive: 'disk-4', bus: 'scsi.0', 'scsi-id': 4, bootindex: 5 },
  ]);
  const nodes = values(argv, '-blockdev').map((json) => JSON.parse(json));
  assert.deepEqual(nodes[1], {
    driver: 'qcow2',
    'node-name': 'disk-1',
    'read-only': true,
    file: { driver: 'file', filename: '/d/vda,x=y.img' },
  });
  assert.deepEqual(
    nodes.map((node) => [node.driver, node['read-only']]),
    [
      ['raw', false],
      ['qcow2', true],
      ['raw', true],
      ['raw', true],
      ['vpc', false],
    ],
  );
});

test('the machine, its processor and its clock are as the config says', () => {
  const argv = argvOf({ acpi: false, hpet: true, pae: true, apic: false, nx: false, vcpus: 4, coresPerSocket: 2 });
  assert.deepEqual(values(argv, '-machine'), ['q35,dump-guest-core=off,graphics=off,acpi=off,hpet=on']);
  assert.deepEqual(values(argv, '-cpu'), ['qemu64,pae=on,apic=off,nx=off']);
  assert.deepEqual(values(argv, '-smp'), ['cpus=4,cores=2']);
  assert.deepEqual(values(argvOf({ nx: true }, { accelerator: 'kvm' }), '-cpu'), ['host,nx=on']);
  assert.deepEqual(values(argvOf(), '-cpu'), []);
  assert.deepEqual(values(argvOf({ vcpus: 4, coresPerSocket: 3 }), '-smp'), ['cpus=4']);
  const clock = (changes: Partial<VmConfig>) => values(argvOf(changes), '-rtc').join();
  assert.equal(clock({ timeOffsetSeconds: -5400 }), 'base=2026-11-28T10:30:00');
  assert.equal(clock({ timeOffsetSeconds: 0, timerMode: 0 }), 'base=utc,driftfix=slew');
  assert.equal(clock({ timerMode: 3 }), 'base=utc,driftfix=none');
});

test('the boot order ranks disks, cdroms and cards, and leaves out what it does not name', () => {
  const disk = (target: string, kind: DiskConfig['kind']) =>
    ({ path: `/${target}`, format: 'raw', target, isReadOnly: false, kind }) as const;
  const devices = { disks: [disk('hda', 'disk'), disk('hdd', 'cdrom'), disk('hdb', 'disk')], nics: [{ id: 5 }] };
  const ranks = (changes: Partial<VmConfig>) =>
    Object.fromEntries(
      values(argvOf({ ...devices, ...changes }), '-device')
        .filter((word) => word.startsWith('{'))
        .map((word) => JSON.parse(word))
        .map(({ id, bootindex }) => [id, bootindex]),
    );
  const none = undefined;
  assert.deepEqual(ranks({}), { 'disk-0': 1, 'disk-1': 2, 'disk-2': 3, 'nic-5': none });
  assert.deepEqual(ranks({ bootOrder: 'dc' }), { 'disk-0': 2, 'disk-1': 1, 'disk-2': 3, 'nic-5': none });
  assert.deepEqual(ranks({ bootOrder: 'and' }), { 'disk-0': none, 'disk-1': 2, 'disk-2': none, 'nic-5': 1 });
  assert.deepEqual(ranks({ bootOrder: 'dc', kernel: '/k' }), {
    ...{ 'disk-0': none, 'disk-1': none, 'disk-2': none, 'nic-5': none },
  });
});

test('display, PCI devices, firmware and extra arguments', () => {
  const odd = domainPaths('/run/a,b', '/var/u', uuid);
  const vnc = (display: VmConfig['display'], more: Partial<VmConfig> = {}) => {
    const argv = argvOf({ ...(display === undefined ? {} : { display }), ...more }, { paths: odd });
    return [values(argv, '-vnc').join(), values(argv, '-k').join(), values(argv, '-device').slice(1).join()];
  };
  const card = '{"driver":"VGA","id":"video","addr":"1e.0"}';
  assert.deepEqual(vnc(undefined), ['', '', '']);
  assert.deepEqual(vnc({ protocol: 'none' }), ['', '', '']);
  assert.deepEqual(vnc({ protocol: 'vnc', usesFreePort: false }), [`unix:/run/a,,b/${uuid}/vnc.sock`, '', card]);
  assert.deepEqual(vnc({ protocol: 'vnc', usesFreePort: true, keymap: 'de' }), ['127.0.0.1:0,to=99', 'de', card]);
  assert.equal(vnc({ protocol: 'vnc', usesFreePort: false, port: 5 })[0], '127.0.0.1:5');
  assert.equal(vnc({ protocol: 'vnc', usesFreePort: false, port: 5907 })[0], '127.0.0.1:7');
  assert.match(vnc({ protocol: 'vnc', usesFreePort: false }, { videoMemoryMiB: 16 })[2] ?? '', /"vgamem_mb":16/);
  assert.throws(() => vnc({ protocol: 'intel' }), /display = vnc/);

  const pci = { domain: 0, bus: 3, device: 0, isSeized: false };
  const argv = argvOf(
    {
      pciDevices: [
        { ...pci, id: 1, function: 1 },
        { ...pci, id: 0, function: 0 },
      ],
      extraArguments: [{ name: 'device', value: 'virtio-rng-pci,id=r' }, { name: 'no-hpet' }],
    },
    { firmware: { smbios: ['/f/a,b'], acpi: ['/f/c'] } },
  );
  assert.deepEqual(
    values(argv, '-device')
      .slice(1, 3)
      .map((word) => JSON.parse(word)),
    [
      { driver: 'vfio-pci', id: 'pci-0', host: '0000:03:00.0' },
      { driver: 'vfio-pci', id: 'pci-1', host: '0000:03:00.1' },
    ],
  );
  assert.deepEqual([values(argv, '-smbios'), values(argv, '-acpitable')], [['file=/f/a,,b'], ['file=/f/c']]);
  assert.deepEqual(argv.slice(-3), ['-device', 'virtio-rng-pci,id=r', '-no-hpet']);
});

test('controllers of each version, read back from their ids', () => {
  const versions = [1, 2, 3] as const;
  const usbControllers = versions.map((version) => ({ type: 'auto', version, ports: version * 2 }) as const);
  const devices = values(argvOf({ usbControllers }), '-device')
    .slice(1)
    .map((json) => JSON.parse(json));
  assert.deepEqual(
    devices.map(({ driver, id, addr }) => `${driver} ${id} ${addr}`),
    [
      'piix3-usb-uhci usbctrl-0-v1-p2 08.0',
      'ich9-usb-ehci1 usbctrl-1-v2-p4 09.7',
      'ich9-usb-uhci1 usbctrl-1-v2-p4-uhci1 09.0',
      'ich9-usb-uhci2 usbctrl-1-v2-p4-uhci2 09.1',
      'ich9-usb-uhci3 usbctrl-1-v2-p4-uhci3 09.2',
      'qemu-xhci usbctrl-2-v3-p6 0a.0',
    ],
  );
  const controllers = controllersOf(['type', ...devices.map(({ id }) => id as string).reverse()]);
  assert.deepEqual(
    controllers.map(({ index, version, ports, speeds }) => [index, version, ports, speeds.at(-1)]),
    [
      [0, 1, 2, 'full'],
      [1, 2, 4, 'high'],
      [2, 3, 6, 'super'],
    ],
  );
});

test('no value can smuggle an option in', () => {
  const evil = 'x,server=off,path=/etc/shadow';
  const odd = domainPaths(`/run/${evil}`, `/var/${evil}`, uuid);
  const argv = argvOf(
    { name: evil, cmdline: `-S ${evil}`, kernel: '-snapshot', serial: 'tcp:[::1]:4000' },
    { paths: odd },
  );
  for (const chardev of values(argv, '-chardev')) {
    const names = chardev.replaceAll(',,', '').split(',');
    assert.equal(names.filter((word) => word.startsWith('path=') || word.startsWith('server=')).length <= 2, true);
    assert.ok(!chardev.replaceAll(',,', '').includes(',path=/etc'), chardev);
  }
  assert.deepEqual(values(argv, '-name'), [
    `guest=${evil.replaceAll(',', ',,')},process=usher:${evil.replaceAll(',', ',,')}`,
  ]);
  assert.ok(argv.includes('socket,id=serial,host=::1,port=4000,server=on,wait=off'));
});

test('what QEMU cannot be told is a fault', () => {
  const disk = { path: '/d', format: 'raw', isReadOnly: false, kind: 'disk' } as const;
  const controller = { type: 'auto', version: 3, ports: 4 } as const;
  const refused: Partial<VmConfig>[] = [
    { disks: [{ ...disk, target: 'fda' }] },
    { disks: Array.from({ length: 7 }, (_, i) => ({ ...disk, target: `hd${'abcdefg'[i]}` })) },
    { serial: 'udp:1.2.3.4:5' },
    { usbControllers: Array.from({ length: 23 }, () => controller) },
  ];
  for (const changes of refused)
    assert.throws(
      () => argvOf(changes),
      (error) => isFault(error, 'vm.start_failed'),
    );
});
