import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { isFault } from '../../lib/fault.ts';
import type { UsbDevice } from '../../model/usb.ts';
import { LOST_GENERATION } from '../host-device.ts';
import { huskPath, modelNotePath, modelPidPath, notePath, parseNote, portPath } from './nodes.ts';
import { UsbRig, uuidOf } from './testing/usb-rig.ts';

const SLOT = { controller: 0, port: 1 };
const NEXT = { controller: 0, port: 2 };
const code = (expected: string) => (error: unknown) => isFault(error) && error.code === expected;

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
    await assert.rejects(usb.attach(domain, SLOT, other), code('usb.port_busy'));
    assert.equal(await rig.port(5, 1), '1-4');
  });

  test('a device in another living domain is refused, with its name', async (t) => {
    const rig = await UsbRig.make(t);
    const [one, two] = [await rig.domain(5), await rig.domain(6, { name: 'other' })];
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    await usb.attach(two, SLOT, device);
    await assert.rejects(usb.attach(one, SLOT, device), (error) => {
      assert.ok(isFault(error, 'usb.attached'));
      assert.equal(error.details['vm'], 'other');
      return true;
    });
    assert.equal(await rig.port(5, 1), '');
    await assert.rejects(usb.attach(two, NEXT, device), code('usb.attached'));
  });

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
      await assert.rejects(usb.attach(domain, slot, device), code('usb.port_not_found'));
    }
  });

  test('a software device is refused', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const { host: _, ...device } = rig.plug('1-4', 7);
    const tablet: UsbDevice = { ...device, backend: 'virtual', software: { kind: 'tablet' } };
    await assert.rejects(usb.attach(domain, SLOT, tablet), code('usb.software_unsupported'));
  });

  test('a device model that does not take the device: everything is as before', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    if (rig.models[0]) rig.models[0].isDeaf = true;
    await assert.rejects(usb.attach(domain, SLOT, device), code('usb.attach_failed'));
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
    await assert.rejects(attaching, code('usb.device_gone'));
    assert.equal(await rig.port(5, 1), '');
    await assert.rejects(usb.attach(domain, SLOT, device), code('usb.device_gone'));
  });

  test('another plug at the same place is not taken for the device', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    rig.unplug('1-4');
    rig.plug('1-4', 9);
    await assert.rejects(usb.attach(domain, SLOT, device), code('usb.device_gone'));
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
    await assert.rejects(usb.attach(domain, NEXT, device), code('vm.no_domain'));
    await assert.rejects(usb.observe(domain), code('vm.no_domain'));
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
    await assert.rejects(usb.attach(domain, NEXT, device), code('usb.attached'));
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
    await assert.rejects(usb.attach(domain, SLOT, rig.plug('1-4', 7)), code('usb.port_busy'));
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

  test('a software device goes in with its content, is told, and comes out with it', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm', isOurs: true });
    const usb = await rig.open(t);
    const stick = software('storage', { file: '/tmp/stick.img' });
    const attachment = await usb.attach(domain, NEXT, stick);
    const qmp = rig.models[0]?.qmp;
    assert.deepEqual([qmp?.objects.size, [...(qmp?.backings ?? [])]], [1, ['usb-0-2']]);
    assert.deepEqual((await usb.observe(domain)).attachments, [attachment]);
    await assert.rejects(usb.attach(domain, NEXT, rig.plug('1-4', 7)), code('usb.port_busy'));
    await usb.detach(domain, { ...attachment, generation: 'g2' });
    assert.equal(qmp?.objects.size, 1);
    await usb.detach(domain, attachment);
    assert.deepEqual([qmp?.objects.size, qmp?.backings.size], [0, 0]);
    await assert.rejects(usb.attach(domain, SLOT, software('storage')), code('usb.file_needed'));
  });

  test('a domain without a QMP socket of ours takes no software device', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm' });
    const usb = await rig.open(t);
    await assert.rejects(usb.attach(domain, SLOT, software('tablet')), code('usb.software_unsupported'));
  });

  test('the end of our QMP socket tells the end of the device model at once', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm', isOurs: true });
    const usb = await rig.open(t);
    await usb.observe(domain);
    rig.hints.length = 0;
    await rig.models[0]?.die();
    const began = performance.now();
    await rig.until('a hint', () => rig.hints.length > 0);
    assert.ok(performance.now() - began < 150, 'it was found by looking, which is done each 200 ms of the rig');
  });
});

