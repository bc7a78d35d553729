import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatDiagnostic } from './diagnostics.ts';
import { errorsOf, settingsOf, warningsOf } from './testing/vm-text.ts';
import { completeConfig, nameFromFile, parseVmFile } from './xenvm-file.ts';

const UUID = '00000000-0000-0000-0000-000000000001';

test('reads the example of xenvm', () => {
  const text = `
# PV config with one LVM disk
uuid = ${UUID}
hvm = false
kernel = /boot/vmlinuz-2.6.18-xenU
cmdline = root=/dev/sda1 ro
memory = 64
disk = /dev/vg/test:phy:sda:w:disk
vif =
`;
  assert.deepEqual(settingsOf(text), {
    uuid: UUID,
    virtMode: 'pv',
    kernel: '/boot/vmlinuz-2.6.18-xenU',
    cmdline: 'root=/dev/sda1 ro',
    memoryMiB: 64,
    disks: [{ path: '/dev/vg/test', format: 'raw', target: 'sda', isReadOnly: false, kind: 'disk' }],
    nics: [{ id: 0 }],
  });
  assert.deepEqual(warningsOf(text, { isStrict: true }), []);
});

test('reads the example of xenvm that installs from a CD', () => {
  const text = `
uuid = 00000000-0000-0000-0000-000000000002
hvm = true
memory = 256
disk = /dev/vg/testhvm:phy:hda:w:disk
disk = /var/opt/xen/iso_import/w2k3eesp2.iso:file:hdd:r:cdrom
boot = dc
pae = true
acpi = true
apic = true
`;
  assert.deepEqual(settingsOf(text), {
    uuid: '00000000-0000-0000-0000-000000000002',
    virtMode: 'hvm',
    memoryMiB: 256,
    disks: [
      { path: '/dev/vg/testhvm', format: 'raw', target: 'hda', isReadOnly: false, kind: 'disk' },
      { path: '/var/opt/xen/iso_import/w2k3eesp2.iso', format: 'raw', target: 'hdd', isReadOnly: true, kind: 'cdrom' },
    ],
    bootOrder: 'dc',
    pae: true,
    acpi: true,
    apic: true,
  });
  for (const driver of ['xen', 'qemu'] as const) {
    assert.deepEqual(warningsOf(text, { isStrict: true, driverOf: () => driver }), []);
  }
});

test('fills in what a file does not say', () => {
  const config = completeConfig(settingsOf('usbctrl = none'), { name: 'work', driver: 'simulator' });
  const { uuid, ...rest } = config;
  assert.match(uuid, /^[0-9a-f-]{36}$/);
  assert.deepEqual(rest, {
    name: 'work',
    driver: 'simulator',
    memoryMiB: 256,
    vcpus: 1,
    disks: [],
    startup: { do: 'started' },
    onCrash: 'destroy',
    onHalt: 'destroy',
    onReboot: 'restart',
    usbControllers: [],
  });
  assert.deepEqual(completeConfig({}).usbControllers, [{ type: 'auto', version: 3, ports: 8 }]);
  assert.equal(completeConfig(settingsOf(`uuid = ${UUID.toUpperCase()}`)).uuid, UUID);
});

test('takes both spellings, empty values, integers as OCaml writes them, and paths from its folder', () => {
  assert.deepEqual(settingsOf('on_restart = reboot'), { onReboot: 'restart' });
  assert.deepEqual(settingsOf('on_crash=preserve\non_halt\t=\tdestroy'), { onCrash: 'preserve', onHalt: 'destroy' });
  assert.deepEqual(settingsOf('kernel = vmlinuz\ninitrd = ../i.img\ninitrd ='), { kernel: '/etc/vm/vmlinuz' });
  assert.deepEqual(settingsOf('memory = 0x1_00\nvcpus = 0b10'), { memoryMiB: 256, vcpus: 2 });
  assert.deepEqual(settingsOf('startup = restore saved/x'), { startup: { do: 'restore', file: '/etc/vm/saved/x' } });
  assert.deepEqual(settingsOf('extra-hvm = ,'), {});
  assert.deepEqual(settingsOf('timeoffset = -0'), { timeOffsetSeconds: 0 });
  assert.deepEqual(settingsOf('startup = start'), { startup: { do: 'started' } });
  assert.deepEqual(settingsOf('startup = poweroff'), { startup: { do: 'shutdown' } });
});

