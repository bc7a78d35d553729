import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { UsbDevice } from '../../model/usb.ts';
import { notePath, parseNote, portPath } from './nodes.ts';
import { refusal } from './testing/refusal.ts';
import { NEXT, SLOT, UsbRig, uuidOf } from './testing/usb-rig.ts';

suite('PVUSB: attach and detach', () => {
  test('a device goes in, is told, and comes out; dom0 has it again', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const device = rig.plug('1-4', 7, { serial: 'S1' });
    const usb = await rig.open(t);
    const attachment = await usb.attach(domain, SLOT, device);
    assert.equal(await rig.port(5, 1), '1-4');
    assert.deepEqual(parseNote(await rig.store.client.read(notePath(5, SLOT))), {
      busid: '1-4',
      generation: device.generation,
      deviceId: device.deviceId,
    });
    const observed = await usb.observe(domain);
    assert.deepEqual(observed.attachments, [attachment]);
    assert.deepEqual(
      observed.controllers.map(({ index, version, ports }) => [index, version, ports]),
      [[0, 2, 4]],
    );
    assert.equal(observed.canAddController, true);
    await usb.detach(domain, attachment);
    assert.equal(await rig.port(5, 1), '');
    assert.equal(await rig.store.client.read(notePath(5, SLOT)), undefined);
    assert.deepEqual((await usb.observe(domain)).attachments, []);
    assert.equal(rig.models[0]?.held.size, 0);
  });

  test('an attach costs six requests to xenstore: three of a script that looks, and three for the transaction', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    await usb.observe(domain);
    const { client, daemon } = rig.store;
    await rig.until('quiet', async () => {
      const before = client.requestCount;
      await new Promise((resolve) => setTimeout(resolve, 50));
      return client.requestCount === before;
    });
    const asked: string[] = [];
    daemon.mischief = ({ name, fields: [path] }) => {
      if (asked.at(-1) !== 'TRANSACTION_END')
        asked.push(name === 'WRITE' || name === 'READ' ? `${name} ${path}` : name);
      return undefined;
    };
    await usb.attach(domain, SLOT, device);
    const [vm, port] = ['/local/domain/5/vm', portPath('qusb', 5, SLOT)];
    const [reads, writes] = [
      [`READ ${vm}`, `READ ${port}`],
      [`WRITE ${port}`, `WRITE ${notePath(5, SLOT)}`],
    ];
    assert.deepEqual(asked, ['TRANSACTION_START', ...reads, ...writes, 'TRANSACTION_END']);
  });

  test('interfaces that the device model leaves without a driver are probed', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const device = rig.plug('1-4', 7);
    const usb = await rig.open(t);
    const attachment = await usb.attach(domain, SLOT, device);
    if (rig.models[0]) rig.models[0].isCareless = true;
    await usb.detach(domain, attachment);
    assert.equal(rig.probed, '1-4:1.0');
  });

  test('a taken port is refused, and keeps what it has', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    await usb.attach(domain, SLOT, rig.plug('1-4', 7));
    const other = rig.plug('1-3', 8);
    await refusal('usb.port_busy', usb.attach(domain, SLOT, other));
    assert.equal(await rig.port(5, 1), '1-4');
  });

  test('a device in another living domain is refused, with its name', async (t) => {
    const rig = await UsbRig.make(t);
    const [one, two] = [await rig.domain(5), await rig.domain(6, { name: 'other' })];
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    await usb.attach(two, SLOT, device);
    const fault = await refusal('usb.attached', usb.attach(one, SLOT, device));
    assert.equal(fault.details['vm'], 'other');
    assert.equal(await rig.port(5, 1), '');
    await refusal('usb.attached', usb.attach(two, NEXT, device));
  });

  test('a software device is refused', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const { host: _, ...device } = rig.plug('1-4', 7);
    const tablet: UsbDevice = { ...device, backend: 'virtual', software: { kind: 'tablet' } };
    await refusal('usb.software_unsupported', usb.attach(domain, SLOT, tablet));
  });

  test('a device model that does not take the device: everything is as before', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    if (rig.models[0]) rig.models[0].isDeaf = true;
    await refusal('usb.attach_failed', usb.attach(domain, SLOT, device));
    assert.equal(await rig.port(5, 1), '');
    assert.equal(await rig.store.client.read(notePath(5, SLOT)), undefined);
  });

  test('a device that is unplugged while it is being attached', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    if (rig.models[0]) rig.models[0].isDeaf = true;
    const attaching = usb.attach(domain, SLOT, device);
    await rig.until('the node', async () => (await rig.port(5, 1)) === '1-4');
    rig.unplug('1-4');
    await refusal('usb.device_gone', attaching);
    assert.equal(await rig.port(5, 1), '');
    await refusal('usb.device_gone', usb.attach(domain, SLOT, device));
  });

  test('another plug at the same place is not taken for the device', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    rig.unplug('1-4');
    rig.plug('1-4', 9);
    await refusal('usb.device_gone', usb.attach(domain, SLOT, device));
    assert.equal(await rig.port(5, 1), '');
  });

  test('a domid that is another domain by now', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    const attachment = await usb.attach(domain, SLOT, device);
    await rig.destroy(domain);
    const next = await rig.domain(5, { uuid: uuidOf(55), name: 'next' });
    await usb.attach(next, SLOT, device);
    await refusal('vm.no_domain', usb.attach(domain, NEXT, device));
    await refusal('vm.no_domain', usb.observe(domain));
    await usb.detach(domain, attachment);
    assert.equal(await rig.port(5, 1), '1-4');
  });

  test('detaching another plug, or nothing, changes nothing', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const attachment = await usb.attach(domain, SLOT, rig.plug('1-4', 7));
    await usb.detach(domain, { ...attachment, generation: 'boot.1.6' });
    await usb.detach(domain, { ...attachment, port: 2 });
    await usb.detach(domain, { ...attachment, controller: 7 });
    assert.equal(await rig.port(5, 1), '1-4');
  });
});
