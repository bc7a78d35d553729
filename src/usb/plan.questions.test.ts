import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { questionOf } from '../model/assignment.ts';
import { applySteps } from './foresee.ts';
import { plan } from './plan.ts';
import type { PlanInput } from './plan-types.ts';
import {
  assignment,
  attached,
  haltedVm,
  holdIn,
  outcomeWord,
  runningVm,
  stick,
  vmId,
  type WorldParts,
  wordOf,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');
const asked = (from: number, until: number, ...vms: number[]) => questionOf(device, vms.map(vmId), from, until);
const words = (input: PlanInput) => {
  const { steps, verdicts, wakeAt } = plan(input);
  return { steps: steps.map(wordOf), outcome: outcomeWord(verdicts[0]?.outcome), wakeAt };
};
const planned = (parts: WorldParts) => words(world({ devices: [device], ...parts }));

describe('plan: questions', () => {
  const vms = [runningVm(1), runningVm(2)];
  const assignments = [assignment(1, 1, 'dom0:1-1', 'ask')];

  test('an assignment that asks asks once, and attaches nothing', () => {
    const input = world({ devices: [device], vms, assignments });
    assert.deepEqual(words(input), { steps: ['ask dom0:1-1 vm1'], outcome: 'asking vm1', wakeAt: undefined });
    const next = applySteps(input, plan(input).steps);
    assert.deepEqual(words(next).steps, []);
  });

  test('several VMs that it may go to are one question; a more exact assignment is asked about alone', () => {
    const both = [...assignments, assignment(2, 2, 'dom0:1-1', 'ask')];
    assert.deepEqual(planned({ vms, assignments: both }).steps, ['ask dom0:1-1 vm1 vm2']);
    const exact = [...assignments, assignment(2, 2, 'dom0:1-1:0951:1666:S1:*', 'ask')];
    assert.deepEqual(planned({ vms, assignments: exact }).steps, ['ask dom0:1-1 vm2']);
  });

  test('one that attaches by itself and is as exact, or more, is followed without a question', () => {
    const exact = [...assignments, assignment(2, 2, 'dom0:1-1:0951:1666:S1:*')];
    assert.equal(planned({ vms, assignments: exact }).outcome, 'attaching vm2');
    const less = [...assignments, assignment(2, 2, 'dom0:*')];
    assert.equal(planned({ vms, assignments: less }).outcome, 'asking vm1');
  });

  test('nobody is asked while no VM could have it; the others are not offered', () => {
    assert.deepEqual(planned({ vms: [haltedVm(1)], assignments }).outcome, 'waiting vm1 vm');
    const both = [...assignments, assignment(2, 2, 'dom0:1-1', 'ask')];
    assert.deepEqual(planned({ vms: [haltedVm(1), runningVm(2)], assignments: both }).steps, ['ask dom0:1-1 vm2']);
  });

  test('what is in the VM already stays, and is not asked about', () => {
    const inside = [runningVm(1, [attached(device, 1)]), runningVm(2)];
    assert.deepEqual(planned({ vms: inside, assignments }), { steps: [], outcome: 'attached vm1', wakeAt: undefined });
  });

  test('an open question waits for its end, and then keeps the device out', () => {
    const open = planned({ vms, assignments, questions: [asked(0, 5_000, 1)], wallNow: 4_000, now: 70 });
    assert.deepEqual(open, { steps: [], outcome: 'asking vm1', wakeAt: 1_070 });
    const input = world({ devices: [device], vms, assignments, questions: [asked(0, 5_000, 1)], wallNow: 5_000 });
    assert.deepEqual(words(input).steps, ['endQuestion dom0:1-1 unanswered']);
    const next = applySteps(input, plan(input).steps);
    assert.deepEqual(words(next), { steps: [], outcome: 'left', wakeAt: undefined });
    assert.equal(next.desired.holds[0]?.by, 'silence');
  });

  test('the answer decides, and its question is no longer of interest', () => {
    const holds = [holdIn(device, 1, { by: 'answer' })];
    const { steps, outcome } = planned({ vms, assignments, holds, questions: [asked(0, 2_000_000, 1)] });
    assert.equal(outcome, 'attaching vm1');
    assert.deepEqual(steps, ['endQuestion dom0:1-1 moot', 'attach dom0:1-1 vm1 0-1']);
  });

  test('a question about another plug, or one that nobody wishes any more, is dropped; a new plug is asked about anew', () => {
    const before = { ...asked(0, 2_000_000, 1), generation: 'before' };
    const { steps } = planned({ vms, assignments, questions: [before] });
    assert.deepEqual(steps, ['endQuestion dom0:1-1 moot', 'ask dom0:1-1 vm1']);
    assert.deepEqual(planned({ vms, questions: [asked(0, 2_000_000, 1)] }).steps, ['endQuestion dom0:1-1 moot']);
  });

  test('a backend that cannot be read leaves its questions open', () => {
    const blind = { vms, assignments, questions: [asked(0, 500, 1)], backends: ['virtual'] };
    assert.deepEqual(planned(blind).steps, []);
  });
});
