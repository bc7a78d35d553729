import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { LOST_GENERATION } from '../host-device.ts';
import { portPath } from './nodes.ts';
import { SLOT, UsbRig } from './testing/usb-rig.ts';

suite('PVUSB: what is gone', () => {
  test('an unplugged device’s port is emptied at once; it is told until it is detached', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const devices = [rig.plug('1-4', 7), rig.plug('1-3', 8)];
    for (const [i, device] of devices.entries()) await usb.attach(domain, { controller: 0, port: i + 1 }, device);
    rig.unplug('1-4');
    await rig.until('the empty port', async () => (await rig.port(5, 1)) === '');
    assert.equal(await rig.port(5, 2), '1-3');
    const { attachments } = await usb.observe(domain);
    assert.deepEqual(
      attachments.map(({ busid, generation }) => [busid, generation]),
      [
        ['1-4', devices[0]?.generation],
        ['1-3', devices[1]?.generation],
      ],
    );
    const [gone] = attachments;
    if (gone) await usb.detach(domain, gone);
    assert.deepEqual(
      (await usb.observe(domain)).attachments.map(({ busid }) => busid),
      ['1-3'],
    );
    const again = rig.plug('1-4', 9);
    await usb.attach(domain, SLOT, again);
    assert.equal((await usb.observe(domain)).attachments[0]?.generation, again.generation);
  });

  test('so is that of a device that others attached', async (t) => {
    const rig = await UsbRig.make(t);
    await rig.domain(5);
    await rig.open(t);
    rig.plug('1-4', 7);
    await rig.store.client.write(portPath('qusb', 5, SLOT), '1-4');
    await rig.until('the grip', () => rig.models[0]?.held.size === 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    rig.unplug('1-4');
    await rig.until('the empty port', async () => (await rig.port(5, 1)) === '');
  });

  test('unplugged while nobody watched: told as gone, and detachable', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const first = await rig.open(t);
    const attachment = await first.attach(domain, SLOT, rig.plug('1-4', 7));
    await first.close();
    rig.unplug('1-4');
    const other = rig.plug('1-4', 9, { serial: 'other' });
    const usb = await rig.open(t);
    assert.deepEqual((await usb.observe(domain)).attachments, [attachment]);
    await usb.detach(domain, attachment);
    await usb.attach(domain, SLOT, other);
  });

  test('a device that the guest had and has no more is lost', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    await usb.attach(domain, SLOT, rig.plug('1-4', 7));
    await usb.observe(domain);
    rig.bind('1-4', undefined);
    await rig.until('the loss', async () => (await usb.observe(domain)).attachments[0]?.generation === LOST_GENERATION);
  });

  test('what a domain that is gone has left is cleared', async (t) => {
    const rig = await UsbRig.make(t);
    await rig.controller(9, 0, 'qusb');
    await rig.store.client.write(portPath('qusb', 9, SLOT), '1-4');
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    assert.equal(await rig.store.client.exists('/local/domain/0/backend/qusb/9'), false);
    assert.equal(await rig.store.client.exists('/libxl/9/device/vusb'), false);
    await rig.controller(9, 0, 'qusb');
    await rig.store.client.write(portPath('qusb', 9, SLOT), '1-4');
    await new Promise((resolve) => setTimeout(resolve, 50));
    await usb.attach(domain, SLOT, rig.plug('1-4', 7));
    assert.equal(await rig.store.client.exists('/local/domain/0/backend/qusb/9/0'), false);
  });

  test('a cut connection to xenstore: what happened meanwhile is seen', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    const isBack = new Promise<void>((resolve) => rig.store.client.onResync(resolve));
    rig.store.daemon.cut();
    await isBack;
    await usb.attach(domain, SLOT, device);
    assert.equal((await usb.observe(domain)).attachments.length, 1);
  });
});
