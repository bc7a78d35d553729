/** Whatever a plan is made from, and be it what no history could have left; what happens over time is in worlds.property.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { deviceKey } from '../model/usb.ts';
import { applySteps } from './foresee.ts';
import { holdKey, plan } from './plan.ts';
import type { PlanInput } from './plan-types.ts';
import { SWITCH_MS } from './switched.ts';
import { wordOf } from './test-world.ts';
import { checkPlan, checkRest } from './testing/plan-checks.ts';
import { worlds } from './testing/random-worlds.ts';

test('plan: applied again and again it comes to an end, and what it ends in is right', () => {
  fc.assert(
    fc.property(worlds, (start) => {
      // Devices of holds that are gone have been so for long: nobody waits for them to come back as another.
      const goneSince = new Map(start.desired.holds.map((hold) => [holdKey(hold), start.now - 2 * SWITCH_MS]));
      let input: PlanInput = { ...start, goneSince };
      const added: string[] = [];
      for (let round = 0; ; round++) {
        const next = plan(input);
        checkPlan(input, next);
        assert.deepEqual(plan(input).steps, next.steps, 'the same again');
        for (const step of next.steps) if (step.kind === 'addController') added.push(step.vm);
        if (next.steps.length === 0) break;
        assert.ok(round < 12, `still busy: ${next.steps.map(wordOf).join(', ')}`);
        input = applySteps(input, next.steps);
      }
      assert.equal(new Set(added).size, added.length, 'one more controller has ports for all devices that there are');
      const { verdicts } = plan(input);
      for (const { device, outcome } of verdicts) {
        assert.ok(['attached', 'waiting', 'asking', 'left'].includes(outcome.is), `${device} is ${outcome.is}`);
        const places = input.observed.vms.filter(({ domain }) =>
          domain?.attachments.some((one) => deviceKey(one) === device),
        );
        if (outcome.is === 'left') assert.deepEqual(places, []);
        if (outcome.is === 'attached') assert.ok(places.some(({ uuid }) => uuid === outcome.vm));
      }
      // What is asked about waits for its answer here.
      const asked = new Set(verdicts.filter(({ outcome }) => outcome.is === 'asking').map(({ device }) => device));
      const questions = input.desired.questions.filter((question) => !asked.has(deviceKey(question)));
      checkRest({ ...input, desired: { ...input.desired, questions } }, { steps: [], verdicts });
    }),
    { numRuns: 250 },
  );
});
