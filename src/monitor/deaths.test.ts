import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault, isFault } from '../lib/fault.ts';
import { makeRig, makeRunningRig, observe, type Rig, settle, TIMING, UUID } from './testing/rig.ts';

const FILE = '/nowhere/work.save';

const why = (rig: Rig) => rig.changes.map(({ to, why }) => `${to} (${why})`);

test('each death goes to its action', async () => {
  const cases = [
    { reason: 'halt', config: { onHalt: 'destroy' }, state: 'halted', run: undefined },
    { reason: 'halt', config: { onHalt: 'restart' }, state: 'running', run: 'running' },
    { reason: 'halt', config: { onHalt: 'preserve' }, state: 'halted', run: 'dead' },
    { reason: 'reboot', config: { onReboot: 'destroy' }, state: 'halted', run: undefined },
    { reason: 'reboot', config: { onReboot: 'restart' }, state: 'running', run: 'running' },
    { reason: 'reboot', config: { onReboot: 'preserve' }, state: 'halted', run: 'dead' },
    { reason: 'crash', config: { onCrash: 'destroy' }, state: 'halted', run: undefined },
    { reason: 'crash', config: { onCrash: 'restart' }, state: 'running', run: 'running' },
    { reason: 'crash', config: { onCrash: 'preserve' }, state: 'crashed', run: 'dead' },
    { reason: 'vanished', config: { onCrash: 'destroy' }, state: 'halted', run: undefined },
    { reason: 'vanished', config: { onCrash: 'restart' }, state: 'running', run: 'running' },
    { reason: 'vanished', config: { onCrash: 'preserve' }, state: 'crashed', run: undefined },
    { reason: 'suspend', config: { onHalt: 'destroy' }, state: 'halted', run: undefined },
  ] as const;
  for (const { reason, config, state, run } of cases) {
    const rig = await makeRunningRig(config);
    if (reason === 'vanished') rig.driver.vanish();
    else rig.driver.die({ reason, detail: 'because' });
    await observe(rig);
    await rig.clock.advance(TIMING.minRestartIntervalMs);
    const [action] = Object.values(config);
    assert.equal(rig.monitor.state, state, `${reason} ${action}`);
    assert.equal(rig.driver.domain?.run, run, `${reason} ${action}`);
    const detail = reason === 'vanished' ? undefined : 'because';
    assert.deepEqual(rig.deaths, [{ reason, action, detail }]);
    assert.deepEqual(rig.warnings, []);
    await observe(rig);
    assert.equal(rig.deaths.length, 1, 'the same death is handled once');
  }
});

test('a restart waits for the least interval since the last start, and no longer', async () => {
  const rig = await makeRunningRig({ onCrash: 'restart' });
  rig.driver.die({ reason: 'crash' });
  await observe(rig);
  assert.equal(rig.monitor.state, 'starting');
  await rig.clock.advance(1_999);
  assert.deepEqual(rig.driver.calls, ['destroy']);
  rig.reads = 0;
  rig.config = { ...rig.config, memoryMiB: 128 };
  await rig.clock.advance(1);
  assert.equal(rig.monitor.state, 'running');
  assert.equal(rig.reads, 1, 'the config is read again');
  assert.deepEqual(why(rig), [
    'stopping (crash, onCrash=restart)',
    'starting (crash, onCrash=restart)',
    'running (crash, onCrash=restart)',
  ]);
  await rig.clock.advance(3_000);
  rig.driver.vanish();
  await observe(rig);
  assert.equal(rig.monitor.state, 'running', 'long enough ago');
});

test('a crash loop ends with the VM crashed, its remains kept and a warning; a person may start it again', async () => {
  const rig = await makeRunningRig({ onCrash: 'restart' });
  for (let i = 0; i <= TIMING.maxRestarts; i++) {
    assert.equal(rig.monitor.state, 'running');
    rig.driver.die({ reason: 'crash' });
    await observe(rig);
    await rig.clock.advance(TIMING.minRestartIntervalMs);
  }
  assert.equal(rig.monitor.state, 'crashed');
  assert.equal(rig.driver.domain?.run, 'dead');
  assert.equal(rig.memory.wanted, 'halted');
  assert.match(rig.warnings.join(), /started again 3 times within 60 s and died each time/);
  assert.equal(rig.clock.waiting, 0);

  await rig.monitor.perform('start');
  rig.driver.die({ reason: 'crash' });
  await observe(rig);
  await rig.clock.advance(TIMING.minRestartIntervalMs);
  assert.equal(rig.monitor.state, 'running', 'counted anew');
});

