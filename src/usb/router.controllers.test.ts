import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { isPending, RouterWorld } from './router-world.ts';
import { assignment, holdIn, outcomeWord, stick, vmId } from './test-world.ts';

suite('Router: controllers on demand', () => {
  const stickAt = (port: number) => stick(`dom0:1-${port}`, { serial: `S${port}` });
  const [fifth, sixth, seventh] = ['dom0:1-5', 'dom0:1-6', 'dom0:1-7'] as const;
  /** A VM with four ports and devices in all of them. */
  const fullWorld = async (maxControllers: number) => {
    const world = new RouterWorld(2);
    world.maxControllers = maxControllers;
    world.assignments = [assignment(1, 1, 'dom0:*')];
    for (const port of [1, 2, 3, 4]) world.devices.set(`dom0:1-${port}`, stickAt(port));
    await world.start();
    await world.settle();
    assert.equal(world.log.length, 4);
    world.log.length = 0;
    return world;
  };
  const plug = async (world: RouterWorld, ...ports: number[]) => {
    for (const port of ports) await world.plug(stickAt(port));
  };

  test('a device that finds no port gets one of a new controller, and the next ones fill that up first', async () => {
    const world = await fullWorld(4);
    await plug(world, 5, 6, 7);
    const added = world.log.filter((line) => line.startsWith('addController'));
    assert.deepEqual(
      [world.log[0], added, world.whereIs(fifth), world.whereIs(sixth), world.whereIs(seventh)],
      ['addController vm1', ['addController vm1', 'addController vm1'], 'vm1 1-1', 'vm1 1-2', 'vm1 2-1'],
    );
    await world.router.reconcile();
    assert.equal(world.log.filter((line) => line.startsWith('addController')).length, 2);
    assert.deepEqual(world.errors, []);
    await world.router.close();
  });

  test('while it comes, nothing else waits, and whoever waits for the device waits for it', async () => {
    const world = await fullWorld(2);
    world.addControllerMs = 100;
    await plug(world, 5, 6);
    assert.deepEqual(world.log, ['addController vm1']);
    assert.equal(outcomeWord(world.router.verdictOf(fifth)?.outcome), 'attaching vm1 needs controller');
    world.holds = [holdIn(stickAt(6), 2)];
    world.router.hint('wishes');
    await world.settle();
    assert.equal(world.whereIs(sixth), 'vm2 0-1', 'another VM takes it meanwhile');
    const settled = [world.router.settleDevice(fifth), world.router.settle(vmId(1))];
    await world.clock.advance(99);
    await world.settle();
    assert.deepEqual(await Promise.all(settled.map(isPending)), [true, true]);
    await world.clock.advance(1);
    await world.settle();
    await Promise.all(settled);
    assert.equal(world.whereIs(fifth), 'vm1 1-1');
    assert.deepEqual(world.errors, []);
    await world.router.close();
  });

  test('a port that comes free meanwhile is taken at once', async () => {
    const world = await fullWorld(2);
    world.addControllerMs = 100;
    await plug(world, 5);
    await world.unplug('dom0:1-2');
    assert.equal(world.whereIs(fifth), 'vm1 0-2');
    await world.clock.advance(100);
    await world.settle();
    assert.equal(world.whereIs(fifth), 'vm1 0-2');
    await world.router.close();
  });

  test('one that cannot be added is tried again later and later, or by hand; the verdict says why', async () => {
    const world = await fullWorld(2);
    world.failing = (step) => step.startsWith('addController');
    await plug(world, 5);
    const { outcome } = world.router.verdictOf(fifth) ?? {};
    assert.equal(outcomeWord(outcome), 'waiting vm1 controller');
    assert.ok(outcome?.is === 'waiting');
    assert.match(outcome.detail, /VM vm1 has no free port for it, and one more .* not be added: .*told to fail/);
    const tries: number[] = [];
    for (const ms of [499, 1, 999, 1]) {
      await world.clock.advance(ms);
      await world.settle();
      tries.push(world.log.length);
    }
    assert.deepEqual(tries, [1, 2, 2, 3], 'after half a second, then after a second');
    await world.router.settleDevice(fifth);
    assert.equal(world.log.length, 3, 'whoever waits for the device only does not hurry it');
    world.failing = () => false;
    const settled = world.router.settleDevice(fifth, undefined, 1_000, vmId(1));
    await world.settle();
    assert.equal(outcomeWord((await settled)?.outcome), 'attached vm1');
    await world.router.close();
  });

  test('a VM that can have no more says so; a new domain begins anew', async () => {
    const world = await fullWorld(1);
    await plug(world, 5);
    assert.equal(outcomeWord(world.router.verdictOf(fifth)?.outcome), 'waiting vm1 port');
    world.maxControllers = 2;
    world.failing = (step) => step.startsWith('addController');
    world.router.hint({ vm: vmId(1) });
    await world.settle();
    assert.deepEqual(world.log, ['addController vm1']);
    world.failing = () => false;
    await world.restart(1);
    assert.match(world.whereIs(fifth), /^vm1 /);
    assert.deepEqual(world.errors, []);
    await world.router.close();
  });
});