suite('PVUSB: what others do', () => {
  test('an attachment made by hand is told as theirs, and can be detached', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    rig.hints.length = 0;
    await rig.store.client.write(portPath('qusb', 5, NEXT), '1-4');
    await rig.until('a hint', () => rig.hints.some((hint) => hint.about === 'usb' && hint.uuid === domain.uuid));
    await rig.until('the grip', () => rig.models[0]?.held.size === 1);
    const { attachments } = await usb.observe(domain);
    const { deviceId, generation } = device;
    const expected = { vm: domain.uuid, backend: 'dom0', busid: '1-4', deviceId, generation, ...NEXT, isForeign: true };
    assert.deepEqual(attachments, [expected]);
    await assert.rejects(usb.attach(domain, SLOT, device), code('usb.attached'));
    await usb.detach(domain, { ...expected });
    assert.equal(await rig.port(5, 2), '');
  });

  test('one that was detached by hand is told no more, and its note goes', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    await usb.attach(domain, SLOT, rig.plug('1-4', 7));
    await rig.store.client.write(portPath('qusb', 5, SLOT), '');
    await rig.until('the release', () => rig.models[0]?.held.size === 0);
    assert.deepEqual((await usb.observe(domain)).attachments, []);
    await rig.until('the note', async () => (await rig.store.client.read(notePath(5, SLOT))) === undefined);
  });

  test('a port that names a device which nobody has is lost after a while', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    if (rig.models[0]) rig.models[0].isDeaf = true;
    const usb = await rig.open(t);
    rig.plug('1-4', 7);
    await rig.store.client.write(portPath('qusb', 5, SLOT), '1-4');
    assert.equal((await usb.observe(domain)).attachments[0]?.isForeign, true);
    await rig.until('the loss', async () => {
      const [there] = (await usb.observe(domain)).attachments;
      return there?.generation === LOST_GENERATION && there.isForeign === undefined;
    });
    const [lost] = (await usb.observe(domain)).attachments;
    if (lost) await usb.detach(domain, lost);
    assert.equal(await rig.port(5, 1), '');
  });

  test('nonsense in ports is nothing, and gives way', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const nonsense = ['../../1-4', 'x'.repeat(2_000), '1-4 1-3', 'virtual:1-1'];
    for (const [i, text] of nonsense.entries()) {
      await rig.store.client.write(portPath('qusb', 5, { controller: 0, port: i + 1 }), text);
    }
    assert.deepEqual((await usb.observe(domain)).attachments, []);
    await usb.attach(domain, SLOT, rig.plug('1-4', 7));
    assert.equal(await rig.port(5, 1), '1-4');
    assert.match(JSON.stringify(await usb.diagnose()), /Port 0-2 names no device/);
  });

  test('what a guest writes in its own folder changes nothing', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const before = await usb.observe(domain);
    const own = '/local/domain/5/device/vusb/0';
    for (const [name, value] of [
      ['backend', '/local/domain/0/backend/qusb/6/0'],
      ['num-ports', '31'],
      ['port/1', '1-4'],
      ['state', 'x'.repeat(2_048)],
      ['backend-id', '../../..'],
    ]) {
      await rig.store.client.write(`${own}/${name}`, value ?? '');
    }
    assert.deepEqual(await usb.observe(domain), before);
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
    await assert.rejects(
      usb.attach(domain, { controller: 2, port: 1 }, rig.plug('1-4', 7)),
      code('usb.port_not_found'),
    );
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
});

