import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Fault, isFault } from '../lib/fault.ts';
import { POWER_STATES, type PowerState } from '../model/vm.ts';
import { TABLE, VERBS } from './states.ts';
import { makeRig, makeRunningRig, observe, type Rig, settle } from './testing/rig.ts';
import type { VerbArgs } from './verbs.ts';

const FILE = '/nowhere/work.save';

/** Brings a rig into a state of rest, as life does. */
const WAYS: Partial<Record<PowerState, () => Promise<Rig>>> = {
  halted: async () => makeRig(),
  running: () => makeRunningRig(),
  paused: async () => {
    const rig = makeRig();
    await rig.monitor.perform('start', { isPaused: true });
    return rig;
  },
  suspended: async () => {
    const rig = await makeRunningRig();
    await rig.monitor.perform('suspend', { file: FILE });
    return rig;
  },
  crashed: async () => {
    const rig = await makeRunningRig({ onCrash: 'preserve' });
    rig.driver.die({ reason: 'crash' });
    await observe(rig);
    return rig;
  },
};

test('every verb in every state of rest does what the table says, and the domain agrees', async () => {
  for (const state of POWER_STATES) {
    const way = WAYS[state];
    if (way === undefined) continue;
    for (const verb of VERBS) {
      const rig = await way();
      assert.equal(rig.monitor.state, state);
      rig.driver.saves.add(FILE);
      const told = rig.driver.calls.length;
      const done = rig.monitor.perform(verb, { file: FILE });
      const passage = TABLE[state][verb];
      if (passage === undefined) {
        await assert.rejects(done, (error) => isFault(error, 'vm.state'), `${verb} in ${state}`);
        assert.equal(rig.monitor.state, state);
        assert.equal(rig.driver.calls.length, told, 'a refused verb reaches no driver');
      } else {
        assert.equal((await done).state, passage.to, `${verb} in ${state}`);
        const run = { running: 'running', paused: 'paused' }[passage.to as string];
        assert.equal(rig.driver.domain?.run, run, `${verb} in ${state}`);
      }
      assert.equal(rig.monitor.isOpen, ['running', 'paused'].includes(rig.monitor.state));
    }
  }
});

test('verbs take turns, and the state is checked when the turn comes', async () => {
  const rig = makeRig();
  const start = rig.driver.hold('start');
  const verbs = [rig.monitor.perform('start'), rig.monitor.perform('pause'), rig.monitor.perform('pause')];
  await settle();
  assert.equal(rig.monitor.state, 'starting');
  start.release();
  const [first, second, third] = await Promise.allSettled(verbs);
  assert.deepEqual([first?.status, second?.status, third?.status], ['fulfilled', 'fulfilled', 'rejected']);
  assert.deepEqual(rig.driver.calls, ['start', 'pause']);
  assert.deepEqual(
    rig.changes.map(({ from, to, why }) => `${from} ${to} ${why}`),
    ['halted starting start', 'starting running start', 'running paused pause'],
  );
});

test('a VM that was wanted is remembered so before anything is done, and no longer when that fails', async () => {
  const rig = makeRig();
  const start = rig.driver.hold('start');
  rig.driver.fail('start', new Fault('vm.start_failed', { vm: 'work', what: 'no memory' }));
  const done = rig.monitor.perform('start');
  await settle();
  assert.equal(rig.memory.wanted, 'running');
  start.release();
  await assert.rejects(done, (error) => isFault(error, 'vm.start_failed'));
  assert.equal(rig.memory.wanted, 'halted');
  assert.equal(rig.monitor.state, 'halted');
});

