import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { isFault } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import { memoryRig } from '../../wire/xenstore/testing/memory-rig.ts';
import { LOST_GENERATION } from '../host-device.ts';
import { formatNote, notePath, portPath, vmPath } from './nodes.ts';
import { refusal } from './testing/refusal.ts';
import { emptyPort, takePort } from './usb-ports.ts';

const UUID = '4f117023-e2cf-4caf-8e86-d388b04da895' as VmUuid;
const DOMAIN = { domid: 5, uuid: UUID, name: 'work' };
const SLOT = { controller: 0, port: 1 };
const DEVICE = { busid: '1-4', generation: 'boot.1.7', deviceId: '46f4:0001:S:080650' };
const PORT = portPath('qusb', 5, SLOT);
const NOTE = notePath(5, SLOT);

async function rigWith(t: Parameters<typeof memoryRig>[0], port: string | undefined, note?: string) {
  const rig = await memoryRig(t);
  await rig.client.write(vmPath(5), `/vm/${UUID}`);
  if (port !== undefined) await rig.client.write(PORT, port);
  if (note !== undefined) await rig.client.write(NOTE, note);
  const both = async () => [await rig.client.read(PORT), await rig.client.read(NOTE)];
  return { ...rig, both };
}

suite('takePort', () => {
  const take = (rig: { client: Parameters<typeof takePort>[0] }) =>
    takePort(rig.client, DOMAIN, 'qusb', SLOT, DEVICE, {});

  test('a free port gets the busid and the note', async (t) => {
    const rig = await rigWith(t, '');
    await take(rig);
    assert.deepEqual(await rig.both(), ['1-4', formatNote(DEVICE)]);
  });

  test('one that somebody else takes between our look and our write is theirs', async (t) => {
    const rig = await rigWith(t, '');
    let isTaken = false;
    rig.daemon.mischief = ({ name, transactionId }) => {
      if (name !== 'WRITE' || transactionId === 0 || isTaken) return undefined;
      isTaken = true;
      void rig.client.write(PORT, '1-9');
      return undefined;
    };
    // The other write may come before or after our commit; it is never lost, and never half ours.
    await take(rig).catch((error: unknown) => assert.ok(isFault(error, 'usb.port_busy'), String(error)));
    const [port] = await rig.both();
    assert.equal(port, '1-9');
  });

  test('what is in it stays', async (t) => {
    const rig = await rigWith(t, '1-9', 'x');
    await refusal('usb.port_busy', take(rig));
    assert.deepEqual(await rig.both(), ['1-9', 'x']);
  });

  test('no port, another domain', async (t) => {
    const rig = await rigWith(t, undefined);
    await refusal('usb.port_not_found', take(rig));
    await rig.client.write(vmPath(5), `/vm/${UUID.replace('4f', '5f')}`);
    await refusal('vm.no_domain', take(rig));
    assert.deepEqual(await rig.both(), [undefined, undefined]);
  });

  test('a storm of conflicts ends in a fault that says so', async (t) => {
    const rig = await rigWith(t, '');
    rig.daemon.mischief = ({ name }) => (name === 'TRANSACTION_END' ? { errno: 'EAGAIN' } : undefined);
    await refusal('hypervisor.failed', take(rig));
    rig.daemon.mischief = () => undefined;
    assert.deepEqual(await rig.both(), ['', undefined]);
  });

  test('what xenstored refuses is a fault', async (t) => {
    const rig = await rigWith(t, '');
    for (const errno of ['ENOSPC', 'EACCES', 'EIO', 'ENOMEM'] as const) {
      rig.daemon.mischief = ({ name }) => (name === 'WRITE' ? { errno } : undefined);
      const { message } = await refusal('hypervisor.failed', take(rig));
      assert.ok(message.includes(errno), message);
    }
    rig.daemon.mischief = () => undefined;
    assert.deepEqual(await rig.both(), ['', undefined]);
  });
});

suite('emptyPort', () => {
  const attachment = { ...SLOT, busid: '1-4', generation: DEVICE.generation };
  const empty = (rig: { client: Parameters<typeof emptyPort>[0] }, generation = DEVICE.generation) =>
    emptyPort(rig.client, DOMAIN, 'qusb', { ...attachment, generation });

  test('ours goes, with its note', async (t) => {
    const rig = await rigWith(t, '1-4', formatNote(DEVICE));
    assert.equal(await empty(rig), true);
    assert.deepEqual(await rig.both(), ['', undefined]);
  });

  test('a note that the reflex left goes', async (t) => {
    const rig = await rigWith(t, '', formatNote(DEVICE));
    assert.equal(await empty(rig), true);
    assert.deepEqual(await rig.both(), ['', undefined]);
  });

  test('another plug of it stays, unless any plug is meant', async (t) => {
    const rig = await rigWith(t, '1-4', formatNote(DEVICE));
    assert.equal(await empty(rig, 'boot.1.6'), false);
    assert.deepEqual(await rig.both(), ['1-4', formatNote(DEVICE)]);
    assert.equal(await empty(rig, LOST_GENERATION), true);
    assert.deepEqual(await rig.both(), ['', undefined]);
  });

  test('another device stays', async (t) => {
    const rig = await rigWith(t, '1-9', formatNote(DEVICE));
    assert.equal(await empty(rig), false);
    assert.equal(await empty(rig, LOST_GENERATION), false);
    assert.equal((await rig.both())[0], '1-9');
  });

  test('theirs, without a note, goes', async (t) => {
    const rig = await rigWith(t, '1-4');
    assert.equal(await empty(rig), true);
    assert.deepEqual(await rig.both(), ['', undefined]);
  });

  test('nothing there, another domain there', async (t) => {
    const rig = await rigWith(t, '');
    assert.equal(await empty(rig), false);
    await rig.client.write(PORT, '1-4');
    await rig.client.write(vmPath(5), `/vm/${UUID.replace('4f', '5f')}`);
    assert.equal(await empty(rig), false);
    assert.deepEqual(await rig.both(), ['1-4', undefined]);
  });
});
