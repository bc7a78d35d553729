import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { isPending, RouterWorld } from './router-world.ts';
import { assignment, attached, holdIn, outcomeWord, stick, vmId } from './test-world.ts';

const device = stick('dom0:1-1');
const KEY = 'dom0:1-1';

suite('Router: what is waited for', () => {
  test('settle waits for the devices of one VM', async () => {
    const world = new RouterWorld(2);
    world.power(1, false);
    world.assignments = [assignment(1, 1, 'dom0:1-1'), assignment(2, 2, 'dom0:1-2')];
    await world.start();
    await world.plug(device);
    world.attachMs = 300;
    await world.plug(stick('dom0:1-2'));
    world.power(1, true);
    world.attachMs = 50;
    const settled = world.router.settle(vmId(1));
    await world.clock.advance(49);
    await world.settle();
    assert.ok(await isPending(settled));
    await world.clock.advance(1);
    await world.settle();
    await settled;
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    assert.equal(world.whereIs('dom0:1-2'), '-');
    await world.router.close();
  });

  test('a step whose VM can no longer be observed is not waited for, and says why', async () => {
    const world = new RouterWorld(2);
    world.devices.set(KEY, device);
    world.assignments = [assignment(1, 1, KEY)];
    await world.start();
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    world.hanging.add(vmId(1));
    world.holds = [holdIn(device, 2)];
    const moved = world.router.settleDevice(KEY);
    await world.settle();
    await world.clock.advance(5_000); // The detach is done, but the look behind it hangs.
    await world.settle();
    const outcome = (await moved)?.outcome;
    assert.equal(outcomeWord(outcome), 'detaching vm1');
    assert.ok(outcome?.is === 'detaching' && outcome.stuck === 'VM vm1 cannot be observed');
    const reconciled = world.router.reconcile();
    await world.clock.advance(5_000);
    await world.settle();
    await reconciled;
    const released = assert.rejects(world.router.release(vmId(1)), (error) => isFault(error, 'hypervisor.lost'));
    await world.clock.advance(5_000);
    await world.settle();
    await released;
    await world.router.close();
  });

  test('what takes too long is named', async () => {
    const world = new RouterWorld(1);
    world.devices.set(KEY, device);
    await world.start();
    world.attachMs = 20_000;
    world.assignments = [assignment(1, 1, KEY)];
    const names = (error: unknown) =>
      isFault(error, 'timeout') && /\(dom0:1-1 is being attached to VM vm1\) took longer than 1 s/.test(error.message);
    const late = [
      assert.rejects(world.router.reconcile(undefined, 1_000), names),
      assert.rejects(world.router.settle(vmId(1), undefined, 1_000), names),
      assert.rejects(world.router.settleDevice(KEY, undefined, 1_000), names),
    ];
    await world.settle();
    await world.clock.advance(1_000);
    await Promise.all([...late, world.settle()]);
    await Promise.all([world.router.close(), world.clock.advance(20_000)]);
  });

  test('reconcile waits for moves; closing ends all waits', async () => {
    const world = new RouterWorld(2);
    world.devices.set(KEY, device);
    world.vms.get(vmId(2))?.attachments.push(attached(device, 2));
    world.holds = [holdIn(device, 1)];
    world.detachMs = 60;
    await world.start();
    const reconciled = world.router.reconcile();
    await world.clock.advance(60);
    await world.settle();
    const [verdict] = await reconciled;
    assert.equal(outcomeWord(verdict?.outcome), 'attached vm1');
    world.holds = [holdIn(device, 2)];
    world.router.hint('wishes');
    const { router } = world;
    const waits = [router.reconcile(), router.settle(vmId(1)), router.settleDevice(KEY), router.release(vmId(1))];
    const ended = waits.map((wait) => assert.rejects(wait, (error) => isFault(error, 'daemon.stopping')));
    await world.settle();
    await Promise.all([router.close(), ...ended]);
  });
});
