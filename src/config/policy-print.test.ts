import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { withoutAbsent } from '../lib/absent.ts';
import type { Expectation, ExpectedDevice, Policy } from '../model/policy.ts';
import { findContradiction } from '../model/policy-cover.ts';
import { checkExpectations, deviceOf } from '../model/policy-expect.ts';
import { judge } from '../model/policy-judge.ts';
import { formatMoment, momentOf } from '../model/policy-time.ts';
import { moments, policies, VM_NAMES } from '../model/testing/policy-arbitraries.ts';
import { formatDiagnostic } from './diagnostics.ts';
import { parsePolicy } from './policy-file.ts';
import { printPolicy } from './policy-print.ts';

/** A policy without the lines at which its parts stand. */
function withoutLines({ mode, rules, expect }: Policy): Policy {
  const bare = <T extends { readonly line?: number }>({ line: _, ...rest }: T) => rest as T;
  return { mode, rules: rules.map(bare), expect: expect.map(bare) };
}

const expectedDevices: fc.Arbitrary<ExpectedDevice> = fc
  .record({
    id: fc.constantFrom(undefined, '0951:1666', '0951:1666:S1', '046d:c31c::030101', '0951:1666:a%20b:080650.ff0000'),
    vendor: fc.constantFrom(undefined, 'Kingston', 'a: "b" #c', 'x\u202ey', '- z '),
    product: fc.constantFrom(undefined, 'Data Traveler', '*'),
    port: fc.constantFrom('dom0:3-1.4', 'usbvm:4-1'),
    location: fc.constantFrom(undefined, '0000:00:14.0/1.4'),
    speed: fc.constantFrom(undefined, 'low' as const),
    attachedAs: fc.constantFrom(undefined, 'fixed' as const),
  })
  .map(withoutAbsent);

/** Policies that can be loaded, with expectations that hold: what they say of random devices. */
const wholePolicies = fc
  .record({
    policy: policies.map((policy) => ({
      ...policy,
      rules: policy.rules.filter(({ match }) => findContradiction(match) === undefined),
    })),
    expected: fc.array(
      fc.record({
        device: expectedDevices,
        at: moments,
        running: fc.option(fc.subarray([...VM_NAMES]), { nil: undefined }),
      }),
      { maxLength: 3 },
    ),
  })
  .map(({ policy, expected }): Policy => {
    const expect = expected.flatMap(({ device, at, running }): Expectation[] => {
      const vms = new Map(VM_NAMES.map((name) => [name, { isRunning: running?.includes(name) ?? true }]));
      const { action, rule } = judge(policy, deviceOf(device), { vms, at: momentOf(formatMoment(at)) });
      const { reason: _, ...to } = { reason: '', ...action };
      const by = rule?.name === undefined ? {} : { by: rule.name };
      return [
        {
          device,
          to: to as Expectation['to'],
          ...by,
          ...(running === undefined ? {} : { running }),
          at: formatMoment(at),
        },
      ];
    });
    return { ...policy, expect };
  });

test('what is printed is read as the same policy, and printed as the same text', () => {
  let rules = 0;
  fc.assert(
    fc.property(wholePolicies, (policy) => {
      assert.deepEqual(checkExpectations(policy), []);
      const text = printPolicy(policy);
      const parsed = parsePolicy(text, 'policy.yaml');
      assert.deepEqual(parsed.errors.map(formatDiagnostic), [], text);
      assert.ok(parsed.policy);
      assert.deepEqual(withoutLines(parsed.policy), policy, text);
      assert.equal(printPolicy(parsed.policy), text);
      rules += policy.rules.length;
    }),
    { numRuns: 500 },
  );
  assert.ok(rules > 500, `only ${rules} rules: the property says nothing`);
});

test('prints what a person would write', () => {
  const text = `mode: observe

rules:
  - name: modem
    match:
      switches: [12d1:1f01, 12d1:14db]
      port: ["*:3-1", dom0:3-2]
    ask: [work, play]
    when: { running: work, time: 22:00-06:00, days: [Sat, Sun], atMost: 2 }
  - match:
      id: ["0951:*", "0951:1666:"]
      class: { any: storage, only: [08, hid] }
    deny: 'no: "sticks" here'
  - match: everything
    attach: vault

expect:
  - device: { id: 0951:1666, class: storage }
    to: "ask work, play"
    running: []
    at: Sun 23:00
`;
  const { policy } = parsePolicy(text.replace('to: "ask work, play"', 'to: deny'), 'policy.yaml');
  assert.ok(policy);
  const expected = text
    .replace(`'no: "sticks" here'`, '"no: \\"sticks\\" here"')
    .replace('to: "ask work, play"', 'to: deny');
  assert.equal(printPolicy(policy), expected);
});

test('a policy without rules', () => {
  assert.equal(printPolicy({ mode: 'enforce', rules: [], expect: [] }), 'mode: enforce\n\nrules: []\n');
});

test('what would do harm on a terminal is escaped', () => {
  const policy: Policy = {
    mode: 'enforce',
    rules: [{ match: { product: ['\u202e\u009bevil\u2028'] }, action: { do: 'deny' } }],
    expect: [],
  };
  const text = printPolicy(policy);
  assert.doesNotMatch(text.replaceAll('\n', ''), /[\p{Cc}\p{Cf}\p{Zl}]/u);
  assert.deepEqual(parsePolicy(text, 'x').policy?.rules[0]?.match, policy.rules[0]?.match);
});
