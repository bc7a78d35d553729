import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VmConfig } from '../model/vm.ts';
import { plannedControllers } from './planned.ts';
import { vmId } from './test-world.ts';

const BASE: VmConfig = {
  ...{ uuid: vmId(1), name: 'work', driver: 'xen', memoryMiB: 64, vcpus: 1, disks: [] },
  ...{ startup: { do: 'started' }, onCrash: 'destroy', onHalt: 'destroy', onReboot: 'restart' },
  usbControllers: [
    { type: 'auto', version: 3, ports: 8 },
    { type: 'qusb', version: 1, ports: 4 },
  ],
};

/** Each as `version ports fastest`. */
const planned = (more: Partial<VmConfig>) =>
  plannedControllers({ ...BASE, ...more }).map(({ version, ports, speeds }) => `${version} ${ports} ${speeds.at(-1)}`);

test('a PV controller takes SuperSpeed devices in version 2, which is the newest of its kind', () => {
  assert.deepEqual(planned({ virtMode: 'pv' }), ['2 8 super', '1 4 full']);
  assert.deepEqual(planned({ kernel: '/vmlinux' }), ['2 8 super', '1 4 full']);
});

test('PV controllers share their port numbers, emulated ones do not', () => {
  const sharing = (virtMode: 'pv' | 'hvm') =>
    plannedControllers({ ...BASE, virtMode }).map(({ sharesPortNumbers }) => sharesPortNumbers ?? false);
  assert.deepEqual(
    [sharing('pv'), sharing('hvm')],
    [
      [true, true],
      [false, true],
    ],
  );
});

test('an HVM guest, and any guest of QEMU, has emulated ones', () => {
  assert.deepEqual(planned({}), ['3 8 super', '1 4 full']);
  const usbControllers = [{ type: 'auto', version: 2, ports: 6 }] as const;
  assert.deepEqual(planned({ usbControllers }), ['2 6 high']);
  assert.deepEqual(planned({ usbControllers, kernel: '/vmlinux' }), ['2 6 super']);
  assert.deepEqual(planned({ usbControllers, kernel: '/vmlinux', driver: 'qemu' }), ['2 6 high']);
  const slowest = (driver: 'xen' | 'qemu') => plannedControllers({ ...BASE, usbControllers, driver })[0]?.speeds[0];
  assert.deepEqual([slowest('xen'), slowest('qemu')], ['high', 'low'], 'an EHCI without companions');
});
