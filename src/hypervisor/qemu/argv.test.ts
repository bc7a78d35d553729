import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../lib/fault.ts';
import { parseUuid } from '../../model/ids.ts';
import type { DiskConfig, VmConfig } from '../../model/vm.ts';
import { qemuArgv } from './argv.ts';
import { controllersOf } from './controllers.ts';
import { domainPaths } from './paths.ts';

const uuid = parseUuid('0d8dbe2a-95b3-4a72-b8ae-6c1e7c0e1a52');
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
  const input = { binary: 'qemu', config: config(changes), paths, accelerator: 'tcg', isPaused: false } as const;
  return qemuArgv({ ...input, ...more });
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
