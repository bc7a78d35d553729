import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { VmUuid } from '../model/ids.ts';
import { DEATH_ACTIONS, DRIVER_NAMES, type DriverName, VIRT_MODES, type VmConfig } from '../model/vm.ts';
import { formatDiagnostic } from './diagnostics.ts';
import { completeConfig, nameFromFile, parseVmFile, printVmFile } from './xenvm-file.ts';

const UUID = '00000000-0000-0000-0000-000000000001';
const parse = (text: string, options = {}) => parseVmFile(text, '/etc/vm/work.vm', options);
const settingsOf = (text: string) => {
  const { settings, errors } = parse(text);
  assert.deepEqual(errors.map(formatDiagnostic), []);
  assert.ok(settings);
  return settings;
};
const errorsOf = (text: string, options = {}) => parse(text, options).errors.map(formatDiagnostic);
const warningsOf = (text: string) => parse(text).warnings.map(formatDiagnostic);

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
  });
  assert.deepEqual(warningsOf(text), ['/etc/vm/work.vm:9:1: "vif" is known, but Usher does not honour it yet.']);
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
  assert.deepEqual(settingsOf('startup = start'), { startup: { do: 'started' } });
  assert.deepEqual(settingsOf('startup = poweroff'), { startup: { do: 'shutdown' } });
});

test('knows where a relative path starts from, or says that nobody does', () => {
  const { errors } = parseVmFile('kernel = vmlinuz', 'content');
  assert.match(errors.map(formatDiagnostic).join(), /^content:1:10: "vmlinuz" is a relative path/);
});

test('reads disks of all types, and paths with colons', () => {
  const text = `disk = /a:b:c.img:file:hda:w:disk
disk = images/d.qcow2:qcow:hdb:r:disk:none
disk = /v.vhd:vhd:xvdp:w:disk:
disk = /cd.iso:aio:hdd:r:cdrom`;
  assert.deepEqual(
    settingsOf(text).disks?.map(({ path, format, isReadOnly, kind }) => [path, format, isReadOnly, kind]),
    [
      ['/a:b:c.img', 'raw', false, 'disk'],
      ['/etc/vm/images/d.qcow2', 'qcow2', true, 'disk'],
      ['/v.vhd', 'vhd', false, 'disk'],
      ['/cd.iso', 'raw', true, 'cdrom'],
    ],
  );
});

test('refuses disks that make no sense, field by field', () => {
  const at = '/etc/vm/work.vm:1:8: ';
  assert.deepEqual(errorsOf('disk = /x.img'), [
    `${at}A disk is path:type:target:mode:kind, such as "/vm/root.img:file:hda:w:disk", not "/x.img".`,
  ]);
  assert.deepEqual(errorsOf('disk = :fil:sdaa:x:dsk'), [
    `${at}"disk path" needs a path.`,
    `${at}"disk type" is raw, qcow2 or vhd, not "fil".`,
    `${at}A disk target is hda to hdd, sda to sdz or xvda to xvdp, not "sdaa".`,
    `${at}"disk mode" is r or w, not "x".`,
    `${at}"disk kind" is disk or cdrom, not "dsk". Did you mean "disk"?`,
  ]);
  assert.match(errorsOf('disk = /x:file:sda:w:disk:temporary').join(), /does not do "temporary" for disks yet/);
  assert.match(errorsOf('disk = /x:file:sda:w:disk:key-file=/k').join(), /does not do "key-file=\/k"/);
  assert.match(errorsOf('disk = /x:file:sda:w:disk\ndisk = /y:file:sda:w:disk').join(), /:2:8: There are two disks/);
  assert.match(warningsOf('disk = /x:file:hdc:w:cdrom').join(), /taken as read-only/);
});

test("reads USB controllers in xl's syntax", () => {
  const controllers = (text: string) => settingsOf(text).usbControllers;
  assert.deepEqual(controllers('usbctrl = version=3,ports=15'), [{ type: 'auto', version: 3, ports: 15 }]);
  assert.deepEqual(controllers('usbctrl = type=devicemodel, version=1\nusbctrl = version=2'), [
    { type: 'devicemodel', version: 1, ports: 2 },
    { type: 'auto', version: 2, ports: 6 },
  ]);
  assert.deepEqual(controllers(`usbctrl = ['version=3,ports=4', "type=pv,version=1,ports=31",]`), [
    { type: 'auto', version: 3, ports: 4 },
    { type: 'pv', version: 1, ports: 31 },
  ]);
  assert.deepEqual(controllers('usbctrl = type=qusb'), [{ type: 'qusb', version: 2, ports: 8 }]);
  assert.deepEqual(controllers('usbctrl = none\nusbctrl = version=2'), [{ type: 'auto', version: 2, ports: 6 }]);
});