test('a start clears what a preserved death left, and adopts instead of killing what runs', async () => {
  const rig = await WAYS.crashed?.();
  assert.ok(rig);
  rig.driver.calls.length = 0;
  await rig.monitor.perform('start');
  assert.deepEqual(rig.driver.calls, ['destroy', 'start']);

  const other = makeRig();
  other.driver.run('running');
  await assert.rejects(other.monitor.perform('start'), (error) => isFault(error, 'vm.state'));
  await settle();
  assert.equal(other.monitor.state, 'running');
  assert.equal(other.memory.wanted, 'running');
  assert.deepEqual(other.driver.calls, []);
});

test('shutdown waits for the death, owns it, and clears what is left', async () => {
  const rig = await makeRunningRig({ onHalt: 'restart', onCrash: 'restart' });
  rig.driver.onPowerButton = () => undefined;
  const done = rig.monitor.perform('shutdown');
  await settle();
  assert.equal(rig.monitor.state, 'stopping');
  assert.equal(rig.memory.wanted, 'halted');
  rig.driver.die({ reason: 'crash' });
  await observe(rig);
  const result = await done;
  assert.equal(result.state, 'halted');
  assert.match(result.warnings.join(), /crashed while it was shutting down/);
  assert.equal(rig.driver.domain, undefined);
  assert.deepEqual(rig.deaths, []);
  assert.equal(rig.clock.waiting, 0, 'no timer is left behind');
});

test('shutdown sees the death though no hint of it comes', async () => {
  const rig = await makeRunningRig();
  rig.driver.onPowerButton = () => undefined;
  const done = rig.monitor.perform('shutdown');
  await settle();
  rig.driver.die({ reason: 'halt' });
  await rig.clock.advance(2_000);
  assert.equal((await done).state, 'halted');
});

test('a guest that died a moment before its shutdown has shut down', async () => {
  const rig = await makeRunningRig({ onHalt: 'restart' });
  rig.driver.die({ reason: 'halt' });
  assert.equal((await rig.monitor.perform('shutdown')).state, 'halted');
  assert.deepEqual(rig.deaths, []);
});

test('a shutdown has a deadline for its delivery and one for its end; the VM goes on running after either', async () => {
  const rig = await makeRunningRig();
  rig.driver.hold('requestShutdown');
  const undelivered = assert.rejects(rig.monitor.perform('shutdown'), (error) => isFault(error, 'timeout'));
  await rig.clock.advance(1_000);
  await undelivered;
  assert.equal(rig.monitor.state, 'running');

  rig.driver.onPowerButton = () => undefined;
  const unfinished = assert.rejects(
    rig.monitor.perform('shutdown', { timeoutMs: 5_000 }),
    (error) => isFault(error, 'vm.shutdown_timeout') && error.message === 'VM work did not shut down within 5 s.',
  );
  await rig.clock.advance(5_000);
  await unfinished;
  assert.equal(rig.monitor.state, 'running');
  assert.equal(rig.memory.wanted, 'running');
  assert.equal(rig.driver.domain?.run, 'running');

  rig.driver.die({ reason: 'halt' });
  await observe(rig);
  assert.deepEqual(
    rig.deaths,
    [{ reason: 'halt', action: 'destroy', detail: undefined }],
    'what comes later is its own',
  );
});

test('restart reads the config again; forced, it asks nobody', async () => {
  const rig = await makeRunningRig();
  rig.reads = 0;
  await rig.monitor.perform('restart');
  assert.deepEqual(rig.driver.calls, ['requestShutdown', 'destroy', 'start']);
  assert.equal(rig.reads, 1);
  rig.driver.calls.length = 0;
  await rig.monitor.perform('restart', { isForced: true });
  assert.deepEqual(rig.driver.calls, ['destroy', 'start']);
  assert.equal(rig.memory.wanted, 'running');

  rig.driver.fail('start', new Fault('vm.start_failed', { vm: 'work', what: 'no memory' }));
  await assert.rejects(rig.monitor.perform('restart'), (error) => isFault(error, 'vm.start_failed'));
  assert.equal(rig.monitor.state, 'halted');
  assert.equal(rig.memory.wanted, 'halted');
});

