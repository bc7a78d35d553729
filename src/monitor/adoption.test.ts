import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DeathReason, Domain } from '../hypervisor/driver.ts';
import { judgeAdoption } from './adoption.ts';
import { isAgreed, type Verb } from './states.ts';
import {
  BOOT,
  makeRig,
  makeRunningRig,
  observe,
  type Rig,
  ScriptedDriver,
  settle,
  TIMING,
  UUID,
} from './testing/rig.ts';

const FILE = '/nowhere/work.save';

function domain(run: 'running' | 'paused' | 'saving' | DeathReason): Domain {
  const rest = { uuid: UUID, name: 'work', handle: 1, controllers: [], attachments: [] };
  if (run === 'running' || run === 'paused' || run === 'saving') return { ...rest, run };
  return { ...rest, run: 'dead', death: { reason: run } };
}

test('what is found and what was noted make the state', () => {
  const cases = [
    // domain, wanted, boot, save file -> state, what is still to be done
    ['running', 'running', BOOT, undefined, 'running', undefined],
    ['running', 'halted', BOOT, undefined, 'running', undefined],
    ['running', 'suspended', BOOT, FILE, 'running', undefined],
    ['running', 'running', BOOT, FILE, 'running', undefined],
    ['paused', 'running', BOOT, undefined, 'paused', undefined],
    ['paused', 'running', BOOT, FILE, 'paused', undefined],
    ['paused', 'suspended', BOOT, FILE, 'suspending', 'clear-remains'],
    ['saving', 'running', BOOT, undefined, 'suspending', undefined],
    ['saving', 'suspended', BOOT, FILE, 'suspending', 'clear-remains'],
    ['suspend', 'suspended', BOOT, FILE, 'suspending', 'clear-remains'],
    ['crash', 'running', BOOT, undefined, 'halted', 'handle-death'],
    ['halt', 'running', BOOT, undefined, 'halted', 'handle-death'],
    ['reboot', 'running', BOOT, undefined, 'halted', 'handle-death'],
    ['halt', 'halted', BOOT, undefined, 'stopping', 'clear-remains'],
    [undefined, 'running', BOOT, undefined, 'halted', 'handle-death'],
    [undefined, 'running', 'another', undefined, 'halted', undefined],
    [undefined, 'halted', BOOT, undefined, 'halted', undefined],
    [undefined, 'suspended', BOOT, FILE, 'suspended', undefined],
    [undefined, 'suspended', 'another', FILE, 'suspended', undefined],
    [undefined, 'running', BOOT, FILE, 'suspended', undefined],
    // A restore that was cut off.
    [undefined, 'restored', BOOT, undefined, 'halted', undefined],
    [undefined, 'restored', BOOT, FILE, 'suspended', undefined],
    [undefined, 'restored', 'another', FILE, 'suspended', undefined],
    ['paused', 'restored', BOOT, undefined, 'paused', undefined],
    ['paused', 'restored', BOOT, FILE, 'paused', undefined],
    ['vanished', 'restored', BOOT, undefined, 'stopping', 'clear-remains'],
    ['crash', 'restored', BOOT, FILE, 'suspending', 'clear-remains'],
  ] as const;
  for (const [run, wanted, wantedBoot, suspendFile, state, todo] of cases) {
    const memory = { wanted, wantedBoot, ...(suspendFile === undefined ? {} : { suspendFile }) };
    const found = judgeAdoption(run === undefined ? undefined : domain(run), memory, BOOT);
    const about = `${run} ${wanted} ${wantedBoot} ${suspendFile}`;
    assert.deepEqual([found.state, found.todo], [state, todo], about);
  }
});

test('a death that happened while nobody looked goes to its action', async () => {
  for (const isLeft of [true, false]) {
    const rig = makeRig({ onCrash: 'restart' }, { wanted: 'running' });
    if (isLeft) rig.driver.domain = domain('crash');
    rig.monitor.adopt(rig.driver.domain);
    await settle();
    assert.equal(rig.monitor.state, 'running', 'at once: it is not known when it was started');
    assert.deepEqual(
      rig.deaths.map(({ reason }) => reason),
      [isLeft ? 'crash' : 'vanished'],
    );
  }
});

test('after a reboot of the host nothing has died', async () => {
  const rig = makeRig({ onCrash: 'restart' }, { wanted: 'running', wantedBoot: 'before' });
  rig.monitor.adopt(undefined);
  await settle();
  assert.deepEqual([rig.monitor.state, rig.deaths.length], ['halted', 0]);
});

test('a save that a former daemon began is waited for', async () => {
  const rig = makeRig({}, { wanted: 'running' });
  rig.driver.run('saving');
  rig.monitor.adopt(rig.driver.domain);
  assert.equal(rig.monitor.state, 'suspending');
  await assert.rejects(rig.monitor.perform('pause'), /is suspending/);
  rig.driver.run('running');
  await observe(rig);
  assert.equal(rig.monitor.state, 'running');
});

test('a save that is whole but was not noted is not lost', async () => {
  const rig = makeRig({ onHalt: 'destroy' }, { wanted: 'running' });
  rig.driver.domain = { ...domain('suspend'), death: { reason: 'suspend', savedTo: FILE } };
  rig.monitor.adopt(rig.driver.domain);
  await settle();
  assert.deepEqual([rig.monitor.state, rig.memory.wanted, rig.memory.suspendFile], ['suspended', 'suspended', FILE]);
  assert.equal(rig.driver.domain, undefined);
  assert.deepEqual(rig.deaths, []);
});

