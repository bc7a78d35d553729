import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { newUuid } from '../../model/ids.ts';
import {
  backingName,
  controllerId,
  deviceQomId,
  parseBackingName,
  parseControllerId,
  parseDeviceQomId,
} from './ids.ts';

const vm = newUuid();
const slot = fc.record({ controller: fc.nat(99), port: fc.integer({ min: 1, max: 15 }) });
const word = fc.string({ unit: 'binary', maxLength: 126 });

test('a device id is read back as it was written, whatever the device says of itself', () => {
  const device = fc.record({ backend: word, busid: word, generation: word, deviceId: word });
  fc.assert(
    fc.property(slot, device, (at, words) => {
      const id = deviceQomId(at, words);
      assert.match(id, /^[A-Za-z][A-Za-z0-9._-]*$/);
      assert.deepEqual(parseDeviceQomId(vm, id), { vm, ...at, ...words });
    }),
  );
});

test('different devices never share an id', () => {
  const device = fc.record({ backend: word, busid: word, generation: word, deviceId: word });
  fc.assert(
    fc.property(device, device, (one, other) => {
      const at = { controller: 0, port: 1 };
      const isSame = JSON.stringify(one) === JSON.stringify(other);
      assert.equal(deviceQomId(at, one) === deviceQomId(at, other), isSame);
    }),
  );
});

test('an id reads as one expects', () => {
  const device = { backend: 'dom0', busid: '3-1.4', generation: 'b.3.7', deviceId: '0951:1666:S%201:080650' };
  const id = 'usb.0.2.dom0.3-1_2e4.b_2e3_2e7.0951_3a1666_3aS_25201_3a080650';
  assert.equal(deviceQomId({ controller: 0, port: 2 }, device), id);
});

test('ids that are not ours are left alone', () => {
  const foreign = ['usb', 'usb.0.1', 'usb.a.1.b.c.d.e', 'usb.0.1.b.c.d', 'usb.0.1.b.c.d_zz.e', 'usb.0.1.b.c.d.e.f'];
  for (const id of [...foreign, 'disk-0', '', 'usbctrl-0-v3-p8']) assert.equal(parseDeviceQomId(vm, id), undefined);
});

test('ids of controllers and names of backings are read back', () => {
  const controller = { index: 12, version: 3, ports: 15 } as const;
  assert.deepEqual(parseControllerId(controllerId(controller)), controller);
  for (const id of ['usbctrl-0-v3', 'usbctrl-0-v4-p2', 'usbctrl-0-v2-p6-uhci1']) {
    assert.equal(parseControllerId(id), undefined);
  }
  assert.deepEqual(parseBackingName(backingName({ controller: 3, port: 12 })), { controller: 3, port: 12 });
  assert.ok(backingName({ controller: 999, port: 999 }).length <= 31);
  assert.equal(parseBackingName('disk-0'), undefined);
});
