import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isFault } from '../lib/fault.ts';
import { isAgreed, VERBS } from './states.ts';
import { makeRig, type Rig, settle } from './testing/rig.ts';

const FILE = '/nowhere/work.save';
const HELD = ['start', 'save', 'destroy', 'find', 'pause'] as const;

/** What may happen to a VM: a verb, a hint, something in the guest, a slow or failing driver, time. */
const happening = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('verb' as const), verb: fc.constantFrom(...VERBS) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('hint' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('death' as const),
      reason: fc.constantFrom('halt' as const, 'reboot' as const, 'crash' as const, 'vanished' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('slow' as const), method: fc.constantFrom(...HELD) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('stuck' as const), method: fc.constantFrom(...HELD) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('failing' as const), method: fc.constantFrom(...HELD) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('deaf' as const), isDeaf: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.integer({ min: 1, max: 5_000 }) }) },
);
type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never;

const action = fc.constantFrom('destroy' as const, 'restart' as const, 'preserve' as const);

test('whatever happens, in the end the state agrees with the domain and the memory with the state', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ onHalt: action, onReboot: action, onCrash: action }),
      fc.array(happening, { maxLength: 20 }),
      async (config, story) => {
        const rig = makeRig(config);
        const { verbs, holds } = await live(rig, story);
        for (const hold of holds) hold.release();
        await comeToRest(rig);
        for (const outcome of await Promise.allSettled(verbs)) {
          if (outcome.status === 'rejected') assert.ok(isFault(outcome.reason), String(outcome.reason));
        }
        const { state } = rig.monitor;
        assert.ok(isAgreed(state, rig.driver.domain), `${state} and ${rig.driver.domain?.run}`);
        assert.equal(rig.memory.suspendFile !== undefined, state === 'suspended');
        if (state === 'running' || state === 'paused') assert.equal(rig.memory.wanted, 'running');
        if (state === 'suspended') assert.ok(rig.driver.saves.has(FILE));
        assert.equal(rig.clock.waiting, 0, 'no timer is left');
        assert.deepEqual(
          rig.warnings.filter((line) => line.startsWith('BUG')),
          [],
        );
      },
    ),
    { numRuns: 150 },
  );
});

async function live(rig: Rig, story: readonly Happening[]) {
  const verbs: Promise<unknown>[] = [];
  const holds: { release(): void }[] = [];
  for (const event of story) {
    switch (event.kind) {
      case 'verb': {
        const verb = rig.monitor.perform(event.verb, { file: FILE });
        verb.catch(() => undefined);
        verbs.push(verb);
        break;
      }
      case 'hint':
        rig.monitor.observe(rig.driver.domain);
        break;
      case 'death':
        if (event.reason === 'vanished') rig.driver.vanish();
        else rig.driver.die({ reason: event.reason });
        break;
      case 'slow':
        holds.push(rig.driver.hold(event.method));
        break;
      case 'stuck':
        holds.push(rig.driver.hold(event.method, true));
        break;
      case 'failing':
        rig.driver.failOnce(event.method);
        break;
      case 'deaf':
        rig.driver.onPowerButton = event.isDeaf ? () => undefined : () => rig.driver.die({ reason: 'halt' });
        break;
      case 'settle':
        await settle();
        break;
      case 'time':
        await rig.clock.advance(event.ms);
        break;
    }
  }
  return { verbs, holds };
}

/** Gives everything the time that it may take, and looks twice: a sweep that fails is followed by another. */
async function comeToRest(rig: Rig): Promise<void> {
  await rig.clock.advance(400_000);
  rig.driver.heal();
  for (let i = 0; i < 2; i++) {
    rig.monitor.observe(rig.driver.domain);
    await rig.clock.advance(60_000);
  }
  await rig.monitor.idle();
}