test('takes Xen’s own loader, which older files name as the kernel of an HVM guest, for none', () => {
  assert.deepEqual(settingsOf('hvm = true\nkernel = /usr/lib/xen/boot/hvmloader\nmemory = 64'), {
    virtMode: 'hvm',
    memoryMiB: 64,
  });
});

test('knows where a relative path starts from, or says that nobody does', () => {
  assert.equal(parseVmFile('kernel = vmlinuz', '/srv/guests/a.vm').settings?.kernel, '/srv/guests/vmlinuz');
  const { errors } = parseVmFile('kernel = vmlinuz', 'content');
  assert.match(errors.map(formatDiagnostic).join(), /^content:1:10: "vmlinuz" is a relative path/);
});

test('tells all errors at once, each with its place', () => {
  const text =
    'memory = lots\n\nname = dom0\nvcpus = 0\nuuid = 12\non_crash = explode\nserial = com1\ndriver = kvm\njust words';
  const at = (place: string) => `/etc/vm/work.vm:${place}: `;
  assert.deepEqual(errorsOf(text), [
    `${at('1:10')}"memory" is a whole number, not "lots".`,
    `${at('3:8')}"dom0" cannot be a VM name: it is reserved for the host and its devices.`,
    `${at('4:9')}"vcpus" is from 1 to 512, not 0.`,
    `${at('5:8')}"12" is not a UUID.`,
    `${at('6:12')}"on_crash" is destroy, restart or preserve, not "explode".`,
    `${at('7:10')}"serial" is pty or tcp:ADDRESS:PORT, not "com1".`,
    `${at('8:10')}"driver" is simulator, qemu or xen, not "kvm".`,
    `${at('9:1')}"key = value" is expected, not "just words".`,
  ]);
});

test('warns of unknown keys, or refuses them when strict', () => {
  assert.deepEqual(warningsOf('memroy = 64\nfrobnicate = 1'), [
    '/etc/vm/work.vm:1:1: There is no key "memroy". Did you mean "memory"?',
    '/etc/vm/work.vm:2:1: There is no key "frobnicate".',
  ]);
  assert.equal(errorsOf('memroy = 64', { isStrict: true }).length, 1);
});

test('takes the last of two lines, and says so', () => {
  assert.deepEqual(settingsOf('memory = 64\nmemory = 128').memoryMiB, 128);
  assert.deepEqual(warningsOf('memory = 64\nmemory = 128'), [
    '/etc/vm/work.vm:2:1: "memory" counts here, not in line 1.',
  ]);
  assert.match(warningsOf('initrd = /i').join(), /"initrd" does nothing without a "kernel"/);
});

test('works with, or clearly refuses, what editors and enemies make of a file', () => {
  assert.deepEqual(settingsOf('\u{feff}memory = 64\r\nname = work\r\n'), { memoryMiB: 64, name: 'work' });
  assert.match(errorsOf('name = a\0b').join(), /:1:9: The control character \\u\{0\} has no place/);
  assert.match(errorsOf('  cmdline = x\u001b[2J').join(), /:1:14: The control character/);
  assert.match(errorsOf(`cmdline = ${'x'.repeat(1_000_000)}`).join(), /:1:8193: The line is longer/);
  assert.match(errorsOf('#\n'.repeat(600_000)).join(), /more than 1048576 characters/);
  assert.match(errorsOf('memory = -1').join(), /from 1 to/);
  assert.match(errorsOf(`memory = ${'9'.repeat(400)}`).join(), /from 1 to/);
  assert.match(errorsOf('memory =').join(), /"memory" needs a value/);
  assert.match(errorsOf('kernel = /k /').join(), /ends in a blank/);
  assert.match(errorsOf('startup = restore').join(), /needs a path/);
  assert.match(errorsOf('startup = paused now').join(), /:1:18: Nothing is expected/);
  assert.match(errorsOf('on_halt = constructor').join(), /is destroy, restart or preserve/);
  assert.match(warningsOf('__proto__ = 1').join(), /There is no key/);
  assert.match(errorsOf('name = \u202egnp.exe').join(), /\\u\{202e\}/);
  assert.equal(errorsOf('x\n'.repeat(500_000)).length, 101);
});

test('makes a name of a file name', () => {
  assert.equal(nameFromFile('/etc/vm/work.vm'), 'work');
  assert.equal(nameFromFile('/etc/vm/42 my vm.cfg'), 'my-vm');
  assert.equal(nameFromFile('/etc/vm/dom0.vm'), undefined);
  assert.equal(nameFromFile('/etc/vm/42'), undefined);
});
