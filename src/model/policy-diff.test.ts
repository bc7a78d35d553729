import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Policy, Rule } from './policy.ts';
import { diffPolicies } from './policy-diff.ts';
import { effectOf } from './policy-judge.ts';
import { judgeAll } from './policy-judge-all.ts';
import { momentOf } from './policy-time.ts';
import { contexts, devices, makeDevice, policies } from './testing/policy-arbitraries.ts';
import { deviceKey } from './usb.ts';

const context = { vms: new Map([['work', { isRunning: true }]]), at: momentOf('Mon 12:00') };
const stick = makeDevice({ busid: '3-2' });
const keyboard = makeDevice({ busid: '3-1', interfaces: ['030101'] });
const toWork: Rule = { match: { class: { any: ['storage'] } }, action: { do: 'attach', vm: 'work' } };
const deny: Rule = { match: {}, action: { do: 'deny' } };
const policyOf = (...rules: Rule[]): Policy => ({ mode: 'enforce', rules, expect: [] });

function changes(before: Policy, after: Policy): string[] {
  return diffPolicies(before, after, [stick, keyboard], context).map(
    ({ device, before: was, after: is, isEffective }) =>
      [device, was.action.do, is.action.do, isEffective ? 'effective' : 'said'].join(' '),
  );
}

test('tells the devices about which something else is said, by their keys', () => {
  assert.deepEqual(changes(policyOf(toWork), policyOf(deny)), [
    'dom0:3-1 nothing deny effective',
    'dom0:3-2 attach deny effective',
  ]);
  assert.deepEqual(changes(policyOf(toWork), policyOf(toWork)), []);
});

test('a rule that is moved is the same rule, with a name or without', () => {
  const other: Rule = { match: { speed: ['low'] }, action: { do: 'deny' } };
  assert.deepEqual(changes(policyOf(toWork), policyOf(other, { ...toWork, line: 7 })), []);
  const named = { ...toWork, name: 'sticks' };
  assert.deepEqual(changes(policyOf(named), policyOf(other, { ...named, match: {} })), [
    'dom0:3-1 nothing attach effective',
  ]);
  assert.deepEqual(changes(policyOf(toWork), policyOf(named)), ['dom0:3-2 attach attach said']);
});

test('a policy that observes changes what is done, and says the same', () => {
  const observing = { ...policyOf(toWork), mode: 'observe' as const };
  assert.deepEqual(changes(policyOf(toWork), observing), [
    'dom0:3-1 nothing nothing said',
    'dom0:3-2 attach attach effective',
  ]);
  assert.deepEqual(changes(observing, { ...policyOf(deny), mode: 'observe' }), [
    'dom0:3-1 nothing deny said',
    'dom0:3-2 attach deny said',
  ]);
});

test('what is not told is not changed', () => {
  fc.assert(
    fc.property(
      policies,
      policies,
      fc.uniqueArray(devices, { selector: deviceKey, maxLength: 4 }),
      contexts,
      (a, b, list, at) => {
        const told = new Map(diffPolicies(a, b, list, at).map((change) => [change.device, change]));
        const [before, after] = [judgeAll(a, list, at).verdicts, judgeAll(b, list, at).verdicts];
        for (const key of list.map(deviceKey)) {
          const [was, is] = [before.get(key), after.get(key)];
          assert.ok(was !== undefined && is !== undefined);
          const isEffective = JSON.stringify(effectOf(was)) !== JSON.stringify(effectOf(is));
          assert.equal(told.get(key)?.isEffective ?? false, isEffective);
        }
      },
    ),
    { numRuns: 500 },
  );
});
