/** The rig of the usb-host tests itself: a host is restored fresh, what is plugged from outside is in its sysfs. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { HOST_PATHS } from '../../lab/host-image.ts';
import { makeStick } from '../../lab/stick.ts';
import { HostRig } from './host-rig.ts';

describe('the host guest', () => {
  let folder: string;
  let rig: HostRig;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'usher-rig-'));
    await writeFile(join(folder, 'carried.txt'), 'carried in\n');
    rig = await HostRig.restore({ things: folder });
  });
  after(async () => {
    await rig?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('runs scripts, side by side, and gives status and output', async () => {
    const slow = rig.run('sleep 1; echo slow');
    const { status, output } = await rig.run('echo out; echo err >&2; exit 3');
    assert.deepEqual([status, output.trim().split('\n').sort()], [3, ['err', 'out']]);
    assert.deepEqual(await slow, { status: 0, output: 'slow\n' });
  });

  it('kills a script at its time', async () => {
    const { status } = await rig.run('sleep 60', { timeoutMs: 1000 });
    assert.equal(status, 137);
  });

  it('has Node, QEMU, udev, the small guest and what was carried in', async () => {
    assert.equal(await rig.check('cat /cargo/things/carried.txt'), 'carried in\n');
    assert.match(await rig.check('node --version', { timeoutMs: 60_000 }), /^v24\./);
    assert.match(await rig.check('qemu-system-x86_64 --version', { timeoutMs: 60_000 }), /QEMU emulator version/);
    await rig.check(`test -s ${HOST_PATHS.guestKernel} && test -s ${HOST_PATHS.guestInitrd} && udevadm settle`);
  });

  it('sees devices come and go as they are plugged from outside', async () => {
    assert.deepEqual(await rig.devices(), []);
    const file = join(folder, 'stick');
    await makeStick(file, { files: { 'a.txt': 'hello' } });
    const stick = await rig.plug('storage', 1, { serial: 'STICK-1', file });
    const keyboard = await rig.plug('keyboard', 2, { serial: 'K 1' });
    await Promise.all([rig.waitForDevice(stick), rig.waitForDevice(keyboard)]);
    const seen = (await rig.devices()).map(({ busid, vidPid, serial }) => [busid, vidPid, serial]);
    assert.deepEqual(seen, [
      ['1-2', '0627:0001', 'K 1'],
      ['2-1', '46f4:0001', 'STICK-1'],
    ]);
    await rig.unplug(1);
    await rig.waitForDevice(stick, false);
    const elsewhere = await rig.plug('storage', 5, { serial: 'STICK-1', file });
    assert.equal(elsewhere, '2-5');
    await rig.waitForDevice(elsewhere);
    await rig.unplug(2);
    await rig.waitForDevice(keyboard, false);
    const left = (await rig.devices()).map(({ busid, serial }) => [busid, serial]);
    assert.deepEqual(left, [['2-5', 'STICK-1']]);
  });

  it('waits for a line in a file that grows', async () => {
    const line = rig.waitForLine('/tmp/log', '^two b?', { timeoutMs: 20_000 });
    await rig.check('echo one > /tmp/log; sleep 0.5; echo two b >> /tmp/log');
    assert.equal(await line, 'two b');
  });

  it('is another host at each restore', async () => {
    await rig.check('touch /left-behind');
    const other = await HostRig.restore();
    try {
      assert.equal((await other.run('ls /left-behind')).status !== 0, true);
      assert.deepEqual(await other.devices(), []);
    } finally {
      await other.stop();
    }
  });
});