test('refuses controllers that make no sense, at the word', () => {
  const error = (value: string) => errorsOf(`usbctrl = ${value}`).join();
  assert.match(error('version=1,ports=4'), /:1:21: A USB controller of version 1 always has 2 ports/);
  assert.match(error('version=3,ports=16'), /:1:21: "usbctrl ports" is from 1 to 15/);
  assert.match(error('version=4'), /:1:11: "usbctrl version" is from 1 to 3/);
  assert.match(error('type=pv,version=3'), /:1:19: "usbctrl version" is from 1 to 2/);
  assert.match(error('type=fast'), /"usbctrl type" is auto, qusb, pv or devicemodel/);
  assert.match(error('speed=3'), /takes type=, version= and ports=/);
  assert.match(error('version=3,version=2'), /:1:21: "version" stands twice/);
  assert.match(error(`['version=3' 'version=2']`), /with quotes and commas/);
  assert.match(error(`['version=3', 'ports=x']`), /:1:26: "usbctrl ports" is a whole number/);
  assert.match(error(`[${"'version=3',".repeat(17)}]`), /at most 16/);
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
  assert.match(errorsOf('startup = restore').join(), /needs a path/);
  assert.match(errorsOf('startup = paused now').join(), /:1:18: Nothing is expected/);
  assert.match(errorsOf('on_halt = constructor').join(), /is destroy, restart or preserve/);
  assert.match(warningsOf('__proto__ = 1').join(), /There is no key/);
  assert.match(errorsOf('name = \u202egnp.exe').join(), /\\u\{202e\}/);
  assert.equal(errorsOf('x\n'.repeat(500_000)).length, 101);
});

test('takes the kind of guest in the spellings of Usher, xl and xenvm', () => {
  for (const [text, kind] of [
    ['virtmode = pvh', 'pvh'],
    ['type = "pv"', 'pv'],
    ["type = 'hvm'", 'hvm'],
    ['type = pvh', 'pvh'],
    ['hvm = true', 'hvm'],
    ['hvm = false', 'pv'],
    ['hvm = false\nvirtmode = pvh', 'pvh'],
    ['virtmode = pvh\nhvm = false', 'pvh'],
    ['virtmode = hvm\ntype = "hvm"\nhvm = true', 'hvm'],
  ] as const) {
    assert.equal(settingsOf(text).virtMode, kind, text);
    assert.deepEqual(warningsOf(text), [], text);
  }
  assert.deepEqual(errorsOf('virtmode = paravirt\ntype = "xen"\nhvm = maybe'), [
    '/etc/vm/work.vm:1:12: "virtmode" is pv, pvh or hvm, not "paravirt".',
    '/etc/vm/work.vm:2:8: "type" is pv, pvh or hvm, not "xen".',
    '/etc/vm/work.vm:3:7: "hvm" is true or false, not "maybe".',
  ]);
});

test('refuses kinds of guest that contradict each other, where they stand', () => {
  assert.deepEqual(errorsOf('virtmode = pv\nmemory = 64\nhvm = true'), [
    '/etc/vm/work.vm:3:1: "hvm" says hvm, and "virtmode" in line 1 says pv: say it once.',
  ]);
  assert.deepEqual(errorsOf('hvm = false\ntype = "hvm"'), [
    '/etc/vm/work.vm:2:1: "type" says hvm, and "hvm" in line 1 says not hvm: say it once.',
  ]);
  assert.equal(errorsOf('type = "pv"\nvirtmode = pvh').length, 1);
});

test('says what does not fit the driver, if there is one', () => {
  const driverOf = (driver: DriverName) => ({ driverOf: () => driver });
  const pv = 'kernel = /k\nvirtmode = pv';
  for (const driver of ['qemu', 'simulator'] as const) {
    assert.deepEqual(parse(`${pv}\n`, driverOf(driver)).warnings.map(formatDiagnostic), [
      `/etc/vm/work.vm:2:1: "virtmode" is heeded by the driver xen only: with ${driver} the guest is hvm.`,
    ]);
    assert.deepEqual(parse('kernel = /k\nhvm = true', driverOf(driver)).warnings, []);
  }
  assert.deepEqual(parse(pv, driverOf('xen')).warnings, []);
  assert.deepEqual(errorsOf('virtmode = pvh', driverOf('xen')), [
    '/etc/vm/work.vm:1:1: A guest of the kind pvh needs a "kernel".',
  ]);
  const controllers = (driver: DriverName, text: string) => errorsOf(text, driverOf(driver));
  assert.deepEqual(controllers('qemu', "usbctrl = version=3\nusbctrl = ['type=qusb', 'type=auto']"), [
    '/etc/vm/work.vm:2:11: Only Xen has a USB controller of the type qusb; with qemu it is devicemodel, or auto.',
  ]);
  assert.deepEqual(controllers('xen', `${pv}\nusbctrl = type=devicemodel`), [
    '/etc/vm/work.vm:3:11: Only a guest of the kind hvm has a USB controller of the type devicemodel; with pv it is qusb, or auto.',
  ]);
  assert.deepEqual(controllers('xen', `${pv}\nusbctrl = type=qusb`), []);
  assert.deepEqual(controllers('xen', 'usbctrl = type=devicemodel'), []);
  assert.deepEqual(errorsOf(`${pv}\nusbctrl = type=devicemodel`), []);
  assert.deepEqual(controllers('simulator', `${pv}\nusbctrl = type=qusb\nusbctrl = type=devicemodel`), []);
  assert.match(parse(`${pv}\nusbctrl = type=pv`, driverOf('xen')).warnings[0]?.message ?? '', /usbback/);
});

