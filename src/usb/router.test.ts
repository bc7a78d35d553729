import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { isFault } from '../lib/fault.ts';
import type { Plan } from './plan-types.ts';
import { RouterWorld } from './router-world.ts';
import { assignment, attached, holdIn, holdOut, outcomeWord, stick, vmId } from './test-world.ts';

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
    world.assignments = [assignment(1, 1, 'dom0:*')];
    await world.start();
    await world.plug(device);
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    await world.unplug(KEY);
    assert.equal(world.whereIs(KEY), '-');
    await world.plug({ ...device, generation: 'g2' });
    await world.plug({ ...device, generation: 'g3' });
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    assert.equal(world.vms.get(vmId(1))?.attachments[0]?.generation, 'g3');
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
});

suite('Router: what goes wrong', () => {
  test('a failed attach is tried again when it is due, and others go on meanwhile', async () => {
    const world = new RouterWorld(1);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    world.failing = (step) => step.startsWith('attach dom0:1-1');
    await world.start();
    await world.plug(device);
    await world.plug(stick('dom0:1-2'));
    assert.equal(world.whereIs('dom0:1-2'), 'vm1 0-1');
    assert.equal(outcomeWord(world.router.verdictOf(KEY)?.outcome), 'waiting vm1 retry');
    world.failing = () => false;
    await world.clock.advance(499);
    assert.equal(world.whereIs(KEY), '-');
    await world.clock.advance(1);
    await world.settle();
    assert.equal(world.whereIs(KEY), 'vm1 0-2');
    await world.router.close();
  });

  test('a new domain, and reconcile, are a new chance at once', async () => {
    const world = new RouterWorld(1);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    world.failing = () => true;
    await world.start();
    await world.plug(device);
    const reconciled = world.router.reconcile();
    await world.settle();
    const [verdict] = await reconciled;
    assert.equal(outcomeWord(verdict?.outcome), 'waiting vm1 retry', 'what waits is not waited for');
    assert.equal(world.log.length, 2);
    world.failing = () => false;
    for (const isRunning of [false, true]) {
      world.power(1, isRunning);
      world.router.hint({ vm: vmId(1) });
      await world.settle();
    }
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    await world.router.close();
  });

  test('a VM that hangs holds up nobody, loses nothing and is warned about once', async () => {
    const world = new RouterWorld(2);
    world.assignments = [assignment(1, 1, 'dom0:1-1'), assignment(2, 2, 'dom0:1-2')];
    await world.start();
    await world.plug(stick('dom0:1-2'));
    world.hanging.add(vmId(2));
    world.router.hint('everything');
    await world.plug(device);
    assert.equal(world.whereIs(KEY), 'vm1 0-1', 'at once');
    await world.clock.advance(5_000);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    world.router.hint('wishes');
    await world.settle();
    assert.equal(outcomeWord(world.router.verdictOf('dom0:1-2')?.outcome), 'waiting vm1 release');
    assert.equal(world.whereIs('dom0:1-2'), 'vm2 0-1');
    world.hanging.clear();
    world.router.hint({ vm: vmId(2) });
    await world.settle();
    assert.equal(world.whereIs('dom0:1-2'), 'vm1 0-2');
    await world.router.close();
  });

  test('a VM that hangs from the start holds up the first plan for a second; its device goes nowhere else', async () => {
    const world = new RouterWorld(2);
    world.hanging.add(vmId(2));
    world.assignments = [assignment(1, 1, 'dom0:*'), assignment(2, 2, 'dom0:1-2', 'manual')];
    for (const one of [device, stick('dom0:1-2')]) world.devices.set(`dom0:${one.busid}`, one);
    const started = world.router.start();
    await world.clock.advance(999);
    assert.deepEqual(world.log, []);
    await world.clock.advance(1);
    await started;
    assert.deepEqual(world.log, ['attach dom0:1-1 vm1 0-1']);
    assert.equal(outcomeWord(world.router.verdictOf('dom0:1-2')?.outcome), 'waiting vm1 release');
    await world.router.close();
  });

  test('a backend that cannot be read: its devices stay where they are', async () => {
    const world = new RouterWorld(1);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    world.holds = [holdOut(stick('dom0:1-7'))];
    world.isReadable = false;
    world.vms.get(vmId(1))?.attachments.push(attached(device, 1));
    await world.start();
    await world.settle();
    assert.deepEqual(world.log, []);
    world.isReadable = true;
    world.router.hint({ backend: 'dom0' });
    await world.settle();
    assert.deepEqual(world.log, ['dropHold dom0:1-7', 'detach dom0:1-1 vm1 0-1']);
    await world.router.close();
  });

  test('an observation from before the end of a step does not make it happen twice', async () => {
    const world = new RouterWorld(1);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    await world.start();
    world.attachMs = 10;
    await world.plug(device);
    world.observeMs = 20;
    world.router.hint({ vm: vmId(1) }); // It sees no attachment, and says so when the step has long ended.
    await world.clock.advance(100);
    assert.deepEqual(world.log, ['attach dom0:1-1 vm1 0-1']);
    assert.deepEqual(world.errors, []);
    await world.router.close();
  });

  test('listeners that throw, and wishes that cannot be read, stop nothing', async () => {
    const boom = () => {
      throw new Error('boom');
    };
    const world = new RouterWorld(1, { onStep: boom, onPlan: boom, onDevices: boom });
    world.assignments = [assignment(1, 1, 'dom0:*')];
    await world.start();
    await world.plug(device);
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    const broken = new RouterWorld(1, { wishes: boom, listVms: boom });
    await broken.start();
    await broken.plug(device);
    assert.deepEqual(broken.router.verdicts, []);
    await Promise.all([world.router.close(), broken.router.close()]);
  });
});

