import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { LOST_GENERATION } from '../host-device.ts';
import { notePath, portPath } from './nodes.ts';
import { refusal } from './testing/refusal.ts';
import { NEXT, SLOT, UsbRig } from './testing/usb-rig.ts';

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
    await refusal('usb.attached', usb.attach(domain, SLOT, device));
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
});
