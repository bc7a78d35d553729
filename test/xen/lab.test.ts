/**
 * The lab itself: hosts that are restored are fresh, their guests have booted, and everything that a test does to a host
 * from outside works: scripts, consoles, hands, freezing, the store, logs.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { XEN_PATHS } from '../../lab/xen-guests.ts';
import { XenHost } from '../../lab/xen-host.ts';
import { isFault } from '../../src/lib/fault.ts';

const GUEST_TIMEOUT_MS = 60_000;
const XL_TIMEOUT_MS = 60_000;
const SHORT_MS = 2_000;

describe('a Xen host of the lab, with its guests', () => {
  let xen: XenHost;

  before(async () => {
    xen = await XenHost.restoreWithGuests();
  });
  after(() => xen?.stop());

  it('is fresh at each restore, beside others', async (t) => {
    await xen.host.check('echo mine > /root/mark');
    const since = performance.now();
    const other = await XenHost.restore();
    t.diagnostic(`a host was restored in ${Math.round(performance.now() - since)} ms`);
    try {
      assert.notEqual((await other.host.run('cat /root/mark')).status, 0);
      assert.equal((await other.host.check('xl list')).trimEnd().split('\n').length, 2, 'dom0 alone');
    } finally {
      await other.stop();
    }
    assert.equal(await xen.host.check('cat /root/mark'), 'mine\n');
  });

  for (const kind of ['pv', 'hvm'] as const) {
    it(`has a guest ${kind} that has booted, answers, and takes what is plugged in from outside`, async () => {
      const guest = xen.guest(kind);
      const { status, lines } = await guest.shell('cat /proc/uptime; false', GUEST_TIMEOUT_MS);
      assert.equal(status, 1);
      assert.ok(Number(lines[0]?.split(' ')[0]) > 1);
      const { busid, serial } = await xen.hands.plug('tablet', { serial: `T-${kind}` });
      const since = await guest.position();
      await xen.host.check(
        `dev=/sys/bus/usb/devices/${busid}; until [ -e $dev:1.0 ]; do sleep 0.1; done
        xl usbdev-attach ${kind} hostbus=$(cat $dev/busnum) hostaddr=$(cat $dev/devnum)`,
        { timeoutMs: XL_TIMEOUT_MS },
      );
      await guest.waitFor(`usb\\+ .* serial=${serial}`, { timeoutMs: GUEST_TIMEOUT_MS, since });
      assert.deepEqual(
        xen.hands.plugged.map(({ name }) => name),
        [`T-${kind}`],
      );
      // By xl alone a device that is pulled while it is attached keeps every later one from being attached.
      await xen.host.check(`xl usbdev-detach ${kind} 0 1`, { timeoutMs: XL_TIMEOUT_MS });
      await xen.hands.pull(`T-${kind}`);
      await guest.waitFor('usb- ', { timeoutMs: GUEST_TIMEOUT_MS, since });
    });
  }

  it('has saves of guests that had booted', async () => {
    await xen.host.check(`xl destroy pv; xl restore ${XEN_PATHS.cfg('pv')} ${XEN_PATHS.save('pv')}`, {
      timeoutMs: XL_TIMEOUT_MS,
    });
    assert.equal((await xen.guest('pv').shell('true', GUEST_TIMEOUT_MS)).status, 0);
  });

  it('stands still while it is frozen, and goes on', async () => {
    await xen.host.freeze();
    await assert.rejects(xen.host.run('true', { timeoutMs: SHORT_MS }), (error) => isFault(error, 'timeout'));
    await xen.host.thaw();
    assert.equal(await xen.host.check('echo awake'), 'awake\n');
  });

  it('tells its logs when a test fails', async () => {
    const failing = xen.telling(() => Promise.reject(new Error('it failed')));
    await assert.rejects(failing, (error: Error) => {
      for (const part of [/^it failed/, /Domain-0/, /--- xl dmesg/, /\/local\/domain\/0/, /USHER-GUEST/])
        assert.match(error.message, part);
      return true;
    });
  });

  it('has lost nothing that was written after a power cut, and boots with oxenstored too', async () => {
    await xen.host.check('echo kept > /root/kept; sync');
    await xen.reboot({ isPowerCut: true });
    assert.equal(await xen.host.check('cat /root/kept'), 'kept\n');
    const other = await XenHost.boot({ xenstored: 'oxenstored' });
    try {
      assert.match(await other.host.check('ps -e -o args'), /bin\/oxenstored/);
      assert.match(await other.host.check('xl list'), /Domain-0/);
    } finally {
      await other.stop();
    }
  });
});
