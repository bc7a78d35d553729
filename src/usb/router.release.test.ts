import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { isPending, RouterWorld } from './router-world.ts';
import { assignment, stick, vmId } from './test-world.ts';

const device = stick('dom0:1-1');
const KEY = 'dom0:1-1';

suite('Router: release', () => {
  test('release takes everything out and keeps the VM closed until it is reopened', async () => {
    const world = new RouterWorld(2);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    world.attachMs = 50;
    await world.start();
    await world.plug(device);
    world.detachMs = 60;
    const released = world.router.release(vmId(1)); // While it is being attached.
    await world.clock.advance(109);
    await world.settle();
    assert.ok(await isPending(released), 'while it is being detached');
    await world.clock.advance(1);
    await world.settle();
    await released;
    assert.deepEqual(world.log, ['attach dom0:1-1 vm1 0-1', 'detach dom0:1-1 vm1 0-1']);
    await world.clock.advance(100_000);
    assert.equal(world.whereIs(KEY), '-');
    world.router.reopen(vmId(1));
    await world.clock.advance(50);
    await world.settle();
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    await world.router.close();
  });

  test('a release that cannot be says what is stuck, and the VM is open again', async () => {
    const world = new RouterWorld(1);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    await world.start();
    await world.plug(device);
    world.failing = (step) => step.startsWith('detach');
    const released = assert.rejects(
      world.router.release(vmId(1), undefined, 2_000),
      (error) => isFault(error, 'usb.detach_failed') && /told to fail/.test(error.message),
    );
    await world.clock.advance(2_000);
    await released;
    await world.plug(stick('dom0:1-2'));
    assert.equal(world.whereIs('dom0:1-2'), 'vm1 0-2');
    await world.router.close();
  });

  test('a release that is aborted leaves the VM open', async () => {
    const world = new RouterWorld(1);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    await world.start();
    await world.plug(device);
    world.detachMs = 1_000;
    const abort = new AbortController();
    const released = assert.rejects(world.router.release(vmId(1), abort.signal), (error) => isFault(error, 'aborted'));
    await world.settle();
    abort.abort();
    await released;
    await world.clock.advance(2_000);
    await world.settle();
    const words = ['attach dom0:1-1 vm1 0-1', 'detach dom0:1-1 vm1 0-1', 'attach dom0:1-1 vm1 0-1'];
    assert.deepEqual(world.log, words, 'out, and back again');
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    await world.router.close();
  });
});
