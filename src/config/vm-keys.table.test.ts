/** A row for every name of every key: what it takes and refuses, and what the drivers make of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DriverName, VirtMode } from '../model/vm.ts';
import { formatDiagnostic } from './diagnostics.ts';
import { parse } from './testing/vm-text.ts';
import { KEY_NAMES, VM_KEYS } from './vm-keys.ts';
import { printVmFile } from './xenvm-file.ts';

interface Row {
  /** A value that is taken, and what it then is when it is printed; the same when not told. */
  readonly good: string;
  readonly printed?: string;
  /** A value that is refused, with a word of why; absent when any text is taken. */
  readonly bad?: readonly [value: string, why: RegExp];
  /** What the drivers make of `good`: honoured, when not told. The guest on Xen is hvm. */
  readonly xen?: 'ignored' | 'refused';
  readonly qemu?: 'ignored' | 'refused';
  /** What Xen makes of it for a PV guest, if that is something else. */
  readonly pv?: 'ignored';
}

const boolean = { good: 'yes', printed: 'true', bad: ['maybe', /is true or false/] } as const;
const machine = { ...boolean, pv: 'ignored' } as const;
const anyText = { good: 'some text', xen: 'ignored', qemu: 'ignored' } as const;
const lackingBoolean = { ...boolean, xen: 'ignored', qemu: 'ignored' } as const;
const lackingInteger = { good: '1', bad: ['one', /whole number/], xen: 'ignored', qemu: 'ignored' } as const;
const death = { good: 'preserve', bad: ['explode', /destroy, restart or preserve/] } as const;
const nic: Row = { good: 'mac=00:16:3E:00:00:01', printed: 'id=0,mac=00:16:3e:00:00:01', bad: ['mac=1', /six bytes/] };
const offset: Row = { good: '-01:30', printed: '-5400', bad: ['noon', /whole number/], pv: 'ignored' };
const types: Row = { good: '130, 129', printed: '130,129', bad: ['127', /from 128 to 255/], pv: 'ignored' };

