import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { makeRig, makeRunningRig, observe, type Rig, settle, TIMING } from './testing/rig.ts';

const FILE = '/nowhere/work.save';

/** Has a halted VM hang in a restore that does not listen. */
async function makeStuckRestore(rig = makeRig()) {
  rig.driver.saves.add(FILE);
  const start = rig.driver.hold('start', true);
  const restore = rig.monitor.perform('restore', { file: FILE });
  restore.catch(() => undefined);
  await settle();
  return { rig, start, restore };
}

async function destroyAfterGrace(rig: Rig) {
  const destroy = rig.monitor.perform('destroy');
  await rig.clock.advance(TIMING.giveUpMs);
  return await destroy;
}

test('destroy waits for what it interrupts as long as the grace, and not longer', async () => {
  const { rig, restore } = await makeStuckRestore();
  let isDone = false;
  const destroy = rig.monitor.perform('destroy').then(() => {
    isDone = true;
  });
  await rig.clock.advance(TIMING.giveUpMs - 1);
  assert.deepEqual([rig.monitor.state, isDone], ['restoring', false]);
  await rig.clock.advance(1);
  await destroy;
  await assert.rejects(restore, (error) => isFault(error, 'aborted') && /destroyed meanwhile/.test(error.hint ?? ''));
  assert.deepEqual([rig.monitor.state, rig.memory.wanted, rig.monitor.verb], ['halted', 'halted', undefined]);
  assert.match(rig.warnings.join(), /"restore" of VM work .* left behind/);
  assert.equal(rig.clock.waiting, 0);
});

test('while what was left behind hangs, destroy is the only verb', async () => {
  const { rig, start } = await makeStuckRestore();
  await destroyAfterGrace(rig);
  await assert.rejects(
    rig.monitor.perform('start'),
    (error) => isFault(error, 'vm.busy') && /"restore"/.test(error.message),
  );
  assert.equal((await rig.monitor.perform('destroy')).state, 'halted');
  start.release();
  await settle();
  assert.equal((await rig.monitor.perform('start')).state, 'running');
});

test('a domain that is made late is destroyed, whoever sees it first', async () => {
  for (const isSeenBefore of [false, true]) {
    const { rig, start } = await makeStuckRestore();
    await destroyAfterGrace(rig);
    if (isSeenBefore) {
      rig.driver.run('paused');
      await observe(rig);
    }
    start.release();
    await settle();
    if (isSeenBefore) await observe(rig);
    assert.equal(rig.driver.domain, undefined);
    assert.deepEqual([rig.monitor.state, rig.memory.wanted], ['halted', 'halted']);
    assert.match(rig.warnings.join(), /made a domain after all/);
    rig.driver.run('running');
    await observe(rig);
    assert.equal(rig.monitor.state, 'running', 'what others do later is followed again');
  }
});

test('a late domain is not forgotten when the look at it fails', async () => {
  const { rig, start } = await makeStuckRestore();
  await destroyAfterGrace(rig);
  rig.driver.failOnce('find');
  start.release();
  rig.driver.run('paused');
  await settle();
  await observe(rig);
  assert.deepEqual([rig.monitor.state, rig.driver.domain], ['halted', undefined]);
});

test('what was left behind changes nothing when it ends late', async () => {
  const rig = await makeRunningRig({ onCrash: 'restart' });
  const save = rig.driver.hold('save', true);
  const suspend = rig.monitor.perform('suspend', { file: FILE });
  suspend.catch(() => undefined);
  await settle();
  await destroyAfterGrace(rig);
  const { memory } = rig;
  const changes = rig.changes.length;
  save.release();
  await settle();
  assert.equal(rig.memory, memory);
  assert.equal(rig.changes.length, changes);
  assert.deepEqual(rig.deaths, []);
});

test('a restart by itself that hangs is left behind, too', async () => {
  const rig = await makeRunningRig({ onCrash: 'restart' });
  const start = rig.driver.hold('start', true);
  rig.driver.die({ reason: 'crash' });
  await observe(rig);
  await rig.clock.advance(TIMING.minRestartIntervalMs);
  assert.equal(rig.monitor.state, 'starting');
  assert.equal((await destroyAfterGrace(rig)).state, 'halted');
  start.release();
  await rig.clock.advance(60_000);
  assert.deepEqual([rig.monitor.state, rig.memory.wanted, rig.clock.waiting], ['halted', 'halted', 0]);
});

test('a destroy that hangs is told of after its deadline; the end that comes later is no death', async () => {
  const rig = await makeRunningRig({ onCrash: 'restart' });
  rig.driver.hold('destroy', true);
  const destroy = assert.rejects(rig.monitor.perform('destroy'), (error) => isFault(error, 'timeout'));
  await rig.clock.advance(TIMING.destroyMs);
  await destroy;
  assert.deepEqual([rig.monitor.state, rig.memory.wanted], ['running', 'halted']);
  rig.driver.vanish();
  await observe(rig);
  assert.deepEqual([rig.monitor.state, rig.deaths.length], ['halted', 0]);
});

test('a failed destroy after a verb was left behind comes to rest', async () => {
  const { rig, start } = await makeStuckRestore();
  rig.driver.failOnce('destroy');
  const destroy = assert.rejects(rig.monitor.perform('destroy'), (error) => isFault(error, 'hypervisor.failed'));
  await rig.clock.advance(TIMING.giveUpMs);
  await destroy;
  assert.equal(rig.monitor.state, 'halted');
  start.release();
  await settle();
  assert.deepEqual(
    [rig.monitor.state, rig.memory.wanted],
    ['paused', 'running'],
    'its end was refused: it is followed',
  );
});

test('close leaves behind what hangs, verbs and destroy alike, and nothing is noted after it', async () => {
  for (const isDestroyed of [false, true]) {
    const { rig, start } = await makeStuckRestore();
    const destroy = isDestroyed ? rig.monitor.perform('destroy') : undefined;
    destroy?.catch(() => undefined);
    const stuck = rig.driver.hold('destroy', true);
    let isClosed = false;
    void rig.monitor.close().then(() => {
      isClosed = true;
    });
    await rig.clock.advance(TIMING.giveUpMs);
    assert.ok(isClosed);
    assert.equal(rig.clock.waiting, 0);
    const { memory } = rig;
    start.release();
    stuck.release();
    await settle();
    assert.equal(rig.memory, memory);
    const next = makeRig({ onCrash: 'restart' }, memory, rig.driver);
    next.monitor.adopt(undefined);
    await settle();
    assert.equal(next.monitor.state, 'halted');
  }
});
