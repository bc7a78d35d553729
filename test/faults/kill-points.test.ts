/**
 * Kills the daemon by SIGKILL at every fail point of attach and detach, with a real guest, and proves that the next
 * daemon converges: the device is in the VM once or not at all, as wished; the audit trail is whole and closed.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FAIL_POINTS } from '../../src/lib/fail-point.ts';
import { OneStick } from './one-stick.ts';

let scene: OneStick;

before(async () => {
  scene = await OneStick.set();
});
after(() => scene.stage.strike());

for (const point of FAIL_POINTS) {
  test(`a daemon killed at ${point} is followed by one that converges`, async () => {
    const { stage, vm } = scene;
    const { handle } = await vm.details();
    const isAttach = point.startsWith('attach.');
    if (!isAttach) await plug(`S-${point}`);
    await stage.endDaemon('SIGTERM');
    await stage.startDaemon({ USHER_FAIL_POINT: point });
    const cut = await (isAttach ? scene.plug(`S-${point}`) : scene.unplug());
    assert.notEqual(cut.status, 0, `the daemon was not killed at ${point}: ${cut.stdout}`);
    await stage.daemonEnd();

    await stage.startDaemon();
    await stage.usher('usb', 'reconcile');
    await scene.expectAttached(isAttach ? `S-${point}` : undefined);
    assert.equal((await vm.details()).handle, handle, 'the guest was disturbed');
    await scene.expectTrailClosed();

    // What was left behind must not stand in the way of the next time.
    if (isAttach) await unplug();
    await scene.expectAttached(undefined);
    await plug('S-again');
    await unplug();
  });
}

async function plug(serial: string): Promise<void> {
  assert.equal((await scene.plug(serial)).status, 0);
  await scene.expectAttached(serial);
}

async function unplug(): Promise<void> {
  assert.equal((await scene.unplug()).status, 0);
}
