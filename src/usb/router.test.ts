import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Plan } from './plan-types.ts';
import { RouterWorld } from './router-world.ts';
import { assignment, attached, holdOut, outcomeWord, stick, vmId } from './test-world.ts';

const device = stick('dom0:1-1');
const KEY = 'dom0:1-1';

suite('Router: what happens by itself', () => {
  test('at start everything is brought where it belongs', async () => {
    const world = new RouterWorld(2);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    world.devices.set(KEY, device);
    world.vms.get(vmId(2))?.attachments.push(attached(device, 2));
    await world.start();
    await world.settle();
    assert.deepEqual(world.log, ['detach dom0:1-1 vm2 0-1', 'attach dom0:1-1 vm1 0-1']);
    assert.equal(outcomeWord(world.router.verdictOf(KEY)?.outcome), 'attached vm1');
    await world.router.close();
  });

  test('a plug is attached at once; pulled, it leaves; plugged anew, it is back', async () => {
    const world = new RouterWorld(1);
    world.assignments = [assignment(1, 1, '0951:1666:S1:*')];
    await world.start();
    await world.plug(device);
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    await world.unplug(KEY);
    assert.equal(world.whereIs(KEY), '-');
    await world.plug({ ...device, generation: 'g2' });
    await world.plug({ ...device, generation: 'g3' });
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    assert.equal(world.vms.get(vmId(1))?.attachments[0]?.generation, 'g3');
    await world.unplug(KEY);
    await world.plug(stick('dom0:1-3'));
    assert.equal(world.whereIs('dom0:1-3'), 'vm1 0-1', 'in another socket too');
    await world.router.close();
  });

  test('buses are numbered anew: what is assigned by its location is back, and its twin is not taken for it', async () => {
    const world = new RouterWorld(1);
    world.assignments = [assignment(1, 1, 'dom0:0000:00:14.0/1')];
    await world.start();
    await world.plug({ ...device, location: '0000:00:14.0/1' });
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    await world.unplug(KEY);
    await world.plug({ ...device, location: '0000:05:00.0/1' });
    assert.equal(world.whereIs(KEY), '-', 'the port of old, which is another socket now');
    await world.plug({ ...stick('dom0:3-1'), location: '0000:00:14.0/1' });
    assert.equal(world.whereIs('dom0:3-1'), 'vm1 0-1');
    assert.equal(world.whereIs(KEY), '-');
    await world.router.close();
  });

  test('wishes count as soon as they are hinted at, without a look', async () => {
    const world = new RouterWorld(1);
    await world.start();
    await world.plug(device);
    const { length } = world.looks;
    world.assignments = [assignment(1, 1, 'dom0:*')];
    world.router.hint('wishes');
    await world.settle();
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    assert.deepEqual(world.looks.slice(length), ['vm1'], 'only the VM whose step ended');
    world.holds = [holdOut(device)];
    world.router.hint('wishes');
    await world.settle();
    assert.equal(world.whereIs(KEY), '-');
    await world.unplug(KEY);
    assert.deepEqual(world.holds, [], 'the hold has served');
    await world.router.close();
  });

  test('only what is hinted at is looked at, once for many hints', async () => {
    const plans: Plan[] = [];
    const world = new RouterWorld(3, { onPlan: (plan) => plans.push(plan) });
    await world.start();
    world.observeMs = 10;
    world.looks.length = 0;
    plans.length = 0;
    for (let i = 0; i < 50; i++) world.router.hint({ vm: vmId(2) });
    await world.clock.advance(100);
    assert.deepEqual(world.looks, ['vm2', 'vm2'], 'one, and one more for the hints that came during it');
    assert.equal(plans.length, 2);
    world.router.hint({ backend: 'dom0' });
    world.router.hint({ backend: 'nowhere' });
    await world.clock.advance(100);
    assert.deepEqual(world.looks, ['vm2', 'vm2', 'dom0']);
    await world.router.close();
  });

  test('a sweep finds what no hint told', async () => {
    const world = new RouterWorld(1, { sweepMs: 30_000 });
    world.assignments = [assignment(1, 1, 'dom0:*')];
    await world.start();
    world.devices.set(KEY, device);
    await world.clock.advance(29_999);
    assert.equal(world.whereIs(KEY), '-');
    await world.clock.advance(1);
    await world.settle();
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    await world.router.close();
  });

  test('a VM that dies and comes back has its device again', async () => {
    const world = new RouterWorld(1);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    await world.start();
    await world.plug(device);
    world.power(1, false);
    world.router.hint({ vm: vmId(1) });
    await world.settle();
    assert.equal(outcomeWord(world.router.verdictOf(KEY)?.outcome), 'waiting vm1 vm');
    world.power(1, true);
    world.router.hint({ vm: vmId(1) });
    await world.settle();
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    await world.router.close();
  });

  test('a VM that comes back has its devices at the ports where they were', async () => {
    const world = new RouterWorld(1);
    const other = stick('dom0:1-2', { serial: 'S2' });
    world.assignments = [assignment(1, 1, 'dom0:*')];
    await world.start();
    await world.plug(other);
    await world.plug(device);
    assert.deepEqual(
      [KEY, 'dom0:1-2'].map((key) => world.whereIs(key)),
      ['vm1 0-2', 'vm1 0-1'],
    );
    await world.restart(1);
    assert.deepEqual(
      [KEY, 'dom0:1-2'].map((key) => world.whereIs(key)),
      ['vm1 0-2', 'vm1 0-1'],
    );
    await world.router.close();
  });

  test('VMs come and go', async () => {
    const world = new RouterWorld(1);
    world.assignments = [assignment(1, 2, 'dom0:*')];
    await world.start();
    await world.plug(device);
    world.addVm(2);
    world.router.hint({ vm: vmId(2) });
    await world.settle();
    assert.equal(world.whereIs(KEY), 'vm2 0-1');
    world.vms.delete(vmId(2));
    world.router.hint({ vm: vmId(2) });
    await world.settle();
    assert.equal(outcomeWord(world.router.verdictOf(KEY)?.outcome), 'left');
    await world.router.close();
  });

  test('tells what came, went and was done', async () => {
    const told: string[] = [];
    const world = new RouterWorld(1, {
      onDevices: (plugged, unplugged) =>
        told.push(`+${plugged.map((one) => one.busid)} -${unplugged.map((one) => one.busid)}`),
      onStep: (step, result) => told.push(`${step.kind} ${result.is}`),
    });
    world.assignments = [assignment(1, 1, 'dom0:*')];
    world.devices.set(KEY, device);
    await world.start();
    await world.settle();
    await world.plug({ ...device, generation: 'g2' });
    await world.unplug(KEY);
    assert.deepEqual(told, ['attach done', '+1-1 -1-1', 'detach done', 'attach done', '+ -1-1', 'detach done']);
    await world.router.close();
  });
});
