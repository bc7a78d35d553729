/** A host whose domains are not all ours to care for: beside us, another process minds the others. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { modelNotePath, portPath } from './nodes.ts';
import { refusal } from './testing/refusal.ts';
import { NEXT, SLOT, UsbRig, uuidOf } from './testing/usb-rig.ts';

const cares = (uuid: string | undefined) => uuid === uuidOf(5);
/** Longer than a revival of the rig takes to begin. */
const A_WHILE_MS = 400;

suite('PVUSB: domains that others care for', () => {
  test('their device models are neither noted nor revived; ours is, beside them', async (t) => {
    const rig = await UsbRig.make(t);
    const ours = await rig.domain(5);
    const theirs = await rig.domain(6);
    const usb = await rig.open(t, { cares });
    const { client } = rig.store;
    await rig.until('our note', () => client.exists(modelNotePath(5)));
    assert.equal(await client.exists(modelNotePath(6)), false);
    await rig.models[1]?.die();
    await client.write(portPath('qusb', 6, SLOT), '1-4'); // Something about it is new: it is looked at again.
    const { controllers, usbTrouble } = await usb.observe(theirs);
    assert.deepEqual([controllers, usbTrouble], [[], undefined]);
    await pass(A_WHILE_MS);
    assert.equal(rig.models.length, 2);
    assert.deepEqual(rig.xlWords, []);
    await rig.models[0]?.die();
    await rig.until('the revival of ours', async () => (await usb.observe(ours)).controllers[0]?.index === 1);
    assert.deepEqual(
      rig.models.map(({ domid }) => domid),
      [5, 6, 5],
    );
  });

  test('their ports are not emptied, what they leave is not cleared, and nothing of them is told', async (t) => {
    const rig = await UsbRig.make(t);
    const ours = await rig.domain(5);
    await rig.domain(6);
    const { client } = rig.store;
    await client.write('/local/domain/0/backend/qusb/9/0/port/1', '1-2'); // A domain 9 there was.
    const usb = await rig.open(t, { cares });
    for (const [busid, devnum] of [
      ['1-2', 6],
      ['1-3', 7],
      ['1-4', 8],
    ] as const)
      rig.plug(busid, devnum);
    await client.write(portPath('qusb', 6, SLOT), '1-3');
    await client.write(portPath('qusb', 5, SLOT), '1-4');
    await rig.until('the grips', () => rig.models.every(({ held }) => held.size === 1));
    await pass(50);
    rig.hints.length = 0;
    rig.unplug('1-3');
    rig.unplug('1-4');
    await rig.until('our empty port', async () => (await rig.port(5, 1)) === '');
    await pass(50);
    assert.equal(await rig.port(6, 1), '1-3');
    assert.equal(await rig.port(9, 1), '1-2');
    assert.ok(rig.hints.length > 0);
    assert.ok(rig.hints.every((hint) => hint.about !== 'everything' && hint.uuid === ours.uuid));
    assert.doesNotMatch(JSON.stringify(await usb.diagnose()), /vm6|domain 9/);
    rig.hints.length = 0;
    await rig.destroy({ domid: 6, uuid: uuidOf(6), name: 'vm6' });
    await pass(A_WHILE_MS);
    assert.deepEqual(rig.hints, []);
  });

  test('a device that one of them seems to have is theirs, and no question of it', async (t) => {
    const rig = await UsbRig.make(t);
    const ours = await rig.domain(5);
    await rig.domain(6);
    if (rig.models[1]) rig.models[1].isDeaf = true; // It does not have what its port names.
    const usb = await rig.open(t, { cares });
    const device = rig.plug('1-4', 7);
    await rig.store.client.write(portPath('qusb', 6, NEXT), '1-4');
    await rig.until('it is seen', () =>
      usb.attach(ours, SLOT, device).then(
        () => false,
        () => true,
      ),
    );
    const fault = await refusal('usb.attached', usb.attach(ours, SLOT, device));
    assert.equal(fault.details['vm'], 'vm6');
    assert.equal(await rig.port(6, 2), '1-4');
    assert.equal(await rig.port(5, 1), '');
  });
});
