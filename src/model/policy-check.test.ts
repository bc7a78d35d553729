import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { Expectation, Policy, Rule } from './policy.ts';
import { checkPolicy } from './policy-check.ts';
import { checkExpectations, deviceOf } from './policy-expect.ts';
import { judge } from './policy-judge.ts';
import { contexts, devices, policies } from './testing/policy-arbitraries.ts';

const deny = { do: 'deny' } as const;
const toWork = { do: 'attach', vm: 'work' } as const;

function policyOf(rules: readonly Rule[], expect: readonly Expectation[] = []): Policy {
  return { mode: 'enforce', rules, expect };
}

suite('checkPolicy', () => {
  test('what is in order has no findings', () => {
    const policy = policyOf([
      { match: { class: { any: ['storage'] } }, action: toWork },
      { match: {}, action: deny },
    ]);
    assert.deepEqual(checkPolicy(policy, new Set(['work'])), []);
  });

  test('a rule that a former one leaves nothing', () => {
    const policy = policyOf([
      { name: 'storage', match: { class: { any: ['storage'] } }, action: deny, line: 2 },
      { match: { id: ['0951:1666:*:*'] }, action: toWork },
      { match: { class: { any: ['0806'] }, port: ['dom0:1-1'] }, action: toWork },
    ]);
    assert.deepEqual(checkPolicy(policy), [
      {
        severity: 'warning',
        path: 'rules.2',
        message: 'This rule never decides: rule 1 "storage" (line 2) matches whatever it matches.',
      },
    ]);
  });

  test('a rule that matches nothing is told once, and as an error', () => {
    const policy = policyOf([
      { match: {}, action: deny },
      { match: { class: { any: ['storage'], only: ['hid'] } }, action: toWork },
    ]);
    assert.deepEqual(
      checkPolicy(policy).map(({ severity, path }) => `${severity} ${path}`),
      ['error rules.1.match.class'],
    );
  });

  test('a rule that is said to be unreachable never decides', () => {
    let seen = 0;
    fc.assert(
      fc.property(policies, fc.array(devices, { minLength: 3, maxLength: 3 }), contexts, (policy, list, context) => {
        const dead = checkPolicy(policy).map(({ path }) => Number(path.split('.')[1]));
        seen += dead.length;
        for (const device of list) {
          const { rule } = judge(policy, device, context);
          assert.ok(rule === undefined || !dead.includes(rule.index));
        }
      }),
      { numRuns: 3_000 },
    );
    assert.ok(seen > 500, `only ${seen} were found: the property says nothing`);
  });

  test('comparing ends, and says where', () => {
    const patterns = (i: number) => Array.from({ length: 200 }, (_, j) => `${i} ${j} *`);
    const rules = Array.from({ length: 50 }, (_, i) => ({ match: { product: patterns(i) }, action: deny }));
    const [finding] = checkPolicy(policyOf(rules));
    assert.match(finding?.message ?? '', /^Rules from here on were not compared/);
    assert.match(finding?.path ?? '', /^rules\.\d\d$/);
  });
});

suite('checkExpectations', () => {
  const rules: Rule[] = [
    { name: 'disks', match: { class: { any: ['storage'] } }, action: { do: 'ask', vms: ['work', 'play'] }, line: 3 },
    { name: 'night', match: { speed: ['low'] }, action: toWork, when: { time: ['22:00-06:00'] } },
    { name: 'idle', match: { speed: ['full'] }, action: toWork, when: { running: ['work'] } },
    { match: { port: ['dom0:9-1'] }, action: deny },
  ];
  const messages = (...expect: Expectation[]) =>
    checkExpectations(policyOf(rules, expect)).map(({ message }) => message);
  const stick = { id: '0951:1666', class: ['storage'] };

  test('those that hold', () => {
    assert.deepEqual(
      messages(
        { device: stick, to: { do: 'ask', vms: ['play', 'work'] }, by: 'disks' },
        { device: { speed: 'low' }, to: toWork, at: 'Mon 23:00' },
        { device: { speed: 'low' }, to: { do: 'nothing' }, at: 'Mon 12:00' },
        { device: { speed: 'full' }, to: toWork },
        { device: { speed: 'full' }, to: { do: 'nothing' }, running: ['play'] },
        { device: { port: 'dom0:9-1' }, to: deny },
        { device: { id: '0951:1666' }, to: { do: 'nothing' } },
      ),
      [],
    );
  });

  test('those that do not: what is, by which rule and line', () => {
    assert.deepEqual(
      messages(
        { device: stick, to: deny },
        { device: stick, to: { do: 'ask', vms: ['work'] } },
        { device: stick, to: { do: 'ask', vms: ['work', 'play'] }, by: 'night' },
        { device: { speed: 'full' }, to: toWork, running: [] },
        { device: { speed: 'low' }, to: { do: 'nothing' } },
        { device: { product: 'x' }, to: { do: 'attach', vm: 'deny' } },
      ),
      [
        '"deny" for 0951:1666 is expected, and it is ask work, play: rule 1 "disks" (line 3) decides.',
        '"ask work" for 0951:1666 is expected, and it is ask work, play: rule 1 "disks" (line 3) decides.',
        '"ask work, play" for 0951:1666 by "night" is expected, and rule 1 "disks" (line 3) decides, not "night".',
        '"work" for the device is expected, and it is nothing: no rule decides.',
        '"nothing" for the device is expected, and that depends on the time, by rule 2 "night": say "at: Mon 09:00".',
        '"attach deny" for x is expected, and it is nothing: no rule decides.',
      ],
    );
  });

  test('the time is asked for only where it matters', () => {
    const policy = policyOf(
      [
        { match: { speed: ['low'] }, action: deny },
        { match: {}, action: toWork, when: { days: ['Mon'] } },
      ],
      [
        { device: { speed: 'low' }, to: deny },
        { device: { speed: 'full' }, to: toWork },
      ],
    );
    assert.deepEqual(
      checkExpectations(policy).map(({ index }) => index),
      [1],
    );
  });

  test('a policy that observes has the same expectations', () => {
    const policy = { ...policyOf(rules, [{ device: { port: 'dom0:9-1' }, to: deny }]), mode: 'observe' as const };
    assert.deepEqual(checkExpectations(policy), []);
  });

  test('the device is as it is described', () => {
    const device = deviceOf({ id: '0951:1666:a%20b:080650.030101', port: 'usbvm:3-1', vendor: 'K', speed: 'low' });
    assert.deepEqual(device, {
      backend: 'usbvm',
      busid: '3-1',
      vendorId: '0951',
      productId: '1666',
      untrustedSerial: 'a b',
      untrustedManufacturer: 'K',
      speed: 'low',
      interfaces: ['030101', '080650'],
      deviceId: '0951:1666:a%20b:030101.080650',
      generation: 'expected',
    });
    assert.deepEqual(deviceOf({ class: ['storage', '03*01'], serial: 'S' }).deviceId, '0000:0000:S:030001.080000');
  });
});