test('a save file that the guest has outlived is forgotten, with a warning', () => {
  const rig = makeRig({}, { wanted: 'running', suspendFile: FILE });
  rig.driver.run('running');
  rig.monitor.adopt(rig.driver.domain);
  assert.equal(rig.memory.suspendFile, undefined);
  assert.match(rig.warnings.join(), /was left/);
});

test('a restore that was cut off is no cold boot: the VM is as it was before, with a warning', async () => {
  for (const remains of [undefined, domain('vanished')]) {
    for (const suspendFile of [undefined, FILE]) {
      const memory = { wanted: 'restored' as const, ...(suspendFile === undefined ? {} : { suspendFile }) };
      const rig = makeRig({ onCrash: 'restart' }, memory);
      rig.driver.domain = remains;
      rig.monitor.adopt(remains);
      await settle();
      const state = suspendFile === undefined ? 'halted' : 'suspended';
      assert.deepEqual([rig.monitor.state, rig.memory.wanted, rig.memory.suspendFile], [state, state, suspendFile]);
      assert.equal(rig.driver.domain, undefined);
      assert.deepEqual(rig.deaths, []);
      assert.match(rig.warnings.join(), /restore was cut off/);
    }
  }
});

/** Has a daemon be killed at each point of a verb, and the next one adopt what it finds. */
async function killEverywhere(
  verb: Verb,
  prepare: () => Promise<Rig>,
  check: (next: Rig, point: number) => void,
): Promise<void> {
  for (let point = 1; ; point++) {
    const rig = await prepare();
    rig.driver.points = 0;
    rig.driver.killAt = point;
    let isDone = false;
    rig.monitor.perform(verb, { file: FILE }).then(
      () => {
        isDone = true;
      },
      () => undefined,
    );
    await settle();
    if (isDone) return assert.ok(point > 1, 'there was a point at all');
    rig.driver.killAt = Number.POSITIVE_INFINITY;
    const next = makeRig({ onCrash: 'restart', onHalt: 'destroy' }, rig.memory, rig.driver);
    next.memory = rig.memory;
    next.monitor.adopt(next.driver.domain);
    await settle();
    await next.clock.advance(TIMING.minRestartIntervalMs);
    const about = `${verb} killed at point ${point}: ${next.monitor.state}`;
    assert.ok(isAgreed(next.monitor.state, next.driver.domain), about);
    assert.equal(next.memory.suspendFile !== undefined, next.monitor.state === 'suspended', about);
    assert.deepEqual(
      next.warnings.filter((line) => line.startsWith('BUG')),
      [],
      about,
    );
    check(next, point);
  }
}

test('a daemon that is killed anywhere in a verb leaves what the next one understands', async () => {
  const halted = async () => makeRig();
  const running = () => makeRunningRig();
  const suspended = async () => {
    const rig = await makeRunningRig();
    await rig.monitor.perform('suspend', { file: FILE });
    return rig;
  };
  const isOneOf =
    (...states: string[]) =>
    (next: Rig, point: number) =>
      assert.ok(states.includes(next.monitor.state), `${next.monitor.state} at point ${point}`);
  const livesOn =
    (...states: string[]) =>
    (next: Rig, point: number) => {
      isOneOf(...states)(next, point);
      assert.deepEqual(next.deaths, [], 'no guest was lost');
    };
  await killEverywhere('start', halted, isOneOf('halted', 'running'));
  await killEverywhere('shutdown', running, livesOn('running', 'halted'));
  await killEverywhere('destroy', running, livesOn('running', 'halted'));
  await killEverywhere('restart', running, isOneOf('running', 'halted'));
  await killEverywhere('suspend', running, livesOn('running', 'suspended'));
  await killEverywhere('checkpoint', running, livesOn('running'));
  await killEverywhere('restore', suspended, livesOn('suspended', 'paused', 'running'));
  const restorable = async () => {
    const rig = makeRig();
    rig.driver.saves.add(FILE);
    return rig;
  };
  await killEverywhere('restore', restorable, (next, point) => {
    livesOn('halted', 'paused', 'running')(next, point);
    assert.ok(next.driver.calls.filter((call) => call === 'start').length <= 1, 'no cold boot');
    if (next.monitor.state === 'halted') assert.match(next.warnings.join(), /restore was cut off/);
  });
  await killEverywhere('start', suspended, livesOn('suspended', 'paused', 'running'));
  await killEverywhere('destroy', suspended, livesOn('halted'));
});

test('a new monitor makes of a rested one what that one was', async () => {
  const driver = new ScriptedDriver();
  const rig = makeRig({}, {}, driver);
  for (const verb of ['start', 'pause', 'unpause', 'suspend', 'restore', 'shutdown'] as const) {
    await rig.monitor.perform(verb, { file: FILE });
    const next = makeRig({}, rig.memory, driver);
    next.monitor.adopt(driver.domain);
    assert.equal(next.monitor.state, rig.monitor.state, verb);
    assert.deepEqual(next.memory, rig.memory, verb);
  }
});
