/**
 * Everything that can be restarted on a real Xen host, while a PV guest has a device: the daemon at each step of an
 * attach and a detach, the VM by a save and a restore, xenstored, and the host itself.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { XenHost } from '../../lab/xen-host.ts';
import type { AuditVerification, AuditView, VmDetails } from '../../src/api/views.ts';
import { XEN_FAIL_POINTS } from '../../src/lib/fail-point.ts';
import { DIST, Dom0Usher } from './dom0-usher.ts';
import { PV_GUEST, pvCfg } from './guests.ts';

const ID = '0627:0001:T1:030000';
const BUSID = '1-1';
const PLACE = `dom0:${BUSID}`;
/** The driver's own; those of the steps around it are passed with QEMU in test/faults/kill-points.test.ts. */
const POINTS = XEN_FAIL_POINTS.filter((point) => /attach\.|detach\./.test(point));

describe('restarts on real Xen', () => {
  let usher: Dom0Usher;
  const plug = () => usher.plug('tablet', { serial: 'T1', port: '1' });
  const show = () => usher.ask<VmDetails>('vm.show', { vm: 'work' });
  /** What is in the ports of a domain. */
  const inPorts = async (domain: string) =>
    (
      await usher.check(
        `for port in 1 2 3 4 5 6 7 8; do xenstore-read /local/domain/0/backend/qusb/$(xl domid ${domain})/0/port/$port; done`,
      )
    ).trim();
  /** How many xl processes wait for the end of a domain that they have made. */
  const watchers = async (domain: string) =>
    Number((await usher.check(`pgrep -fc '[x]l create /root/${domain}.cfg' || true`)).trim());
  const settle = async (isAttached: boolean) => {
    await usher.ask('usb.reconcile');
    const { attachments } = await show();
    assert.deepEqual(
      attachments.map(({ device }) => device),
      isAttached ? [PLACE] : [],
    );
  };

  before(async () => {
    usher = new Dom0Usher(await XenHost.restore({ dist: DIST }));
    await usher.startDaemon();
    await usher.startGuest('work', PV_GUEST);
    await usher.ask('usb.assign', { vm: 'work', device: ID, mode: 'auto' });
    await plug();
    await usher.waitAttached(BUSID, 'work');
  });
  after(() => usher?.stop());

  for (const point of POINTS) {
    it(`a daemon killed at ${point} is followed by one that converges`, async () => {
      const isAttach = point.includes('attach.') && !point.includes('detach.');
      const { handle } = await show();
      // An attach is caused by a release of the device, a detach by a hand on it.
      if (isAttach) await usher.ask('usb.detach', { device: PLACE });
      await usher.endDaemon('TERM');
      await usher.startDaemon({ USHER_FAIL_POINT: point });
      await usher.ask(isAttach ? 'usb.release' : 'usb.detach', { device: PLACE }).catch(() => undefined);
      await usher.daemonEnd();
      await usher.startDaemon();
      await usher.ask('usb.release', { device: PLACE }).catch(() => undefined);
      await settle(true);
      assert.equal((await show()).handle, handle, 'the domain was disturbed');
      const { isIntact } = await usher.ask<AuditVerification>('audit.verify');
      assert.ok(isIntact);
      const rows = await usher.ask<AuditView[]>('audit.list', { limit: 10_000 });
      const concluded = new Set(rows.map(({ intent }) => intent));
      const open = rows.filter(({ kind, row }) => kind === 'intent' && !concluded.has(row));
      assert.deepEqual(open, [], 'intents without an outcome');
    });
  }

  it('xl: a save and a restore empty the ports, and a checkpoint ends the xl that watches over the domain', async () => {
    await usher.xlCreate('plain', pvCfg('plain'));
    const other = await usher.plug('keyboard', { serial: 'K1', port: '2' });
    assert.equal((await usher.xlAttach('plain', other)).status, 0);
    assert.equal(await inPorts('plain'), other);
    assert.equal(await watchers('plain'), 1);
    await usher.check('xl save -c plain /root/plain.save', { timeoutMs: 60_000 });
    assert.equal(await watchers('plain'), 0);
    await usher.check('xl save plain /root/plain.save && xl restore /root/plain.save', { timeoutMs: 60_000 });
    assert.equal(await inPorts('plain'), '');
    await usher.check('xl destroy plain');
    await usher.pull('K1');
  });

  it('xl save and xl restore empty the ports; Usher attaches again', async () => {
    const before = await show();
    await usher.check('xl save work /root/work.save && xl restore /root/work.save', { timeoutMs: 60_000 });
    await usher.eventually('Usher knows the new domain', async () => {
      const { state, handle } = await show();
      return state === 'running' && handle !== before.handle;
    });
    await usher.waitAttached(BUSID, 'work');
    await usher.eventually('the guest sees it', async () => (await usher.seenBy('work')).includes('0627:0001:T1'));
  });

  it('suspend and restore: the device leaves and comes back', async () => {
    await usher.ask('vm.suspend', { vm: 'work' });
    assert.equal((await show()).state, 'suspended');
    assert.equal(await usher.kernelDriver(BUSID), 'usbhid');
    await usher.ask('vm.restore', { vm: 'work' });
    await usher.waitAttached(BUSID, 'work');
    await usher.eventually('the guest sees it', async () => (await usher.seenBy('work')).includes('0627:0001:T1'));
  });

  it('a checkpoint, which leaves no xl behind to watch the domain, does not matter: a reboot is answered', async () => {
    await usher.ask('vm.checkpoint', { vm: 'work', file: '/root/checkpoint' });
    await usher.waitAttached(BUSID, 'work');
    await usher.check('xl save -c work /root/by-hand', { timeoutMs: 60_000 });
    await usher.waitAttached(BUSID, 'work');
    const { handle, console } = await show();
    await usher.check(`echo reboot | socat -t 1 - UNIX-CONNECT:${console.socket} > /dev/null`);
    await usher.eventually('another domain runs', async () => {
      const now = await show();
      return now.state === 'running' && now.handle !== handle;
    });
    await usher.waitAttached(BUSID, 'work');
  });

  it('xenstored is updated live: an unplugging and a plugging are seen afterwards', async () => {
    const { handle } = await show();
    await usher.check('xenstore-control live-update -F /usr/lib/xen-4.17/bin/xenstored', { timeoutMs: 60_000 });
    await usher.pull('T1');
    await usher.eventually('it has left', async () => (await show()).attachments.length === 0);
    await plug();
    await usher.waitAttached(BUSID, 'work');
    assert.equal((await show()).handle, handle);
  });

  it('after a reboot of the host the VM is started and has its device', async () => {
    await usher.ask('vm.set', { vm: 'work', autostart: true });
    await usher.xen.reboot();
    await usher.startDaemon();
    await usher.eventually('the VM runs', async () => (await show()).state === 'running');
    await usher.waitAttached(BUSID, 'work');
  });
});
