import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { VmUuid } from '../model/ids.ts';
import { DEATH_ACTIONS, DRIVER_NAMES, VIRT_MODES, type VmConfig } from '../model/vm.ts';
import { formatDiagnostic } from './diagnostics.ts';
import { pciAddress } from './pci.ts';
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
const disk = fc
  .record(
    {
      path,
      format: fc.constantFrom('raw' as const, 'qcow2' as const, 'vhd' as const),
      target: fc.constantFrom('hda', 'hdd', 'sda', 'sdz', 'xvda', 'xvdp'),
      isReadOnly: fc.boolean(),
      kind: fc.constant('disk' as const),
      encryption: fc.record(
        {
          cipher: fc.constantFrom('aes-xts-plain', 'aes-xts-plain64', 'serpent-cbc-essiv'),
          keyBits: fc.constantFrom(128, 192, 256, 384, 512),
          keyFile: path,
        },
        plain,
      ),
    },
    { noNullPrototype: true, requiredKeys: ['path', 'format', 'target', 'isReadOnly', 'kind'] },
  )
  .filter(({ encryption, format }) => encryption === undefined || format === 'raw');
const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':'));
const nic = fc.record(
  {
    id: fc.integer({ min: 0, max: 31 }),
    bridge: fc.stringMatching(/^[a-z][a-z0-9.-]{0,14}$/),
    mac,
    model: fc.constantFrom('e1000', 'rtl8139', 'virtio-net-pci'),
  },
  { noNullPrototype: true, requiredKeys: ['id'] },
);
const pci = fc.record(
  {
    id: fc.integer({ min: 0, max: 255 }),
    domain: fc.integer({ min: 0, max: 0xffff }),
    bus: fc.integer({ min: 0, max: 0xff }),
    device: fc.integer({ min: 0, max: 0x1f }),
    function: fc.integer({ min: 0, max: 7 }),
    isSeized: fc.boolean(),
    msiTranslate: fc.boolean(),
    powerManagement: fc.boolean(),
  },
  { noNullPrototype: true, requiredKeys: ['id', 'domain', 'bus', 'device', 'function', 'isSeized'] },
);
const display = fc.oneof(
  fc.constantFrom({ protocol: 'none' as const }, { protocol: 'sdl' as const }, { protocol: 'intel' as const }),
  fc.record(
    {
      protocol: fc.constant('vnc' as const),
      port: fc.integer({ min: 0, max: 65_535 }),
      usesFreePort: fc.boolean(),
      keymap: fc.constantFrom('de', 'en-us', 'fr-ch'),
    },
    { noNullPrototype: true, requiredKeys: ['protocol', 'usesFreePort'] },
  ),
);
const argument = fc.record(
  { name: fc.constantFrom('device', 'global', 'k', 'vga'), value: line.map((text) => text.trim()) },
  { noNullPrototype: true, requiredKeys: ['name'] },
);
const nonEmpty = <T>(values: fc.Arbitrary<T>) => fc.array(values, { minLength: 1, maxLength: 3 });
const unheeded = fc.record(
  {
    platform: nonEmpty(line),
    output: fc.tuple(line),
    'inject-sci': fc.constantFrom(['0'], ['1']),
    usb: fc.constantFrom(['true'], ['false']),
  },
  { noNullPrototype: true, requiredKeys: ['platform'] },
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
    nics: fc.uniqueArray(nic, { selector: ({ id }) => id, minLength: 1, maxLength: 4 }),
    pciDevices: fc.uniqueArray(pci, { selector: pciAddress, minLength: 1, maxLength: 4 }),
    display,
    extraArguments: nonEmpty(argument),
    notify: fc.oneof(
      fc.constant({ by: 'unix' as const, path: '/run/a listener.sock' }),
      fc.constantFrom({ by: 'other' as const, way: 'tcp,10.0.0.1:80' }, { by: 'other' as const, way: 'dbus' }),
    ),
    unheeded,
    isDebugged: fc.boolean(),
    acpi: fc.boolean(),
    apic: fc.boolean(),
    pae: fc.boolean(),
    nx: fc.boolean(),
    hap: fc.boolean(),
    viridian: fc.boolean(),
    nestedVirtualization: fc.boolean(),
    hpet: fc.boolean(),
    alignsTimers: fc.boolean(),
    timerMode: fc.integer({ min: 0, max: 3 }),
    timeOffsetSeconds: fc.integer({ min: -(2 ** 31) + 1, max: 2 ** 31 - 1 }),
    hasHostSmbios: fc.boolean(),
    hostSmbiosTypes: fc.uniqueArray(fc.integer({ min: 128, max: 255 }), { minLength: 1, maxLength: 4 }),
    hasHostAcpiTables: fc.boolean(),
    bootOrder: fc.constantFrom('d', 'dc', 'ncd', 'acdn'),
    pciMsiTranslate: fc.boolean(),
    pciPowerManagement: fc.boolean(),
    memoryMaxMiB: fc.integer({ min: 1, max: 16_777_216 }),
    coresPerSocket: fc.integer({ min: 1, max: 512 }),
    videoMemoryMiB: fc.integer({ min: 1, max: 512 }),
    cpuid: nonEmpty(fc.constantFrom('1:ecx=xxxx0xxx', '0x80000001:edx=1xxx,eax=x')),
  } satisfies { [F in keyof VmConfig]-?: unknown },
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
