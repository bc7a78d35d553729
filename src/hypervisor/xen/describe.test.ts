import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseVmFile, printVmFile } from '../../config/xenvm-file.ts';
import type { VmUuid } from '../../model/ids.ts';
import { describeFromList } from './describe.ts';

const RECORDED = readFileSync(join(import.meta.dirname, '../../../test/fixtures/xen/list-l.json'), 'utf8');
const PV = '34da6edc-e545-11f1-a67c-192d87b03019' as VmUuid;
const HVM = '6f1c2d3e-0000-4000-8000-000000000001' as VmUuid;

/** A list with one domain, as libxl would print it. */
function listOf(config: object): string {
  return JSON.stringify([{ domid: 3, config }]);
}

function hvm(more: object, build: object = {}): string {
  return listOf({
    c_info: { type: 'hvm', name: 'win', uuid: HVM },
    b_info: { max_vcpus: 2, max_memkb: 524_289, 'type.hvm': { boot: 'c' }, ...build },
    ...more,
  });
}

test('a PV domain, as Xen 4.17 printed it', () => {
  assert.deepEqual(describeFromList(RECORDED, PV), {
    settings: {
      virtMode: 'pv',
      kernel: '/lab/guest/vmlinux',
      initrd: '/lab/guest/initrd.gz',
      cmdline: 'console=hvc0 root=/dev/ram0 mitigations=off panic=0 quiet',
      memoryMiB: 192,
      vcpus: 1,
      disks: [],
      usbControllers: [{ type: 'qusb', version: 2, ports: 8 }],
    },
    omits: [],
  });
  assert.equal(describeFromList(RECORDED, HVM), undefined);
});

test('disks and controllers, and what a config has no key for', () => {
  const disks = [
    { pdev_path: '/dev/vg/win', vdev: 'hda', format: 'raw', readwrite: 1 },
    { pdev_path: '/iso/a:b.iso', vdev: 'hdc', format: 'raw', is_cdrom: 1 },
    { pdev_path: '/img', vdev: 'sda', format: 'qed', readwrite: 1 },
    { vdev: 'hdd', format: 'empty', is_cdrom: 1 },
  ];
  const usbctrls = [
    { type: 'devicemodel', devid: 0, version: 3, ports: 8 },
    { type: 'devicemodel', devid: 1, version: 2, ports: 7 },
  ];
  const described = describeFromList(hvm({ disks, usbctrls, nics: [{}, {}], vfbs: [{}] }), HVM);
  assert.deepEqual(described?.settings, {
    virtMode: 'hvm',
    memoryMiB: 513,
    vcpus: 2,
    disks: [
      { path: '/dev/vg/win', format: 'raw', target: 'hda', isReadOnly: false, kind: 'disk' },
      { path: '/iso/a:b.iso', format: 'raw', target: 'hdc', isReadOnly: true, kind: 'cdrom' },
    ],
    usbControllers: [{ type: 'devicemodel', version: 3, ports: 8 }],
  });
  assert.deepEqual(described?.omits, [
    ...['the disk sda', 'the disk hdd', 'a USB controller of the type devicemodel'],
    ...['2 network interfaces', 'a framebuffer'],
  ]);
});

test('what is no such list says nothing', () => {
  for (const text of ['', '[', '{}', 'null', '[null]', '[{"config":7}]', RECORDED.slice(0, -20)]) {
    assert.equal(describeFromList(text, PV), undefined, text);
  }
});

test('property: whatever stands in the list, a config can be written of it', () => {
  const oneLine = fc.string({ maxLength: 30 }).filter((text) => !/\p{Cc}/u.test(text) && text.trim() === text);
  const value = fc.oneof(oneLine, fc.integer(), fc.constant(null), fc.constant(true), fc.constant([]));
  const row = (keys: readonly string[]) => fc.record(Object.fromEntries(keys.map((key) => [key, value])));
  const config = fc.record({
    disks: fc.array(row(['pdev_path', 'vdev', 'format', 'readwrite', 'is_cdrom']), { maxLength: 2 }),
    usbctrls: fc.oneof(value, fc.array(row(['type', 'version', 'ports']), { maxLength: 2 })),
    nics: value,
  });
  fc.assert(
    fc.property(config, row(['cmdline', 'max_vcpus', 'max_memkb']), (more, build) => {
      const { settings } = describeFromList(hvm(more, build), HVM) ?? {};
      assert.ok(settings);
      const { memoryMiB = 64, vcpus = 1, ...rest } = settings;
      const sane = { ...rest, memoryMiB: Math.min(memoryMiB, 1024), vcpus: Math.min(vcpus, 8) };
      assert.deepEqual(parseVmFile(printVmFile(sane), '/a.vm').errors, []);
    }),
  );
});