const ROWS: Readonly<Record<string, Row>> = {
  uuid: { good: '00000000-0000-0000-0000-000000000001', bad: ['12', /not a UUID/] },
  name: { good: 'work', bad: ['dom0', /reserved/] },
  driver: { good: 'xen', bad: ['kvm', /simulator, qemu or xen/] },
  virtmode: { good: 'hvm', bad: ['xen', /pv, pvh or hvm/] },
  type: { good: '"hvm"', printed: '', bad: ['"xen"', /pv, pvh or hvm/] },
  hvm: { good: '1', printed: '', bad: ['maybe', /true or false/] },
  kernel: { good: 'vmlinuz', printed: '/etc/vm/vmlinuz', bad: ['x'.repeat(5000), /longer than 4095/] },
  // The table has no kernel beside it; that they are honoured with one is tested below.
  initrd: { good: '/i', bad: ['x'.repeat(5000), /longer than 4095/], xen: 'ignored', qemu: 'ignored' },
  cmdline: { good: 'root=/dev/sda1 ro', xen: 'ignored', qemu: 'ignored' },
  memory: { good: '0x40', printed: '64', bad: ['0', /from 1 to/] },
  'memory-max': { good: '512', bad: ['much', /whole number/], qemu: 'ignored' },
  vcpus: { good: '2', bad: ['513', /from 1 to 512/] },
  'cores-per-socket': { good: '1', bad: ['0', /from 1 to 512/], xen: 'ignored' },
  cpuid: { good: '1:ecx=x0xx', bad: ['everything', /leaf:register=bits/], qemu: 'ignored', pv: 'ignored' },
  disk: {
    good: '/d:phy:sda:w:disk',
    printed: '/d:file:sda:w:disk',
    bad: ['/d:phy:sda:w', /path:type:target:mode:kind/],
  },
  nic,
  vif: nic,
  pci: {
    good: '3,0000:0a:1f.7,msitranslate=0',
    bad: ['0,bind,nowhere', /devid,bind,domain:bus:device.function/],
  },
  serial: { good: 'tcp:1.2.3.4:1234', bad: ['com1', /pty or tcp:/], pv: 'ignored' },
  display: {
    good: 'vnc:use-port-unused,keymap=en-us,port=1',
    bad: ['spice', /none, vnc, sdl or intel/],
    pv: 'ignored',
  },
  videoram: { good: '16', bad: ['0', /from 1 to 512/], qemu: 'ignored', pv: 'ignored' },
  usbctrl: { good: 'type=auto,version=3,ports=4', bad: ['version=9', /from 1 to 3/] },
  'pci-msitranslate': { ...boolean, good: '1', qemu: 'ignored' },
  'pci-power-management': { ...boolean, good: '0', printed: 'false', qemu: 'ignored' },
  pae: machine,
  acpi: machine,
  apic: machine,
  nx: machine,
  hap: { ...machine, qemu: 'ignored' },
  viridian: { ...machine, qemu: 'ignored' },
  nested: { ...machine, qemu: 'ignored' },
  hpet: machine,
  'vpt-align': { ...machine, qemu: 'ignored' },
  boot: { good: 'dc', bad: ['dd', /letters a, c, d and n/], pv: 'ignored' },
  'timer-mode': { good: '2', bad: ['4', /from 0 to 3/], pv: 'ignored' },
  timeoffset: offset,
  'time-offset': offset,
  'smbios-pt': machine,
  'smbios-oem-type-pt': types,
  'smbios-oem-types-pt': types,
  'acpi-pt': machine,
  'extra-hvm': { good: 'device=virtio-rng-pci,,id=r', bad: ['qmp=unix:/q', /Usher itself says "-qmp"/], pv: 'ignored' },
  startup: { good: 'restore /s', bad: ['sometimes', /started, paused, shutdown or restore/] },
  on_crash: death,
  on_halt: death,
  on_reboot: death,
  on_restart: death,
  debug: boolean,
  'diskinfo-pt': lackingBoolean,
  'power-management': { ...lackingInteger, bad: ['3', /from 0 to 2/] },
  'oem-features': lackingInteger,
  'inject-sci': lackingInteger,
  platform: anyText,
  'cpus-affinity': anyText,
  'extra-local-watch': anyText,
  'extra-vm-watch': anyText,
  'passthrough-io': anyText,
  'passthrough-mmio': anyText,
  output: anyText,
  notify: anyText,
  sound: anyText,
  'cdrom-pt': anyText,
  'pci-script': anyText,
  'flask-label': anyText,
  'qemu-dm-path': anyText,
  'qemu-dm-timeout': lackingInteger,
  stubdom: anyText,
  'stubdom-memory': lackingInteger,
  'stubdom-kernel': anyText,
  'stubdom-initrd': anyText,
  'stubdom-cmdline': anyText,
  'vtpm-backend': anyText,
  'vtpm-instance': anyText,
  'xci-service': anyText,
  'xci-cpuid-signature': lackingBoolean,
  usb: lackingBoolean,
  'qemu-pv': lackingBoolean,
  vsnd: lackingBoolean,
  vkbd: lackingBoolean,
  vfb: lackingBoolean,
  v4v: lackingBoolean,
  'disable-migrate': lackingBoolean,
  no_mem_check: lackingBoolean,
  'extra-maxmem': lackingInteger,
};

/** The keys that the document of xenvm describes, and the aliases of its examples and of xenvm's code. */
const DOCUMENTED =
  `hvm startup debug uuid on_crash on_halt on_reboot kernel memory vcpus disk nic pci serial display cmdline initrd
  pae acpi apic nx smbios-pt smbios-oem-type-pt acpi-pt diskinfo-pt boot extra-hvm power-management oem-features timer-mode
  timeoffset pci-msitranslate pci-power-management inject-sci vif time-offset on_restart smbios-oem-types-pt`.split(
    /\s+/,
  );

test('the table has a row for every name, and every documented name is there', () => {
  assert.deepEqual(Object.keys(ROWS).toSorted(), KEY_NAMES.toSorted());
  assert.deepEqual(
    DOCUMENTED.filter((name) => !KEY_NAMES.includes(name)),
    [],
  );
});

