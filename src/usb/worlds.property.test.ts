/** Random worlds with everything that may happen in them. `USHER_RUNS=10000` runs more of them than usual. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Hold } from '../model/assignment.ts';
import { deviceKey } from '../model/usb.ts';
import { plan } from './plan.ts';
import { wordOf } from './test-world.ts';
import { ChangingWorld } from './testing/changing-world.ts';
import { checkPlan, checkRest, checkWorld } from './testing/plan-checks.ts';
import { type Fate, histories, PLACES, soundWorlds } from './testing/random-worlds.ts';

const RUNS = Number(process.env['USHER_RUNS'] ?? 500);
const WELL: Fate = { is: 'well', pick: 0 };
/** More rounds than it takes to give back, ask in vain, and try again what failed. */
const MAX_ROUNDS = 12;

test('plan: whatever happens, no device is in two VMs, none is taken that is kept back, and no wish is lost', () => {
  fc.assert(
    fc.property(soundWorlds, histories, (start, history) => {
      const world = new ChangingWorld(start);
      const go = (fate: Fate) => {
        const next = plan(world.input);
        checkPlan(world.input, next);
        world.execute(next, fate);
        checkWorld(world.real, PLACES);
        return next;
      };
      for (const { change, fate } of history) {
        world.apply(change);
        go(fate);
        world.pass(100);
      }
      world.finish();
      let words: string[] = [];
      for (let round = 0; ; round++) {
        const { steps, wakeAt } = go(WELL);
        if (steps.length === 0 && !isDue(wakeAt, world)) break;
        if (steps.length === 0 && wakeAt !== undefined) world.pass(wakeAt - world.input.now);
        words = [...words, ...steps.map(wordOf)];
        assert.ok(round < MAX_ROUNDS, `still busy: ${words.join(', ')}`);
      }
      checkRest(world.input, plan(world.input));
    }),
    { numRuns: RUNS },
  );
});

/** Whether nothing is plugged where a hold's device was. */
function isGone(hold: Hold, { input }: ChangingWorld): boolean {
  return !input.observed.devices.some((device) => deviceKey(device) === deviceKey(hold));
}

/**
 * Whether more is to come by itself: a next try, the end of a question or of a hold whose device is gone. Rules that hold at
 * certain times go on for ever.
 */
function isDue(wakeAt: number | undefined, world: ChangingWorld): boolean {
  const { input } = world;
  if (wakeAt === undefined) return false;
  const { now, memory, desired } = input;
  const isRead = [...desired.questions, ...desired.holds.filter((hold) => isGone(hold, world))].some(({ backend }) =>
    input.observed.backends.has(backend),
  );
  return isRead || [...memory.values()].some(({ retryAt = now }) => retryAt > now);
}