test('suspend remembers the file once it is whole; a failed one leaves the VM running', async () => {
  const rig = await makeRunningRig();
  const save = rig.driver.hold('save');
  rig.driver.fail('save', new Fault('vm.save_failed', { vm: 'work', file: FILE, what: 'disk full' }));
  const failed = rig.monitor.perform('suspend', { file: FILE });
  await settle();
  assert.equal(rig.monitor.state, 'suspending');
  assert.equal(rig.monitor.isOpen, false);
  assert.equal(rig.memory.suspendFile, undefined);
  save.release();
  await assert.rejects(failed, (error) => isFault(error, 'vm.save_failed'));
  assert.equal(rig.monitor.state, 'running');
  assert.equal(rig.memory.wanted, 'running');

  const result = await rig.monitor.perform('suspend', { file: FILE });
  assert.deepEqual([result.state, result.file, result.bytes], ['suspended', FILE, 100]);
  assert.deepEqual([rig.memory.wanted, rig.memory.suspendFile], ['suspended', FILE]);
});

test('what a save was like is told, and who asked for a live one and got none hears how long it stood still', async () => {
  const rig = await makeRunningRig();
  const stood = async (args: VerbArgs) => {
    const { pausedMs, warnings } = await rig.monitor.perform('checkpoint', { file: FILE, ...args });
    assert.equal(pausedMs, 1_250);
    return warnings;
  };
  assert.deepEqual(await stood({ isLive: true }), []);
  rig.driver.canSaveLive = false;
  assert.deepEqual(await stood({}), []);
  assert.match((await stood({ isLive: true })).join(), /^VM work stood still for 1\.3 s: /);
});

test('a save that would be refused is, before anything is touched', async () => {
  const rig = await makeRunningRig();
  for (const verb of ['suspend', 'checkpoint'] as const) {
    rig.driver.fail('checkSave', new Fault('vm.save_failed', { vm: 'work', file: FILE, what: 'its disk' }));
    const before = () => assert.fail('nothing may leave the VM');
    await assert.rejects(rig.monitor.perform(verb, { file: FILE }, { before }), (error) =>
      isFault(error, 'vm.save_failed'),
    );
    assert.deepEqual([rig.monitor.state, rig.driver.calls], ['running', []]);
  }
});

test('a file that is restored paused stays until the guest runs', async () => {
  const rig = await WAYS.suspended?.();
  assert.ok(rig);
  const { warnings } = await rig.monitor.perform('restore', { isPaused: true });
  assert.match(warnings.join(), /stays, for the guest does not run yet/);
  assert.ok(rig.driver.saves.has(FILE));
});

test('a paused VM is paused again after a failed suspend, and suspend needs a file', async () => {
  const rig = await WAYS.paused?.();
  assert.ok(rig);
  rig.driver.fail('save', new Fault('vm.save_failed', { vm: 'work', file: FILE, what: 'disk full' }));
  await assert.rejects(rig.monitor.perform('suspend', { file: FILE }), (error) => isFault(error, 'vm.save_failed'));
  assert.equal(rig.monitor.state, 'paused');
  await assert.rejects(rig.monitor.perform('suspend'), (error) => isFault(error, 'params.invalid'));
});

