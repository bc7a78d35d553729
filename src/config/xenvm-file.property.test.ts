import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { VmUuid } from '../model/ids.ts';
import { DEATH_ACTIONS, DRIVER_NAMES, VIRT_MODES, type VmConfig } from '../model/vm.ts';
import { formatDiagnostic } from './diagnostics.ts';
import { parse } from './testing/vm-text.ts';
import { completeConfig, printVmFile } from './xenvm-file.ts';

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
      const { settings, errors } = parse(printVmFile(wanted), { isStrict: true });
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