for (const [name, row] of Object.entries(ROWS)) {
  test(`${name}: takes, prints, refuses, and says what becomes of it`, () => {
    const { good, printed = good, bad } = row;
    const text = `${name} = ${good}\n`;
    const { settings = {}, errors } = parse(text, { isStrict: true });
    assert.deepEqual(errors.map(formatDiagnostic), []);
    const key = VM_KEYS.find((other) => other.key === name || other.aliases.includes(name));
    assert.ok(key);
    const line = printVmFile(settings);
    if (printed !== '') assert.equal(line, `${key.key} = ${printed}\n`);
    assert.deepEqual(parse(line).settings, settings);

    if (bad !== undefined) {
      const found = parse(`\n${name} = ${bad[0]}`).errors.map(formatDiagnostic);
      assert.match(found.join(), bad[1]);
      assert.match(found.join(), /^\/etc\/vm\/work\.vm:2:\d+: /);
    }

    assert.equal(judged('xen', 'hvm', text), row.xen ?? 'honoured');
    assert.equal(judged('qemu', 'hvm', text), row.qemu ?? 'honoured');
    assert.equal(judged('simulator', 'hvm', text) === 'refused', false);
    if (name !== 'driver' && !['virtmode', 'type', 'hvm', 'initrd', 'cmdline', 'kernel'].includes(name)) {
      assert.equal(judged('xen', 'pv', text), row.pv ?? row.xen ?? 'honoured');
    }
  });
}

test('what a driver ignores is a warning with the reason, what it refuses an error, at the line', () => {
  const say = (text: string, driver: DriverName) => {
    const { errors, warnings } = parse(text, { driverOf: () => driver });
    return [...errors, ...warnings].map(formatDiagnostic);
  };
  const at = (place: string) => `/etc/vm/work.vm:${place}: `;
  assert.deepEqual(say('memory = 64\ninject-sci = 1', 'qemu'), [
    `${at('2:1')}"inject-sci" is ignored with qemu: QEMU has no such thing.`,
  ]);
  assert.deepEqual(say('inject-sci = 0\nsmbios-pt = false\npower-management = 2', 'qemu'), []);
  assert.match(say('display = sdl', 'qemu').join(), /:1:11: "display" is refused with qemu: a VM outlives/);
  assert.match(say('display = intel', 'xen').join(), /:1:11: "display" is refused with xen: .*OpenXT/);
  assert.match(say('disk = /d:file:sda:w:disk:key-file=/k', 'xen').join(), /:1:8: "disk" is refused with xen/);
  assert.match(say('pci = 0,bind,03:00.0', 'qemu').join(), /:1:7: "pci" is refused with qemu: .*vfio-pci/);
  assert.deepEqual(say('pci = 0,bind,03:00.0', 'xen'), []);
  assert.match(say('boot = dc\nkernel = /k', 'qemu').join(), /:1:1: "boot" is ignored with qemu: the kernel is booted/);
  assert.match(say('boot = a', 'qemu').join(), /no floppy drive/);
  assert.deepEqual(say('kernel = /k\ninitrd = /i\ncmdline = quiet', 'qemu'), []);
  assert.deepEqual(say('vcpus = 4\ncores-per-socket = 2', 'qemu'), []);
  assert.match(say('vcpus = 4\ncores-per-socket = 3', 'qemu').join(), /cannot be divided/);
  assert.deepEqual(say('display = vnc\nvideoram = 16', 'qemu'), []);
  assert.match(say('display = vnc\nvideoram = 17', 'qemu').join(), /no power of two/);
  assert.match(say('acpi = true\nvirtmode = pv\nkernel = /k', 'xen').join(), /:1:1: .*kind pv has no emulated machine/);
  // Only the line that counts is judged, and one that cannot be read is not judged besides.
  assert.equal(say('inject-sci = 1\ninject-sci = 0', 'qemu').length, 1);
  assert.equal(say('hvm = maybe', 'qemu').length, 1);
});

function judged(driver: DriverName, kind: VirtMode, text: string): string | undefined {
  const guest = kind === 'hvm' ? '' : `virtmode = ${kind}\nkernel = /k\n`;
  const { verdicts } = parse(`${guest}${text}`, { driverOf: () => driver });
  return verdicts.at(-1)?.honour.does;
}