suite('PVUSB: what goes wrong', () => {
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
    await assert.rejects(usb.attach(domain, other, two), code('usb.port_busy'));
    const { controllers, attachments } = await usb.observe(domain);
    assert.ok(controllers.every(({ sharesPortNumbers }) => sharesPortNumbers));
    for (const attachment of attachments) await usb.detach(domain, attachment);
    await usb.attach(domain, other, two);
  });

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

  test('a dead device model is seen at once, and revived; the old controller is left alone', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    await usb.attach(domain, SLOT, device);
    await rig.until('the note', () => rig.store.client.exists(modelNotePath(5)));
    await rig.models[0]?.die();
    const { controllers, attachments, usbTrouble } = await usb.observe(domain);
    assert.deepEqual([controllers, attachments], [[], []]);
    assert.match(usbTrouble ?? '', /device model/);
    await rig.until('the revival', async () => (await usb.observe(domain)).usbTrouble === undefined);
    const after = await usb.observe(domain);
    assert.deepEqual(
      after.controllers.map(({ index }) => index),
      [1],
    );
    assert.deepEqual(after.attachments, []);
    assert.equal(rig.probed, '1-4:1.0');
    assert.ok(await rig.store.client.exists(huskPath(5, 0)));
    assert.equal(await rig.port(5, 1), '');
    // Closing it would hang the guest.
    assert.equal(await rig.store.client.read('/local/domain/0/backend/qusb/5/0/state'), '4');
    assert.equal(await rig.store.client.read(modelPidPath(5)), String(rig.models[1]?.pid));
    await usb.attach(domain, { controller: 1, port: 1 }, device);
    assert.deepEqual(
      rig.xlWords.map(([word]) => word),
      ['usbctrl-attach'],
    );
  });

  /** What a daemon had done of a revival when it was killed. */
  const STAGES = ['nothing', 'marked', 'cleared', 'started', 'noted', 'given a controller'] as const;
  for (const [done, stage] of STAGES.entries()) {
    test(`a daemon that was killed in a revival is followed by one that goes on: ${stage}`, async (t) => {
      const rig = await UsbRig.make(t);
      const domain = await rig.domain(5);
      const first = await rig.open(t);
      await first.attach(domain, SLOT, rig.plug('1-4', 7));
      const { client } = rig.store;
      await rig.until('the note', () => client.exists(modelNotePath(5)));
      await first.close();
      const before = await client.read(modelPidPath(5));
      await rig.models[0]?.die();
      if (done >= 1) {
        await client.write(huskPath(5, 0), '1');
        await client.write(portPath('qusb', 5, SLOT), '');
        await client.rm(notePath(5, SLOT));
      }
      if (done >= 2) await client.rm('/local/domain/0/device-model/5/state');
      if (done >= 3) await rig.serve(5);
      if (done === 3) await client.write(modelPidPath(5), before ?? '');
      if (done >= 5) await rig.controller(5, 1, 'qusb', 31);
      const usb = await rig.open(t);
      await rig.until('the controller', async () => (await usb.observe(domain)).controllers[0]?.index === 1);
      assert.equal(rig.models.length, 2);
      assert.equal(await client.read(modelPidPath(5)), String(rig.models[1]?.pid));
      assert.equal(rig.xlWords.length, done >= 5 ? 0 : 1);
      await usb.attach(domain, { controller: 1, port: 1 }, rig.plug('1-3', 8));
    });
  }

  test('a domain that is destroyed while its device model is revived leaves nothing', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    let launches = 0;
    const usb = await rig.open(t, {
      launch: () => {
        launches++;
        return 999_999;
      },
      living: async () => {
        await rig.destroy(domain);
        return new Set([5]);
      },
    });
    await rig.until('the note', () => rig.store.client.exists(modelNotePath(5)));
    await rig.models[0]?.die();
    await usb.observe(domain).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(launches, 0);
    assert.deepEqual(await rig.store.client.directory('/local/domain/5'), undefined);
  });

  test('one that dies again and again is left alone in the end, and the reason is said', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    await rig.until('the note', () => rig.store.client.exists(modelNotePath(5)));
    for (let deaths = 1; deaths <= 6; deaths++) {
      await rig.models.at(-1)?.die();
      await rig.until('an end', async () => {
        const { usbTrouble, controllers } = await usb.observe(domain);
        return controllers.length > 0 || /within an hour/.test(usbTrouble ?? '');
      });
    }
    assert.match((await usb.observe(domain)).usbTrouble ?? '', /died 6 times within an hour/);
    assert.equal(rig.models.length, 6);
    const device = rig.plug('1-4', 7);
    await assert.rejects(usb.attach(domain, { controller: 1, port: 1 }, device), code('usb.port_not_found'));
  });

  test('an HVM guest’s dead device model is not revived; its devices are given back', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm' });
    const usb = await rig.open(t);
    rig.plug('1-4', 7);
    await rig.store.client.write(portPath('devicemodel', 5, SLOT), '1-4');
    rig.bind('1-4', undefined);
    await usb.observe(domain);
    await rig.models[0]?.die();
    await rig.until('the verdict', async () => /destroy/.test((await usb.observe(domain)).usbTrouble ?? ''));
    assert.equal(await rig.store.client.read(portPath('devicemodel', 5, SLOT)), '');
    assert.equal(rig.probed, '1-4:1.0');
    assert.equal(rig.models.length, 1);
  });

  test('a device model that ends with its domain is not revived', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    await usb.attach(domain, SLOT, device);
    // libxl removes this, ends the device model, and takes its time for the rest.
    await rig.store.client.rm('/local/domain/0/device-model/5');
    await rig.models[0]?.die();
    await usb.observe(domain);
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(rig.models.length, 1);
    await rig.destroy(domain);
    await usb.release(domain);
    assert.equal(rig.probed, '1-4:1.0');
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
