import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  controllerArgs,
  type PlacedController,
  parseControllerArgs,
  placeControllers,
} from './emulated-controllers.ts';

/** A section of a device model's state, as QEMU begins one. */
function section(name: string, content: Buffer = Buffer.from('state')): Buffer {
  const head = Buffer.from([4, 0, 0, 0, 9, name.length]);
  return Buffer.concat([head, Buffer.from(name), Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]), content]);
}

const XHCI = { index: 0, version: 3, ports: 8 } as const;
const EHCI = { index: 1, version: 2, ports: 6 } as const;
const SECOND_XHCI = { index: 2, version: 3, ports: 15 } as const;

test('words for controllers are read back as they are, from a cfg and from JSON', () => {
  const placed: PlacedController[] = [
    { ...XHCI, pciSlot: 3 },
    { ...EHCI, pciSlot: 4 },
    { index: 7, version: 1, ports: 2, pciSlot: 31 },
  ];
  const words = controllerArgs(placed);
  assert.deepEqual(words.slice(0, 2), ['-device', 'nec-usb-xhci,id=xenusb-0,p2=8,p3=8,addr=0x3']);
  for (const text of [
    JSON.stringify(words),
    `device_model_args = [ ${words.map((word) => `"${word}"`).join(', ')} ]`,
  ]) {
    assert.deepEqual(parseControllerArgs(text), placed);
  }
});

test('what is not our words is none', () => {
  for (const text of [
    '',
    '"nec-usb-xhci,id=xenusb-0,p2=8,p3=8"',
    '"nec-usb-xhci,id=xenusb-0,p2=8,p3=9,addr=0x3"',
    '"nec-usb-xhci,id=xenusb-0,p2=16,p3=16,addr=0x3"',
    '"nec-usb-xhci,id=xenusb-0,p2=8,p3=8,addr=0x20"',
    '"nec-usb-xhci,id=xenusb-256,p2=8,p3=8,addr=0x3"',
    '"usb-ehci,id=mine,addr=0x3"',
    'usb-ehci,id=xenusb-0,addr=0x3',
  ]) {
    assert.deepEqual(parseControllerArgs(text), [], text);
  }
  fc.assert(fc.property(fc.string(), (text) => void parseControllerArgs(text)));
});

test('controllers are found in the state of a device model by their kind and order', () => {
  const state = Buffer.concat([
    Buffer.from('QEVM\0\0\0\x03'),
    section('0000:00:01.1/ide'),
    section('0000:00:06.0/xhci'),
    section('0000:00:05.0/ehci'),
    section('0000:00:04.0/xhci'),
    section('0000:00:04.0/usb1'),
  ]);
  assert.deepEqual(placeControllers([SECOND_XHCI, XHCI, EHCI], [], state), [
    { ...XHCI, pciSlot: 4 },
    { ...EHCI, pciSlot: 5 },
    { ...SECOND_XHCI, pciSlot: 6 },
  ]);
  const known = { ...XHCI, pciSlot: 6 };
  assert.deepEqual(placeControllers([SECOND_XHCI, EHCI], [known], state), [
    known,
    { ...EHCI, pciSlot: 5 },
    { ...SECOND_XHCI, pciSlot: 4 },
  ]);
});

test('a state with fewer or more of them than the guest had tells nothing', () => {
  const one = section('0000:00:04.0/xhci');
  const forged = section('0000:00:02.0/platform', section('0000:00:09.0/xhci'));
  assert.equal(placeControllers([XHCI], [], Buffer.alloc(0)), undefined);
  assert.equal(placeControllers([XHCI, SECOND_XHCI], [], one), undefined);
  assert.equal(placeControllers([XHCI], [], Buffer.concat([one, forged])), undefined);
  assert.equal(placeControllers([EHCI], [], one), undefined);
  // Bytes like a name alone are no section.
  assert.deepEqual(placeControllers([XHCI], [], Buffer.concat([one, Buffer.from('0000:00:05.0/xhci')])), [
    { ...XHCI, pciSlot: 4 },
  ]);
});