suite('Router: controllers on demand', () => {
  const devices = [1, 2, 3, 4, 5, 6, 7].map((port) => stick(`dom0:1-${port}`, { serial: `S${port}` }));
  const [fifth, sixth, seventh] = ['dom0:1-5', 'dom0:1-6', 'dom0:1-7'] as const;
  /** A VM with four ports and devices in all of them. */
  const fullWorld = async (maxControllers: number) => {
    const world = new RouterWorld(2);
    world.maxControllers = maxControllers;
    world.assignments = [assignment(1, 1, 'dom0:*')];
    for (const one of devices.slice(0, 4)) world.devices.set(`dom0:${one.busid}`, one);
    await world.start();
    await world.settle();
    assert.equal(world.log.length, 4);
    world.log.length = 0;
    return world;
  };
  const plug = async (world: RouterWorld, ...indexes: number[]) => {
    for (const index of indexes) await world.plug(devices[index] ?? device);
  };

  test('a device that finds no port gets one of a new controller, and the next ones fill that up first', async () => {
    const world = await fullWorld(4);
    await plug(world, 4, 5, 6);
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
    await plug(world, 4, 5);
    assert.deepEqual(world.log, ['addController vm1']);
    assert.equal(outcomeWord(world.router.verdictOf(fifth)?.outcome), 'attaching vm1 needs controller');
    world.holds = [holdIn(devices[5] ?? device, 2)];
    world.router.hint('wishes');
    await world.settle();
    assert.equal(world.whereIs(sixth), 'vm2 0-1', 'another VM takes it meanwhile');
    const settled = [world.router.settleDevice(fifth), world.router.settle(vmId(1))];
    await world.clock.advance(100);
    await world.settle();
    await Promise.all(settled);
    assert.equal(world.whereIs(fifth), 'vm1 1-1');
    assert.deepEqual(world.errors, []);
    await world.router.close();
  });

  test('a port that comes free meanwhile is taken at once', async () => {
    const world = await fullWorld(2);
    world.addControllerMs = 100;
    await plug(world, 4);
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
    await plug(world, 4);
    const { outcome } = world.router.verdictOf(fifth) ?? {};
    assert.equal(outcomeWord(outcome), 'waiting vm1 controller');
    assert.ok(outcome?.is === 'waiting');
    assert.match(outcome.detail, /VM vm1 has no free port for it, and one more .* not be added: .*told to fail/);
    await world.clock.advance(500);
    await world.settle();
    await world.clock.advance(999);
    await world.settle();
    assert.equal(world.log.length, 2, 'half a second, then a second');
    await world.router.settleDevice(fifth);
    assert.equal(world.log.length, 2, 'whoever waits for the device only does not hurry it');
    world.failing = () => false;
    const settled = world.router.settleDevice(fifth, undefined, 1_000, vmId(1));
    await world.settle();
    assert.equal(outcomeWord((await settled)?.outcome), 'attached vm1');
    await world.router.close();
  });

  test('a VM that can have no more says so; a new domain begins anew', async () => {
    const world = await fullWorld(1);
    await plug(world, 4);
    assert.equal(outcomeWord(world.router.verdictOf(fifth)?.outcome), 'waiting vm1 port');
    world.maxControllers = 2;
    world.failing = (step) => step.startsWith('addController');
    world.router.hint({ vm: vmId(1) });
    await world.settle();
    assert.deepEqual(world.log, ['addController vm1']);
    world.failing = () => false;
    for (const isRunning of [false, true]) {
      world.power(1, isRunning);
      world.router.hint({ vm: vmId(1) });
      await world.settle();
    }
    assert.match(world.whereIs(fifth), /^vm1 /);
    assert.deepEqual(world.errors, []);
    await world.router.close();
  });
});

