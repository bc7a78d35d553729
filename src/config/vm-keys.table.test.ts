/** A row for every name of every key: what it takes and refuses, and what the drivers make of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DriverName, VirtMode } from '../model/vm.ts';
import { formatDiagnostic } from './diagnostics.ts';
import { ROWS } from './testing/vm-rows.ts';
import { parse } from './testing/vm-text.ts';
import { KEY_NAMES, VM_KEYS } from './vm-keys.ts';
import { printVmFile } from './xenvm-file.ts';

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
  assert.deepEqual(say('disk = /d:file:sda:w:disk:key-file=/k', 'xen'), []);
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