test('crashes that are far apart are no loop', async () => {
  const rig = await makeRunningRig({ onCrash: 'restart' });
  for (let i = 0; i < 3 * TIMING.maxRestarts; i++) {
    await rig.clock.advance(TIMING.restartWindowMs / TIMING.maxRestarts + 1);
    rig.driver.die({ reason: 'crash' });
    await observe(rig);
    assert.equal(rig.monitor.state, 'running');
  }
});

test('a restart that fails is tried again until it is enough', async () => {
  const rig = await makeRunningRig({ onCrash: 'restart' });
  const fault = new Fault('vm.start_failed', { vm: 'work', what: 'no memory' });
  rig.driver.fail('start', fault);
  rig.driver.vanish();
  await observe(rig);
  await rig.clock.advance(2 * TIMING.minRestartIntervalMs);
  assert.equal(rig.monitor.state, 'running');
  assert.equal(rig.warnings.length, 1);

  for (let i = 0; i < TIMING.maxRestarts; i++) rig.driver.fail('start', fault);
  rig.driver.vanish();
  await observe(rig);
  await rig.clock.advance(5 * TIMING.minRestartIntervalMs);
  assert.equal(rig.monitor.state, 'crashed');
  assert.equal(rig.memory.wanted, 'halted');
});

test('a config that cannot be read preserves the dead', async () => {
  const rig = await makeRunningRig({ onCrash: 'destroy' });
  Object.defineProperty(rig, 'config', {
    get: () => {
      throw new Fault('config.invalid', { what: 'work.cfg:3: what is this' });
    },
  });
  rig.driver.die({ reason: 'crash' });
  await observe(rig);
  assert.equal(rig.monitor.state, 'crashed');
  assert.equal(rig.driver.domain?.run, 'dead');
  assert.match(rig.warnings.join(), /work\.cfg:3/);
});

test('remains that cannot be cleared leave the VM crashed', async () => {
  const rig = await makeRunningRig({ onHalt: 'destroy' });
  rig.driver.fail('destroy', new Fault('hypervisor.failed', { what: 'no' }));
  rig.driver.die({ reason: 'halt' });
  await observe(rig);
  assert.equal(rig.monitor.state, 'crashed');
  await rig.monitor.perform('destroy');
  assert.equal(rig.monitor.state, 'halted');
});

test('destroy overtakes start, suspend, shutdown and a restart by itself', async () => {
  const begin: Record<string, (rig: Rig) => Promise<unknown> | undefined> = {
    start: (rig) => {
      rig.driver.hold('start');
      return rig.monitor.perform('start');
    },
    suspend: (rig) => {
      rig.driver.hold('save');
      return rig.monitor.perform('suspend', { file: FILE });
    },
    shutdown: (rig) => {
      rig.driver.onPowerButton = () => undefined;
      return rig.monitor.perform('shutdown');
    },
    restoring: (rig) => {
      rig.driver.hold('start');
      rig.driver.saves.add(FILE);
      return rig.monitor.perform('restore', { file: FILE });
    },
    dying: (rig) => {
      rig.driver.die({ reason: 'crash' });
      rig.monitor.observe(rig.driver.domain);
      return undefined;
    },
  };
  for (const [name, verb] of Object.entries(begin)) {
    const isDown = name === 'start' || name === 'restoring';
    const rig = isDown ? makeRig() : await makeRunningRig({ onCrash: 'restart' });
    const overtaken = verb(rig);
    const waiting = rig.monitor.perform('checkpoint', { file: FILE });
    const both = [overtaken, waiting].map(
      (verb) =>
        verb &&
        assert.rejects(verb, (error) => isFault(error, 'aborted') && error.hint === 'The VM was destroyed meanwhile.'),
    );
    await settle();
    const destroyed = await rig.monitor.perform('destroy');
    await Promise.all(both);
    assert.equal(destroyed.state, 'halted', name);
    assert.equal(rig.driver.domain, undefined, name);
    assert.deepEqual([rig.memory.wanted, rig.memory.suspendFile], ['halted', undefined], name);
    await rig.clock.advance(60_000);
    assert.equal(rig.monitor.state, 'halted', name);
    assert.equal(rig.clock.waiting, 0, name);
    assert.deepEqual(rig.warnings, [], name);
  }
});

test('a destroy that fails leaves things as they are', async () => {
  const rig = await makeRunningRig();
  rig.driver.fail('destroy', new Fault('hypervisor.failed', { what: 'no' }));
  await assert.rejects(rig.monitor.perform('destroy'), (error) => isFault(error, 'hypervisor.failed'));
  assert.equal(rig.monitor.state, 'running');
  assert.equal(rig.memory.wanted, 'running');
});

