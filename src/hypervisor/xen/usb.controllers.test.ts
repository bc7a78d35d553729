import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { refusal } from './testing/refusal.ts';
import { SLOT, UsbRig } from './testing/usb-rig.ts';

suite('virtual controllers and their ports', () => {
  test('ports and controllers that are not there', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    for (const slot of [
      { controller: 1, port: 1 },
      { controller: 0, port: 0 },
      { controller: 0, port: 5 },
    ]) {
      await refusal('usb.port_not_found', usb.attach(domain, slot, device));
    }
  });

  test('controllers that are incomplete, closed or not QEMU’s are told, and not used', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const { client } = rig.store;
    for (const index of [1, 2, 3]) await rig.controller(5, index, 'qusb');
    await client.rm('/libxl/5/device/vusb/1/num-ports');
    await client.write('/local/domain/0/backend/qusb/5/2/state', '6');
    await client.write('/libxl/5/device/vusb/3/type', 'pv');
    const usb = await rig.open(t);
    assert.deepEqual(
      (await usb.observe(domain)).controllers.map(({ index }) => index),
      [0],
    );
    const said = JSON.stringify(await usb.diagnose());
    for (const pattern of [/controller 1 are incomplete/, /Controller 2 .*state 6/, /Controller 3 .*usbback/])
      assert.match(said, pattern);
    await refusal('usb.port_not_found', usb.attach(domain, { controller: 2, port: 1 }, rig.plug('1-4', 7)));
  });

  test('one more controller has the next number', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const { index, version, ports, speeds } = await usb.addController(domain);
    assert.deepEqual([index, version, ports, speeds.includes('super')], [1, 2, 31, true]);
    assert.deepEqual(rig.xlWords, [['usbctrl-attach', '5', 'type=qusb', 'version=2', 'ports=31']]);
    assert.equal((await usb.observe(domain)).canAddController, undefined, 'another one would have no port of use');
    await usb.attach(domain, { controller: 1, port: 3 }, rig.plug('1-4', 7));
    assert.equal(await rig.port(5, 3, 1), '1-4');
  });

  test('a port number is used on one controller only: on two of them it kills the device model', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    await rig.controller(5, 1, 'qusb');
    const usb = await rig.open(t);
    const [one, two] = [rig.plug('1-4', 7), rig.plug('1-3', 8)];
    const other = { controller: 1, port: 1 };
    const both = await Promise.allSettled([usb.attach(domain, SLOT, one), usb.attach(domain, other, two)]);
    assert.deepEqual(
      both.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    await refusal('usb.port_busy', usb.attach(domain, other, two));
    const { controllers, attachments } = await usb.observe(domain);
    assert.ok(controllers.every(({ sharesPortNumbers }) => sharesPortNumbers));
    for (const attachment of attachments) await usb.detach(domain, attachment);
    await usb.attach(domain, other, two);
  });
});
