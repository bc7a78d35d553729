/**
 * Devices of a real host, from its sockets to a guest: a Linux guest with an xHCI controller is the host, Usher's bundle
 * runs on it, and a VM nested in it. One scene follows the other, for a host takes half a minute to set up.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeStick } from '../../lab/stick.ts';
import type { DeviceView, ExplainView, VmDetails } from '../../src/api/views.ts';
import { InnerUsher } from './inner-usher.ts';

/** Under two emulations whatever the guest runs for the first time takes some ten times as long as later. */
const FIRST_TIME_MS = 180_000;
const STICK_ID = '46f4:0001:S1:080650';

describe('Usher on a real host', () => {
  const content = randomBytes(16 * 1024);
  const checksum = createHash('sha256').update(content).digest('hex');
  let folder: string;
  let stick: string;
  let otherStick: string;
  let inner: InnerUsher;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'usher-host-test-'));
    [stick, otherStick] = [join(folder, 'stick'), join(folder, 'other-stick')];
    await makeStick(stick, { files: { 'STICK.BIN': content } });
    await makeStick(otherStick, { files: { 'OTHER.BIN': 'another' } });
    inner = await InnerUsher.bringUp();
  });
  after(async () => {
    await inner?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** How many lines the guest has said. */
  const now = async () => (await inner.said()).length;
  const plugStick = (port: number) => inner.rig.plug('storage', port, { serial: 'S1', file: stick });
  const plugOther = (port: number) => inner.rig.plug('storage', port, { serial: 'S2', file: otherStick });
  const devices = async () => {
    const views = await inner.ask<DeviceView[]>('usb', 'list');
    const plugged = views.filter(({ isAbsent }) => isAbsent !== true);
    return Object.fromEntries(plugged.map(({ device, state }) => [device, state]));
  };
  const attachments = async () => {
    const { attachments: list, handle } = await inner.ask<VmDetails>('vm', 'show', inner.vm);
    return { handle, list: list.map(({ device, slot }) => `${device} at ${slot}`).sort() };
  };
  const hearContent = async (since: number, timeoutMs?: number) => {
    await inner.hear('usb\\+ .* 46f4:0001 serial=S1 ', since, timeoutMs);
    const line = await inner.hear('file .* STICK.BIN ', since, timeoutMs);
    assert.match(line, new RegExp(`sha256=${checksum} bytes=${content.length}`));
  };

  it('a stick that is plugged goes into the VM that it is assigned to, with its content', async () => {
    await inner.usher('usb', 'assign', inner.vm, STICK_ID, '--auto');
    await plugStick(3);
    await hearContent(0, FIRST_TIME_MS);
  });

  it('pulled, it is gone for the guest and for us', async () => {
    const since = await now();
    await inner.rig.unplug(3);
    await inner.hear('usb- ', since);
    assert.deepEqual(await devices(), {});
  });

  it('in another port it comes back by itself; one of the same make in its old port stays out', async () => {
    const since = await now();
    await plugOther(3);
    await plugStick(5);
    await hearContent(since);
    assert.deepEqual(await devices(), { 'dom0:2-3': 'left', 'dom0:2-5': 'attached' });
    const { because } = await inner.ask<ExplainView>('usb', 'explain', 'dom0:2-5');
    assert.match(because.join(' '), /Assignment 1 \(46f4:0001:S1:080650\) gives it to VM inner.*by device id/);
    await inner.rig.unplug(3);
  });

  it('the last keyboard of the host stays with it; with another one there it goes by its port', async () => {
    const since = await now();
    await inner.usher('usb', 'assign', inner.vm, 'dom0:1-2', '--auto');
    await inner.rig.plug('keyboard', 2, { serial: 'K1' });
    await inner.rig.waitForDevice('1-2');
    const { state, because } = await inner.ask<ExplainView>('usb', 'explain', 'dom0:1-2');
    assert.equal(state, 'left');
    assert.match(because.join(' '), /It is kept back: it is the last USB keyboard of the host\. Assignment 2/);
    await assert.rejects(inner.usher('usb', 'attach', inner.vm, 'dom0:1-2', '--force'), /last USB keyboard/);
    await inner.rig.plug('keyboard', 4, { serial: 'K2' });
    await inner.hear('usb\\+ .* 0627:0001 serial=K1 ', since, FIRST_TIME_MS);
    const other = await inner.ask<ExplainView>('usb', 'explain', 'dom0:1-4');
    assert.equal(other.state, 'left');
    await assert.rejects(inner.usher('usb', 'attach', inner.vm, 'dom0:1-4', '--force'), /last USB keyboard/);
  });

  it('a stick that the host has mounted is not taken, and says why; unmounted, it goes', async () => {
    const since = await now();
    await inner.rig.unplug(5);
    await inner.hear('usb- ', since);
    await inner.usher('usb', 'unassign', '1');
    await plugStick(5);
    await inner.rig.check(
      'until [ -b /dev/sda1 ] || [ -b /dev/sda ]; do sleep 0.1; done; mkdir -p /mnt/stick; mount -o ro /dev/sda1 /mnt/stick || mount -o ro /dev/sda /mnt/stick',
    );
    await inner.usher('usb', 'assign', inner.vm, STICK_ID, '--auto');
    const { state, because } = await inner.ask<ExplainView>('usb', 'explain', 'dom0:2-5');
    assert.equal(state, 'left');
    assert.match(because.join(' '), /is mounted at \/mnt\/stick/);
    await assert.rejects(inner.usher('usb', 'attach', inner.vm, 'dom0:2-5'), /is mounted at .*--force/s);
    await inner.rig.check('umount /mnt/stick');
    await inner.usher('usb', 'reconcile');
    await hearContent(since);
  });

  it('a daemon that is killed disturbs nothing: the next adopts what is attached', async () => {
    const changes = async () => (await inner.said()).filter((line) => /usb[+-] /.test(line));
    const [said, before] = [await changes(), await attachments()];
    assert.deepEqual(before.list, ['dom0:1-2 at 0-2', 'dom0:2-5 at 0-1']);
    await inner.killDaemon();
    await inner.startDaemon();
    assert.deepEqual(await attachments(), before);
    assert.deepEqual(await changes(), said, 'for the guest nothing has come or gone');
  });

  it('what is pulled, moved, and put in the place of another while no daemon runs is put right at the start', async () => {
    const since = await now();
    await inner.killDaemon();
    await inner.rig.unplug(2);
    await inner.rig.unplug(5);
    await plugOther(5);
    await plugStick(6);
    await Promise.all(['2-5', '2-6'].map((busid) => inner.rig.waitForDevice(busid)));
    await inner.startDaemon();
    await hearContent(since);
    assert.deepEqual(await devices(), { 'dom0:1-4': 'left', 'dom0:2-5': 'left', 'dom0:2-6': 'attached' });
    assert.equal((await inner.said()).slice(since).filter((line) => line.includes(' usb- ')).length, 2);
  });

  it('it works without udev too, and the guest has never seen the other stick', async () => {
    await inner.rig.check('kill $(pidof systemd-udevd); rm -rf /run/udev');
    const since = await now();
    await inner.rig.unplug(6);
    await plugStick(7);
    await hearContent(since);
    assert.deepEqual(
      (await inner.said()).filter((line) => line.includes('serial=S2')),
      [],
    );
  });
});
