import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { UsbDevice } from '../../model/usb.ts';
import { notePath, portPath } from './nodes.ts';
import { refusal } from './testing/refusal.ts';
import { NEXT, SLOT, UsbRig } from './testing/usb-rig.ts';

suite('emulated USB', () => {
  const software = (kind: 'tablet' | 'storage', more: object = {}): UsbDevice => ({
    ...{ backend: 'virtual', busid: '1-1', deviceId: '0627:0001:S:030000', vendorId: '0627', productId: '0001' },
    ...{ speed: 'high', interfaces: ['030000'], generation: 'g1', software: { kind, ...more } },
  });

  test('a device of the host goes in by QMP, with the node and the id of libxl, and comes out', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm', isOurs: true });
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    const attachment = await usb.attach(domain, SLOT, device);
    const [model] = rig.models;
    assert.deepEqual([...(model?.qmp?.objects.keys() ?? [])], ['xenusb-1-7']);
    assert.equal(await rig.store.client.read(portPath('devicemodel', 5, SLOT)), '1-4');
    assert.deepEqual((await usb.observe(domain)).attachments, [attachment]);
    await refusal('usb.attached', usb.attach(domain, NEXT, device));
    await usb.detach(domain, attachment);
    assert.equal(model?.qmp?.objects.size, 0);
    assert.equal(await rig.store.client.read(portPath('devicemodel', 5, SLOT)), '');
    assert.deepEqual((await usb.observe(domain)).attachments, []);
  });

  test('what QEMU refuses leaves nothing', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm', isOurs: true });
    const usb = await rig.open(t);
    rig.models[0]?.qmp?.objects.set('theirs', { driver: 'usb-tablet', bus: 'xenusb-0.0', port: '1' });
    await refusal('usb.port_busy', usb.attach(domain, SLOT, rig.plug('1-4', 7)));
    assert.equal(await rig.store.client.read(portPath('devicemodel', 5, SLOT)), '');
    assert.equal(await rig.store.client.read(notePath(5, SLOT)), undefined);
    assert.deepEqual([...(rig.models[0]?.qmp?.objects.keys() ?? [])], ['theirs']);
  });

  test('an unplugged device is told, and what QEMU keeps of it goes with the detach', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm', isOurs: true });
    const usb = await rig.open(t);
    await usb.attach(domain, SLOT, rig.plug('1-4', 7));
    rig.unplug('1-4');
    const [gone] = (await usb.observe(domain)).attachments;
    assert.equal(gone?.generation, 'boot.1.7');
    if (gone) await usb.detach(domain, gone);
    assert.equal(rig.models[0]?.qmp?.objects.size, 0);
    assert.equal(await rig.store.client.read(portPath('devicemodel', 5, SLOT)), '');
  });

  test('a detach of what others have replaced leaves their device alone', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm', isOurs: true });
    const usb = await rig.open(t);
    const attachment = await usb.attach(domain, SLOT, rig.plug('1-4', 7));
    rig.plug('1-3', 9);
    const objects = rig.models[0]?.qmp?.objects;
    objects?.delete('xenusb-1-7');
    objects?.set('xenusb-1-9', { driver: 'usb-host', bus: 'xenusb-0.0', port: '1', hostdevice: rig.nodeOf('1-3', 9) });
    await rig.store.client.write(portPath('devicemodel', 5, SLOT), '1-3');
    await usb.detach(domain, attachment);
    assert.deepEqual([...(objects?.keys() ?? [])], ['xenusb-1-9']);
    assert.equal(await rig.store.client.read(portPath('devicemodel', 5, SLOT)), '1-3');
  });

  test('a software device goes in with its content, is told, and comes out with it', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm', isOurs: true });
    const usb = await rig.open(t);
    const stick = software('storage', { file: '/tmp/stick.img' });
    const hints = rig.hints.length;
    const attachment = await usb.attach(domain, NEXT, stick);
    // What xenstore tells of the new domain may be told only now, too.
    assert.ok(rig.hints.length > hints);
    for (const hint of rig.hints) assert.deepEqual(hint, { about: 'usb', uuid: domain.uuid });
    const qmp = rig.models[0]?.qmp;
    assert.deepEqual([qmp?.objects.size, [...(qmp?.backings ?? [])]], [1, ['usb-0-2']]);
    assert.deepEqual((await usb.observe(domain)).attachments, [attachment]);
    await refusal('usb.port_busy', usb.attach(domain, NEXT, rig.plug('1-4', 7)));
    await usb.detach(domain, { ...attachment, generation: 'g2' });
    assert.equal(qmp?.objects.size, 1);
    await usb.detach(domain, attachment);
    assert.deepEqual([qmp?.objects.size, qmp?.backings.size], [0, 0]);
    await refusal('usb.file_needed', usb.attach(domain, SLOT, software('storage')));
  });

  test('a domain without a QMP socket of ours takes no software device', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm' });
    const usb = await rig.open(t);
    await refusal('usb.software_unsupported', usb.attach(domain, SLOT, software('tablet')));
  });
});
