import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatRuleRef, type Policy, type Rule } from '../model/policy.ts';
import { explain } from './explain.ts';
import { plan } from './plan.ts';
import {
  assignment,
  attached,
  haltedVm,
  holdIn,
  holdOut,
  outcomeWord,
  planned,
  runningVm,
  stick,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');
const policy = (rules: readonly Rule[], mode: Policy['mode'] = 'enforce'): Policy => ({ mode, rules, expect: [] });
const sticks: Rule = {
  name: 'sticks',
  match: { class: { any: ['storage'] } },
  action: { do: 'attach', vm: 'vm1' },
  line: 3,
};
const denied: Rule = { match: { class: { any: ['storage'] } }, action: { do: 'deny', reason: 'no storage' }, line: 9 };
const vms = [runningVm(1), runningVm(2)];

describe('plan: rules', () => {
  test('the first rule that matches attaches; others are not asked', () => {
    const { steps, outcome } = planned({ devices: [device], vms, policy: policy([sticks, denied]) });
    assert.deepEqual([steps, outcome], [['attach dom0:1-1 vm1 0-1'], 'attaching vm1']);
    assert.deepEqual(planned({ devices: [device], vms, policy: policy([denied, sticks]) }).steps, []);
  });

  test('a hand and an assignment go before rules, and what others attached stays', () => {
    const rules = policy([sticks]);
    const byHand = planned({ devices: [device], vms, holds: [holdIn(device, 2)], policy: rules });
    assert.equal(byHand.outcome, 'attaching vm2');
    assert.equal(planned({ devices: [device], vms, holds: [holdOut(device)], policy: rules }).outcome, 'left');
    const assigned = planned({ devices: [device], vms, assignments: [assignment(1, 2, 'dom0:*')], policy: rules });
    assert.equal(assigned.outcome, 'attaching vm2');
    const foreign = [runningVm(1), runningVm(2, [{ ...attached(device, 2), isForeign: true }])];
    assert.equal(planned({ devices: [device], vms: foreign, policy: rules }).outcome, 'attached vm2');
  });

  test('an assignment that only waits for a command leaves it to the rules', () => {
    const assignments = [assignment(1, 2, 'dom0:*', 'manual')];
    assert.equal(planned({ devices: [device], vms, assignments, policy: policy([sticks]) }).outcome, 'attaching vm1');
  });

  test('what a rule attached leaves when the rule is gone, and stays while it holds', () => {
    const inside = [runningVm(1, [attached(device, 1)])];
    assert.deepEqual(planned({ devices: [device], vms: inside, policy: policy([sticks]) }).steps, []);
    assert.deepEqual(planned({ devices: [device], vms: inside, policy: policy([denied]) }).steps, [
      'detach dom0:1-1 vm1 0-1',
    ]);
  });

  test('it waits for a VM that does not run; for one that there is not it stays where it is, and no later rule has it', () => {
    assert.equal(
      planned({ devices: [device], vms: [haltedVm(1)], policy: policy([sticks]) }).outcome,
      'waiting vm1 vm',
    );
    const misspelt: Rule = { ...sticks, action: { do: 'attach', vm: 'vm7' } };
    const { steps, outcome } = planned({ devices: [device], vms, policy: policy([misspelt, sticks]) });
    assert.deepEqual([steps, outcome], [[], 'left']);
  });

  test('a rule that asks has a person asked', () => {
    const asking: Rule = { ...sticks, action: { do: 'ask', vms: ['vm1', 'vm2'] } };
    assert.deepEqual(planned({ devices: [device], vms, policy: policy([asking]) }).steps, ['ask dom0:1-1 vm1 vm2']);
    const inside = [runningVm(1), runningVm(2, [attached(device, 2)])];
    assert.equal(planned({ devices: [device], vms: inside, policy: policy([asking]) }).outcome, 'attached vm2');
  });

  test('at most so many by one rule', () => {
    const devices = [device, stick('dom0:1-2', { serial: 'S2' }), stick('dom0:1-3', { serial: 'S3' })];
    const few: Rule = { ...sticks, when: { atMost: 2 } };
    const { steps } = planned({ devices, vms, policy: policy([few]) });
    assert.deepEqual(steps, ['attach dom0:1-1 vm1 0-1', 'attach dom0:1-2 vm1 0-2']);
    const foreign = [runningVm(1, [{ ...attached(device, 1), isForeign: true }])];
    const besides = planned({ devices, vms: foreign, policy: policy([few]) });
    assert.deepEqual(besides.steps, ['attach dom0:1-2 vm1 0-2', 'attach dom0:1-3 vm1 0-3'], 'what others attached');
  });

  test('a policy that observes moves nothing, and tells what it would', () => {
    const input = world({ devices: [device], vms, policy: policy([sticks], 'observe') });
    const { steps, verdicts } = plan(input);
    assert.deepEqual(steps, []);
    const [verdict] = verdicts;
    assert.equal(outcomeWord(verdict?.outcome), 'left');
    assert.equal(verdict?.policy?.rule && formatRuleRef(verdict.policy.rule), 'rule 1 "sticks" (line 3)');
    assert.match(
      explain(input, 'dom0:1-1')?.because.join(' ') ?? '',
      /only observed: rule 1 "sticks" \(line 3\) says vm1/,
    );
  });

  test('a daemon that observes moves nothing either: not by assignments, and not out of where it is', () => {
    const assignments = [assignment(1, 2, 'dom0:*')];
    const parts = { devices: [device], assignments, policy: policy([sticks]), isObserving: true };
    assert.deepEqual(planned({ ...parts, vms }).steps, []);
    const inside = { ...parts, vms: [runningVm(1, [attached(device, 1)]), runningVm(2)] };
    assert.deepEqual(planned(inside).steps, []);
    const says = explain(world(inside), 'dom0:1-1')?.because.join(' ') ?? '';
    assert.match(says, /It stays in VM vm1, for Usher only observes/);
    assert.doesNotMatch(says, /Others than Usher/);
    const ofOthers = [runningVm(1, [{ ...attached(device, 1), isForeign: true }]), runningVm(2)];
    assert.match(
      explain(world({ ...inside, vms: ofOthers }), 'dom0:1-1')?.because.join(' ') ?? '',
      /Others than Usher/,
    );
    const byHand = planned({ ...parts, vms, holds: [holdIn(device, 2)] });
    assert.equal(byHand.outcome, 'attaching vm2', 'a hand still counts');
  });

  test('rules that depend on the time are asked anew at the next minute', () => {
    const timed: Rule = { ...sticks, when: { time: ['00:00-24:00'] } };
    const { wakeAt } = plan(world({ devices: [device], vms, policy: policy([timed]), now: 1_000, wallNow: 90_000 }));
    assert.equal(wakeAt, 31_000);
    assert.equal(plan(world({ devices: [device], vms, policy: policy([sticks]) })).wakeAt, undefined);
  });

  test('says why: the rule, its line, what matched and how far to trust it', () => {
    const because = explain(world({ devices: [device], vms, policy: policy([sticks]) }), 'dom0:1-1')?.because.join(' ');
    assert.match(
      because ?? '',
      /Rule 1 "sticks" \(line 3\) says: vm1\. It matches by class any storage \(.*, claimed\)\./,
    );
    const no = explain(world({ devices: [device], vms, policy: policy([denied]) }), 'dom0:1-1')?.because.join(' ');
    assert.match(no ?? '', /Rule 1 \(line 9\) denies it: no storage\./);
  });
});
