import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { silentLog } from '../lib/log.ts';
import { EMPTY_POLICY } from '../model/policy.ts';
import { RouterWorld } from './router-world.ts';
import { assignment, attached, holdOut, outcomeWord, stick, vmId } from './test-world.ts';

const device = stick('dom0:1-1');
const KEY = 'dom0:1-1';

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
    await world.restart(1);
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    await world.router.close();
  });

  test('a VM that hangs holds up nobody, loses nothing and is warned about once', async () => {
    const warnings: string[] = [];
    const world = new RouterWorld(2, { log: { ...silentLog, warn: (message) => warnings.push(message) } });
    world.assignments = [assignment(1, 1, 'dom0:1-1'), assignment(2, 2, 'dom0:1-2')];
    await world.start();
    await world.plug(stick('dom0:1-2'));
    world.hanging.add(vmId(2));
    world.router.hint('everything');
    await world.plug(device);
    assert.equal(world.whereIs(KEY), 'vm1 0-1', 'at once');
    await world.clock.advance(5_000);
    assert.deepEqual(warnings, ['VM vm2 cannot be observed']);
    world.router.hint({ vm: vmId(2) });
    await world.clock.advance(5_000);
    assert.equal(warnings.length, 1);
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
    let isBroken = true;
    const orBoom = <T>(value: T) => (isBroken ? boom() : value);
    const broken = new RouterWorld(1, {
      wishes: () => orBoom({ assignments: world.assignments, holds: [], questions: [], policy: EMPTY_POLICY }),
      listVms: () => orBoom([{ uuid: vmId(1), name: 'vm1' }]),
    });
    await broken.start();
    await broken.plug(device);
    assert.deepEqual(broken.router.verdicts, []);
    isBroken = false;
    await broken.clock.advance(30_000);
    await broken.settle();
    assert.equal(broken.whereIs(KEY), 'vm1 0-1', 'by the next sweep');
    await Promise.all([world.router.close(), broken.router.close()]);
  });
});