suite('Router: for others', () => {
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

  test('release takes everything out and keeps the VM closed until it is reopened', async () => {
    const world = new RouterWorld(2);
    world.assignments = [assignment(1, 1, 'dom0:*')];
    world.attachMs = 50;
    await world.start();
    await world.plug(device);
    world.detachMs = 60;
    const released = world.router.release(vmId(1)); // While it is being attached.
    await world.clock.advance(110);
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
    assert.equal(world.whereIs(KEY), 'vm1 0-1', 'back again');
    await world.router.close();
  });

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
    await world.clock.advance(50);
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
    for (const isRunning of [false, true]) {
      world.power(1, isRunning);
      world.router.hint({ vm: vmId(1) });
      await world.settle();
    }
    assert.deepEqual(
      [KEY, 'dom0:1-2'].map((key) => world.whereIs(key)),
      ['vm1 0-2', 'vm1 0-1'],
    );
    await world.router.close();
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
    const waiting = assert.rejects(world.router.reconcile(), (error) => isFault(error, 'daemon.stopping'));
    await world.settle();
    await Promise.all([world.router.close(), waiting]);
  });
});

test('Router: whatever happens, however slowly, no device is in two VMs and all come to rest', async () => {
  const places = ['dom0:1-1', 'dom0:1-2', 'dom0:1-3'];
  const event = fc.oneof(
    fc.record({ do: fc.constant('plug' as const), place: fc.constantFrom(...places) }),
    fc.record({ do: fc.constant('unplug' as const), place: fc.constantFrom(...places) }),
    fc.record({ do: fc.constant('power' as const), vm: fc.integer({ min: 1, max: 3 }), isOn: fc.boolean() }),
    fc.record({ do: fc.constant('open' as const), vm: fc.integer({ min: 1, max: 3 }), isOn: fc.boolean() }),
    fc.record({
      do: fc.constant('wish' as const),
      vm: fc.integer({ min: 1, max: 3 }),
      pattern: fc.constantFrom('dom0:*', ...places),
    }),
    fc.record({
      do: fc.constant('hold' as const),
      vm: fc.integer({ min: 0, max: 3 }),
      place: fc.constantFrom(...places),
    }),
    fc.record({ do: fc.constant('fail' as const), isOn: fc.boolean() }),
  );
  const events = fc.array(fc.tuple(event, fc.integer({ min: 0, max: 40 })), { maxLength: 20 });
  const delays = fc.record({
    attachMs: fc.nat(30),
    detachMs: fc.nat(60),
    observeMs: fc.nat(30),
    addControllerMs: fc.nat(30),
  });
  await fc.assert(
    fc.asyncProperty(events, delays, async (list, delaysMs) => {
      const { observeMs } = delaysMs;
      const world = new RouterWorld(3, {}, 1);
      Object.assign(world, delaysMs, { maxControllers: 3 });
      const started = world.router.start();
      await world.clock.advance(observeMs);
      await started;
      let plugs = 0;
      for (const [one, ms] of list) {
        if (one.do === 'plug') await world.plug(stick(one.place, { generation: `g${++plugs}` }));
        if (one.do === 'unplug') await world.unplug(one.place);
        if (one.do === 'power') world.power(one.vm, one.isOn);
        if (one.do === 'open') world.setOpen(one.vm, one.isOn);
        if (one.do === 'wish') world.assignments = [...world.assignments, assignment(++plugs, one.vm, one.pattern)];
        if (one.do === 'fail') world.failing = () => one.isOn;
        const held = one.do === 'hold' ? world.devices.get(one.place) : undefined;
        if (one.do === 'hold' && held !== undefined)
          world.holds = [one.vm === 0 ? holdOut(held) : holdIn(held, one.vm)];
        if ('vm' in one && one.vm > 0) world.router.hint({ vm: vmId(one.vm) });
        world.router.hint('wishes');
        await world.clock.advance(ms);
      }
      world.failing = () => false;
      for (let n = 1; n <= 3; n++) world.setOpen(n, true);
      const reconciled = world.router.reconcile();
      await world.clock.advance(2_000);
      await reconciled;
      assert.deepEqual(world.errors, []);
      for (const { device: key, outcome } of world.router.verdicts) {
        const expected = outcome.is === 'attached' ? new RegExp(`^vm${Number(outcome.vm.slice(-4))} \\d-\\d$`) : /^-$/;
        assert.match(world.whereIs(key), expected, `${key}: ${outcomeWord(outcome)}`);
        assert.ok(['attached', 'waiting', 'left'].includes(outcome.is));
      }
      await world.router.close();
    }),
    { numRuns: 40 },
  );
});
