/**
 * HVM guests on a real Xen host, whose controllers the device model emulates and whose devices come and go by QMP: beside
 * an xl that does the same over the same socket, and when the device model is killed. No guest has to boot for that.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { XenHost } from '../../lab/xen-host.ts';
import type { VmDetails } from '../../src/api/views.ts';
import { DIST, Dom0Usher } from './dom0-usher.ts';
import { HVM_GUEST, hvmCfg } from './guests.ts';

const ROUNDS = 6;

describe('HVM guests on real Xen', () => {
  let usher: Dom0Usher;
  const attached = async (vm: string) => {
    const { attachments } = await usher.ask<VmDetails>('vm.show', { vm });
    return attachments.map(({ device }) => device).sort();
  };

  before(async () => {
    usher = new Dom0Usher(await XenHost.restore({ dist: DIST }));
    await usher.startDaemon();
  });
  after(() => usher?.stop());

  it('a guest that xl has started shares its QMP socket: xl attaches in a loop, and so does Usher', async () => {
    await usher.check(`printf %s '${hvmCfg('plain')}' > /root/plain.cfg; xl create -p /root/plain.cfg`, {
      timeoutMs: 60_000,
    });
    await usher.ask('vm.adopt', { domain: 'plain' });
    const ours = await usher.plug('tablet', { serial: 'T1', port: '1' });
    const theirs = await usher.plug('keyboard', { serial: 'K1', port: '2' });
    await usher.check(`cat > /root/loop.sh <<'END'
dev=/sys/bus/usb/devices/${theirs}
for i in $(seq ${ROUNDS}); do
  xl usbdev-attach plain hostbus=$(cat $dev/busnum) hostaddr=$(cat $dev/devnum) controller=0 port=7 || echo "attach $i failed"
  xl usb-list plain | grep -q 'Port 7: Bus' || echo "$i is not listed"
  xl usbdev-detach plain 0 7 || echo "detach $i failed"
done
echo done
END
    setsid bash /root/loop.sh > /root/loop.out 2>&1 < /dev/null & true`);
    let turns = 0;
    const isDone = async () => /^done$/m.test(await usher.check('cat /root/loop.out'));
    for (; !(await isDone()); turns++) {
      await usher.ask('usb.attach', { vm: 'plain', device: `dom0:${ours}` });
      assert.ok((await attached('plain')).includes(`dom0:${ours}`));
      await usher.ask('usb.detach', { device: `dom0:${ours}` });
    }
    assert.equal(await usher.check('cat /root/loop.out'), 'done\n', 'xl was never disturbed');
    assert.ok(turns > 1, `Usher had ${turns} turns meanwhile`);
    assert.deepEqual(await attached('plain'), []);
    for (const busid of [ours, theirs]) assert.equal(await usher.kernelDriver(busid), 'usbhid');
    await usher.ask('vm.destroy', { vm: 'plain' });
  });

  it('when the device model is killed, it is said plainly that USB comes back with a new start', async () => {
    await usher.createVm('full', HVM_GUEST);
    await usher.ask('vm.start', { vm: 'full', isPaused: true });
    const busid = await usher.plug('tablet', { serial: 'T2', port: '4' });
    await usher.ask('usb.assign', { vm: 'full', device: `dom0:${busid}`, mode: 'auto' });
    await usher.waitAttached(busid, 'full');
    await usher.check('kill -KILL $(xenstore-read /local/domain/$(xl domid full)/image/device-model-pid)');
    await usher.eventually('nothing is called attached', async () => (await attached('full')).length === 0);
    const view = await usher.eventually('it waits', async () => {
      const device = await usher.device(busid);
      return device?.state === 'waiting' ? device : undefined;
    });
    assert.match(view.why, /device model/);
    await usher.ask('vm.destroy', { vm: 'full' });
    await usher.ask('vm.start', { vm: 'full', isPaused: true });
    await usher.waitAttached(busid, 'full');
  });
});
