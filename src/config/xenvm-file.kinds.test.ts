import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DriverName } from '../model/vm.ts';
import { errorsOf, settingsOf, warningsOf } from './testing/vm-text.ts';

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
    assert.deepEqual(warningsOf(`${pv}\n`, driverOf(driver)), [
      `/etc/vm/work.vm:2:1: "virtmode" is ignored with ${driver}: its guests are always hvm.`,
    ]);
    assert.deepEqual(warningsOf('kernel = /k\nhvm = true', driverOf(driver)), []);
  }
  assert.deepEqual(warningsOf(pv, driverOf('xen')), []);
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
  assert.match(warningsOf(`${pv}\nusbctrl = type=pv`, driverOf('xen')).join(), /:3:11: .*usbback/);
});