test('restore deletes the file when the guest goes on, unless it is kept; start restores too', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-monitor-'));
  try {
    const file = join(folder, 'work.save');
    const exists = () =>
      stat(file).then(
        () => true,
        () => false,
      );
    for (const { verb, isKept } of [
      { verb: 'restore', isKept: true },
      { verb: 'restore' },
      { verb: 'start' },
    ] as const) {
      const rig = await makeRunningRig();
      await rig.monitor.perform('suspend', { file });
      await writeFile(file, 'state');
      rig.changes.length = 0;
      const unpause = rig.driver.hold('unpause');
      const done = rig.monitor.perform(verb, isKept ? { isKept } : {});
      await settle();
      assert.equal(rig.memory.suspendFile, undefined, 'forgotten before the first instruction');
      assert.equal(await exists(), true, 'not deleted before it runs');
      unpause.release();
      assert.equal((await done).state, 'running');
      assert.deepEqual(
        rig.changes.map(({ to }) => to),
        ['restoring', 'running'],
      );
      assert.equal(await exists(), isKept === true);
      assert.equal(rig.driver.domain?.run, 'running');
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a failed restore leaves the VM suspended; a halted VM needs a file', async () => {
  const rig = await WAYS.suspended?.();
  assert.ok(rig);
  rig.driver.fail('start', new Fault('vm.save_invalid', { file: FILE, what: 'its head is cut' }));
  await assert.rejects(rig.monitor.perform('restore'), (error) => isFault(error, 'vm.save_invalid'));
  assert.deepEqual([rig.monitor.state, rig.memory.wanted, rig.memory.suspendFile], ['suspended', 'suspended', FILE]);
  assert.ok(rig.driver.saves.has(FILE));
  await assert.rejects(makeRig().monitor.perform('restore'), (error) => isFault(error, 'params.invalid'));

  await rig.monitor.perform('restore', { isPaused: true });
  assert.equal(rig.monitor.state, 'paused');
  assert.equal(rig.driver.domain?.run, 'paused');
});

test('devices may not move while a checkpoint is written, and may again after it', async () => {
  const rig = await makeRunningRig();
  const save = rig.driver.hold('save');
  const done = rig.monitor.perform('checkpoint', { file: FILE }, { after: async () => assert.ok(rig.monitor.isOpen) });
  await settle();
  assert.deepEqual([rig.monitor.state, rig.monitor.isOpen], ['running', false]);
  save.release();
  assert.deepEqual((await done).warnings, []);
  assert.equal(rig.monitor.isOpen, true);
});

test('what is to be done before runs in the turn, after the check, and fails the verb', async () => {
  const rig = await makeRunningRig();
  const seen: string[] = [];
  const before = async () => {
    seen.push(rig.monitor.state, String(rig.driver.calls.length));
    throw new Fault('usb.detach_failed', { device: 'virtual:1-2', vm: 'work', what: 'the guest holds it' });
  };
  await assert.rejects(rig.monitor.perform('suspend', { file: FILE }, { before }), /virtual:1-2/);
  assert.deepEqual(seen, ['suspending', '0']);
  assert.equal(rig.monitor.state, 'running');
  await assert.rejects(rig.monitor.perform('start', {}, { before }), (error) => isFault(error, 'vm.state'));
  assert.equal(seen.length, 2, 'not run for a refused verb');

  const after = () => Promise.reject(new Error('not attached again'));
  assert.deepEqual((await rig.monitor.perform('pause', {}, { after })).warnings, ['not attached again']);
});

test('who gives up while waiting hears of it at once and nothing is done', async () => {
  const rig = makeRig();
  const start = rig.driver.hold('start');
  const first = rig.monitor.perform('start');
  const control = new AbortController();
  const second = rig.monitor.perform('pause', {}, { signal: control.signal });
  control.abort();
  await assert.rejects(second, { code: 'aborted', message: '"pause" of VM work was given up.' });
  start.release();
  assert.equal((await first).state, 'running');
  assert.deepEqual(rig.driver.calls, ['start']);
});

test('a monitor that is closed gives up and refuses, and the domain stays', async () => {
  const rig = await makeRunningRig();
  rig.driver.hold('save');
  const suspend = assert.rejects(rig.monitor.perform('suspend', { file: FILE }), (error) => isFault(error, 'aborted'));
  await settle();
  await rig.monitor.close();
  await suspend;
  assert.equal(rig.driver.domain?.run, 'running');
  await assert.rejects(rig.monitor.perform('pause'), (error) => isFault(error, 'daemon.stopping'));
});