test('a death while suspending fails the verb and goes to its action', async () => {
  const rig = await makeRunningRig({ onCrash: 'restart' });
  const save = rig.driver.hold('save');
  const suspend = rig.monitor.perform('suspend', { file: FILE });
  await settle();
  rig.driver.die({ reason: 'crash', detail: 'panic' });
  await observe(rig);
  assert.deepEqual(rig.deaths, [], 'the verb owns the domain while it goes on');
  save.release();
  await assert.rejects(suspend, { code: 'vm.died', message: 'VM work died while "suspend" was going on: panic.' });
  await rig.clock.advance(TIMING.minRestartIntervalMs);
  assert.deepEqual(
    rig.deaths.map(({ reason }) => reason),
    ['crash'],
  );
  assert.equal(rig.monitor.state, 'running');
  assert.equal(rig.memory.suspendFile, undefined);
});

test('a save that is whole counts though ending the domain failed', async () => {
  const rig = await makeRunningRig();
  const { driver } = rig;
  const save = driver.save.bind(driver);
  driver.save = async (uuid, path, options) => {
    await save(uuid, path, { ...options, afterwards: 'running' });
    driver.run('paused');
    throw new Fault('hypervisor.lost', { vm: 'work', what: 'closed' });
  };
  assert.equal((await rig.monitor.perform('suspend', { file: FILE })).state, 'suspended');
  assert.equal(driver.domain, undefined);
  assert.equal(rig.memory.suspendFile, FILE);
});

test('an old observation changes nothing', async () => {
  const rig = await makeRunningRig({ onCrash: 'restart' });
  const old = rig.driver.domain;
  await rig.monitor.perform('destroy');
  rig.monitor.observe(old);
  await settle();
  assert.equal(rig.monitor.state, 'halted');
  await rig.monitor.perform('start');
  rig.monitor.observe(undefined);
  await settle();
  assert.equal(rig.monitor.state, 'running');
  assert.deepEqual(rig.deaths, []);
});

test('what others do to the domain is followed', async () => {
  const rig = makeRig();
  rig.driver.run('running');
  await observe(rig);
  assert.deepEqual([rig.monitor.state, rig.memory.wanted], ['running', 'running']);
  await rig.driver.pause(UUID);
  await observe(rig);
  assert.equal(rig.monitor.state, 'paused');
  rig.driver.run('saving');
  await observe(rig);
  assert.equal(rig.monitor.state, 'suspending');
  assert.equal(rig.monitor.isOpen, false);
  rig.driver.run('running');
  await observe(rig);
  assert.equal(rig.monitor.state, 'running');
});

test('a bug in the care for a VM is logged and the monitor lives on', async () => {
  const rig = await makeRunningRig();
  rig.driver.fail('find', new TypeError('oops'));
  rig.driver.vanish();
  await observe(rig);
  assert.match(rig.warnings.join(), /^BUG: .*oops/);
  await observe(rig);
  assert.equal(rig.monitor.state, 'halted');
});

test('a look that was given up by destroy does not blind the monitor', async () => {
  const rig = await makeRunningRig({ onCrash: 'destroy' });
  const pause = rig.driver.hold('pause');
  const verbs = [rig.monitor.perform('pause'), rig.monitor.perform('checkpoint', { file: FILE })];
  rig.driver.hold('save');
  await settle();
  rig.monitor.observe(undefined);
  pause.release();
  await settle();
  await Promise.allSettled([rig.monitor.perform('destroy'), ...verbs]);
  await rig.monitor.perform('start');
  rig.driver.vanish();
  await observe(rig);
  assert.deepEqual([rig.monitor.state, rig.deaths.length], ['halted', 1]);
});

test('a save is forgotten when the guest runs on after all', async () => {
  const rig = await makeRunningRig();
  const { driver } = rig;
  const save = driver.save.bind(driver);
  driver.save = async (uuid, path, options) => {
    await save(uuid, path, { ...options, afterwards: 'running' });
    throw new Fault('vm.save_failed', { vm: 'work', file: path, what: 'it could not be stopped' });
  };
  await assert.rejects(rig.monitor.perform('suspend', { file: FILE }), (error) => isFault(error, 'vm.save_failed'));
  assert.deepEqual([rig.monitor.state, rig.memory.wanted, rig.memory.suspendFile], ['running', 'running', undefined]);
});

test('a driver that keeps the file to itself until the end is believed at the end', async () => {
  const rig = await makeRunningRig();
  const { driver } = rig;
  const save = driver.save.bind(driver);
  driver.save = (uuid, path, options) => save(uuid, path, { ...options, onWritten: undefined });
  await rig.monitor.perform('suspend', { file: FILE });
  assert.deepEqual([rig.memory.wanted, rig.memory.suspendFile], ['suspended', FILE]);
});
