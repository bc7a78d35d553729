/**
 * The device model of a PV guest that dies, on a real Xen host. With plain `xl` it aborts when the first of three devices
 * is pulled, and xl goes on to call them attached. With Usher it lives; when it is killed all the same, USB comes back.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { XenHost } from '../../lab/xen-host.ts';
import type { VmDetails } from '../../src/api/views.ts';
import { DIST, Dom0Usher } from './dom0-usher.ts';
import { PV_GUEST, pvCfg } from './guests.ts';

/** In the order in which they are plugged and attached; the first is the one that is pulled. */
const DEVICES = [
  { kind: 'tablet', serial: 'T1', port: '1' },
  { kind: 'mouse', serial: 'M1', port: '2' },
  { kind: 'keyboard', serial: 'K1', port: '3' },
] as const;
/** QEMU looks for devices that are gone each two seconds; a lab of two busy cores takes its time. */
const WALK_MS = 6_000;
const QUICK_TURNS = 8;
/** As many moments are tried; one of the first ten does most often. */
const MOMENTS = 100;
const MOMENT_TIMEOUT_MS = 6_000;

describe('the device model of a PV guest', () => {
  let usher: Dom0Usher;

  before(async () => {
    usher = new Dom0Usher(await XenHost.restore({ dist: DIST }));
  });
  after(() => usher?.stop());

  const plugAll = async () => {
    for (const { kind, serial, port } of DEVICES) await usher.plug(kind, { serial, port });
  };
  const pidOf = async (vm: string) => {
    const { output } = await usher.run(`xenstore-read /local/domain/$(xl domid ${vm})/image/device-model-pid`);
    return Number(output);
  };
  const isAlive = async (pid: number) => (await usher.run(`kill -0 ${pid}`)).status === 0;
  const attached = async (vm: string) => {
    const { attachments } = await usher.ask<VmDetails>('vm.show', { vm });
    return attachments.map(({ device }) => device).sort();
  };
  const seen = async (vm: string) => (await usher.seenBy(vm)).map((id) => id.split(':').at(-1)).sort();

  it('xl: it aborts when the first of three devices is pulled, and xl calls all of them attached', async () => {
    await plugAll();
    await usher.xlCreate('plain', pvCfg('plain'));
    for (const { port } of DEVICES) assert.equal((await usher.xlAttach('plain', `1-${port}`)).status, 0);
    const pid = await pidOf('plain');
    // The guest has to talk to them: it is by its requests that QEMU fails.
    await usher.eventually('the guest has all three', async () => {
      const drivers = await Promise.all(DEVICES.map(({ port }) => usher.kernelDriver(`1-${port}`)));
      return drivers.every((driver) => driver === 'usbfs');
    });
    await usher.pull('T1');
    await usher.eventually('the device model is gone', async () => !(await isAlive(pid)));
    const { output, status } = await usher.xl('usb-list', 'plain');
    assert.equal(status, 0);
    assert.match(output, /Port 2: Bus 001/, 'xl lists the mouse as attached, though no device model lives');
    await usher.check('xl destroy plain');
    for (const { serial } of DEVICES.slice(1)) await usher.pull(serial);
  });

  it('without Usher: it aborts when a device is taken from a guest that is still asking it who it is', async () => {
    const busid = await usher.plug('tablet', { serial: 'T1', port: '1' });
    await usher.xlCreate('plain', pvCfg('plain'));
    const pid = await pidOf('plain');
    // `xl usbdev-attach` and `usbdev-detach` do it by these two writes. On a busy machine the commands themselves take
    // longer than the guest asks, so they are left out. It takes a moment between the device's address and its
    // configuration, which is another one on each machine: they are tried in no order.
    await usher.check(
      `port=/local/domain/0/backend/qusb/$(xl domid plain)/0/port/1
      for round in $(seq ${MOMENTS}); do
        kill -0 ${pid} || break
        xenstore-write $port ${busid}
        sleep $(printf '0.%02d' $((round * 7 % 50)))
        xenstore-write $port ''
        for wait in $(seq 40); do
          [ "$(basename "$(readlink /sys/bus/usb/devices/${busid}:1.0/driver)")" = usbhid ] && break
          sleep 0.05
        done
      done`,
      { timeoutMs: MOMENTS * MOMENT_TIMEOUT_MS },
    );
    const lives = await isAlive(pid);
    await usher.check('xl destroy plain');
    await usher.pull('T1');
    assert.ok(!lives, 'QEMU no longer has the defect');
  });

  it('Usher: it lives when a device comes and goes as fast as can be asked for', async () => {
    await usher.startDaemon();
    await usher.startGuest('work', PV_GUEST);
    const busid = await usher.plug('tablet', { serial: 'T1', port: '1' });
    const pid = await pidOf('work');
    for (let round = 0; round < QUICK_TURNS; round++) {
      await usher.ask('usb.attach', { vm: 'work', device: `dom0:${busid}` });
      await usher.ask('usb.detach', { device: `dom0:${busid}` });
      assert.ok(await isAlive(pid), `the device model died in round ${round + 1}`);
    }
    assert.equal(await usher.kernelDriver(busid), 'usbhid');
    await usher.ask('usb.release', { device: `dom0:${busid}` });
    await usher.pull('T1');
  });

  it('Usher: it lives when the first of three devices is pulled, and the others stay', async () => {
    const pid = await pidOf('work');
    for (let round = 0; round < 2; round++) {
      for (const { kind, serial, port } of DEVICES) {
        const busid = await usher.plug(kind, { serial, port });
        if (round === 0) await usher.ask('usb.assign', { vm: 'work', device: `dom0:${busid}`, mode: 'auto' });
        await usher.waitAttached(busid, 'work');
      }
      await usher.eventually('the guest has all three', async () => (await seen('work')).length === 3);
      await usher.pull('T1');
      await usher.eventually('the first has left', async () => (await attached('work')).length === 2);
      await new Promise((resolve) => setTimeout(resolve, WALK_MS));
      assert.ok(await isAlive(pid), `the device model died in round ${round + 1}`);
      assert.deepEqual(await attached('work'), ['dom0:1-2', 'dom0:1-3']);
      assert.deepEqual(await seen('work'), ['K1', 'M1']);
      if (round < 1) for (const { serial } of DEVICES.slice(1)) await usher.pull(serial);
    }
  });

  it('Usher: one that is killed is seen at once, and USB comes back', async () => {
    const before = await pidOf('work');
    await usher.check(`kill -KILL ${before}`);
    await usher.eventually('nothing is called attached', async () => {
      const pid = await pidOf('work');
      return (await attached('work')).length === 0 || pid !== before;
    });
    await usher.eventually('another runs', async () => {
      const pid = await pidOf('work');
      return pid !== before && (await isAlive(pid));
    });
    await usher.waitAttached('1-2', 'work');
    await usher.waitAttached('1-3', 'work');
    await usher.plug('tablet', { serial: 'T1', port: '1' });
    await usher.waitAttached('1-1', 'work');
    await usher.eventually('the guest sees what was plugged since', async () => (await seen('work')).includes('T1'));
    await usher.ask('vm.destroy', { vm: 'work' });
    await usher.eventually('dom0 has its devices', async () => (await usher.kernelDriver('1-2')) === 'usbhid');
  });
});