test('makes a name of a file name', () => {
  assert.equal(nameFromFile('/etc/vm/work.vm'), 'work');
  assert.equal(nameFromFile('/etc/vm/42 my vm.cfg'), 'my-vm');
  assert.equal(nameFromFile('/etc/vm/dom0.vm'), undefined);
  assert.equal(nameFromFile('/etc/vm/42'), undefined);
});

const line = fc
  .string({ unit: 'grapheme', maxLength: 60 })
  .map((text) => text.replaceAll(/[\p{Cc}]/gu, '').trim())
  .filter((text) => text !== '');
const path = fc
  .array(fc.stringMatching(/^[A-Za-z0-9_: =#-]{1,12}$/), { minLength: 1, maxLength: 4 })
  .map((parts) => `/${parts.map((part) => `${part}x`).join('/')}`);
const plain = { noNullPrototype: true };
const controller = fc.oneof(
  fc.record(
    {
      type: fc.constantFrom('auto' as const, 'devicemodel' as const),
      version: fc.constant(3 as const),
      ports: fc.integer({ min: 1, max: 15 }),
    },
    plain,
  ),
  fc.constantFrom({ type: 'auto' as const, version: 1 as const, ports: 2 }),
  fc.record(
    {
      type: fc.constantFrom('pv' as const, 'qusb' as const),
      version: fc.constantFrom(1 as const, 2 as const),
      ports: fc.integer({ min: 1, max: 31 }),
    },
    plain,
  ),
);
const disk = fc.record(
  {
    path,
    format: fc.constantFrom('raw' as const, 'qcow2' as const, 'vhd' as const),
    target: fc.constantFrom('hda', 'hdd', 'sda', 'sdz', 'xvda', 'xvdp'),
    isReadOnly: fc.boolean(),
    kind: fc.constant('disk' as const),
  },
  plain,
);
const death = fc.constantFrom(...DEATH_ACTIONS);
const config: fc.Arbitrary<VmConfig> = fc.record(
  {
    uuid: fc.uuid().map((uuid) => uuid as VmUuid),
    name: fc.stringMatching(/^[a-z][A-Za-z0-9._-]{0,30}$/).map((name) => `vm${name}`),
    driver: fc.constantFrom(...DRIVER_NAMES),
    virtMode: fc.constantFrom(...VIRT_MODES),
    kernel: path,
    initrd: path,
    cmdline: line,
    memoryMiB: fc.integer({ min: 1, max: 16_777_216 }),
    vcpus: fc.integer({ min: 1, max: 512 }),
    disks: fc.uniqueArray(disk, { selector: (each) => each.target, maxLength: 4 }),
    serial: fc.constantFrom('pty', 'tcp:127.0.0.1:4000'),
    startup: fc.oneof(
      fc.constantFrom({ do: 'started' as const }, { do: 'paused' as const }, { do: 'shutdown' as const }),
      path.map((file) => ({ do: 'restore' as const, file })),
    ),
    onCrash: death,
    onHalt: death,
    onReboot: death,
    usbControllers: fc.array(controller, { maxLength: 4 }),
  },
  {
    noNullPrototype: true,
    requiredKeys: [
      ...(['uuid', 'name', 'driver', 'memoryMiB', 'vcpus', 'disks', 'startup'] as const),
      ...(['onCrash', 'onHalt', 'onReboot', 'usbControllers'] as const),
    ],
  },
);

test('property: what is printed is read as the same config', () => {
  fc.assert(
    fc.property(config, (wanted) => {
      const { settings, errors } = parseVmFile(printVmFile(wanted), '/etc/vm/work.vm', { isStrict: true });
      assert.deepEqual(errors, []);
      assert.deepEqual(completeConfig(settings ?? {}), wanted);
    }),
  );
});

test('property: no text throws, and every finding is one printable line with a place', () => {
  const junk = fc
    .array(fc.oneof(fc.integer({ max: 0x7f, min: 0 }), fc.integer({ min: 0, max: 0xffff })), { maxLength: 200 })
    .map((units) => String.fromCharCode(...units));
  const text = fc.oneof(
    junk,
    fc
      .array(fc.tuple(fc.constantFrom('memory', 'disk', 'usbctrl', 'startup', 'serial'), junk))
      .map((lines) => lines.map((words) => words.join('=')).join('\n')),
  );
  fc.assert(
    fc.property(text, (untrustedText) => {
      const { settings, errors, warnings } = parse(untrustedText);
      assert.equal(settings === undefined, errors.length > 0);
      for (const finding of [...errors, ...warnings]) {
        assert.match(formatDiagnostic(finding), /^\/etc\/vm\/work\.vm:\d+:\d+: [^\p{Cc}\p{Cf}]+$/u);
      }
    }),
  );
});
