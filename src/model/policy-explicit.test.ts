import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Policy, Rule, RuleMatch } from './policy.ts';
import { isExplicitFor, isSameSwitcher, SENSITIVE, type Sensitive } from './policy-explicit.ts';
import { makeDevice } from './testing/policy-arbitraries.ts';

const toWork = { do: 'attach', vm: 'work' } as const;

/** One row a match: what a rule with it is explicit for, of the device below it. */
const DEVICES = {
  keyboard: makeDevice({ interfaces: ['030101', '030000'], untrustedSerial: 'K1' }),
  mouse: makeDevice({ interfaces: ['030102'] }),
  mute: makeDevice({ interfaces: ['030000'] }),
  network: makeDevice({ interfaces: ['020600', '0a0000'] }),
  stick: makeDevice({ interfaces: ['080650'], untrustedSerial: 'S1' }),
  badStick: makeDevice({ interfaces: ['030101', '080650'] }),
};
const TABLE: [RuleMatch, keyof typeof DEVICES, Sensitive[]][] = [
  [{ class: { any: ['keyboard'] } }, 'keyboard', ['keyboard', 'input']],
  [{ class: { any: ['storage', 'keyboard'] } }, 'badStick', ['keyboard', 'input']],
  [{ class: { only: ['keyboard', 'hid'] } }, 'keyboard', ['keyboard', 'input']],
  [{ class: { all: ['keyboard'] } }, 'badStick', ['keyboard', 'input']],
  [{ class: { any: ['030101'] } }, 'keyboard', ['keyboard', 'input']],
  [{ class: { any: ['hid'] } }, 'keyboard', ['input']],
  [{ class: { any: ['03'] } }, 'mute', ['input']],
  [{ class: { any: ['hid'] } }, 'mute', ['input']],
  [{ class: { any: ['mouse'] } }, 'mouse', ['pointing', 'input']],
  [{ class: { any: ['keyboard', 'mouse'] } }, 'mouse', ['pointing', 'input']],
  [{ class: { any: ['*'] } }, 'keyboard', []],
  [{ class: { any: ['storage'] } }, 'badStick', []],
  [{ class: { any: ['storage'] } }, 'stick', []],
  [{ class: { any: ['network'] } }, 'network', ['network']],
  [{ class: { any: ['0206'] } }, 'network', ['network']],
  [{ class: { any: ['cdc'] } }, 'network', []],
  [{ id: ['0951:1666:*:*'] }, 'keyboard', ['keyboard', 'pointing', 'input', 'network', 'mounted']],
  [{ id: ['0951:1666:S1:*'] }, 'stick', [...SENSITIVE]],
  [{ id: ['0951:1666::*'] }, 'mouse', ['keyboard', 'pointing', 'input', 'network', 'mounted']],
  [{ id: ['0951:1666:S*:*'] }, 'stick', ['keyboard', 'pointing', 'input', 'network', 'mounted']],
  [{ id: ['0951:*:*:*'] }, 'keyboard', []],
  [{ id: ['0951:*:*:*', 'dead:beef:*:*'] }, 'keyboard', []],
  [{ id: ['0951:*:*:*', '0951:1666:*:*'] }, 'keyboard', ['keyboard', 'pointing', 'input', 'network', 'mounted']],
  [{ switches: ['0951:1666:*:*'] }, 'keyboard', ['keyboard', 'pointing', 'input', 'network', 'mounted']],
  [{ serial: ['K1'], vendor: ['*'], product: ['*'] }, 'keyboard', []],
  [{ port: ['dom0:3-1.4'] }, 'keyboard', []],
  [{ hub: ['dom0:usb3'], location: ['*/*'], backend: ['dom0'], speed: ['high'] }, 'keyboard', []],
  [{}, 'keyboard', []],
];

suite('isExplicitFor', () => {
  for (const [match, name, expected] of TABLE) {
    test(`${JSON.stringify(match)} of the ${name}`, () => {
      const explicitFor = (rule: Rule) => SENSITIVE.filter((what) => isExplicitFor(rule, what, DEVICES[name]));
      assert.deepEqual(explicitFor({ match, action: toWork }), expected);
      assert.deepEqual(explicitFor({ match, action: { do: 'ask', vms: ['work'] } }), expected);
      assert.deepEqual(explicitFor({ match, action: { do: 'deny' } }), []);
    });
  }
});

test('isSameSwitcher: two ids that one rule lists are one device', () => {
  const policyOf = (...lists: string[][]): Policy => ({
    mode: 'enforce',
    rules: lists.map((switches) => ({ match: { switches }, action: toWork })),
    expect: [],
  });
  const modem = policyOf(['12d1:1f01:*:*', '12d1:14db:*:*'], ['aaaa:0001:*:*', 'aaaa:0002:*:*']);
  const rows: [Policy, string, string, boolean][] = [
    [modem, '12d1:1f01::080650', '12d1:14db:X:020600', true],
    [modem, '12d1:14db:X:020600', '12d1:1f01::080650', true],
    [modem, '12d1:1f01::080650', 'aaaa:0001::080650', false],
    [modem, '12d1:1f01::080650', '12d1:ffff::080650', false],
    [modem, '12d1:1f01::080650', '12d1:1f01::080650', false],
    [policyOf(['18d1:4ee1:*:*']), '18d1:4ee1:P1:060101', '18d1:4ee1:P1:060101.ff4201', true],
    [policyOf(['18d1:4ee1:*:*']), '18d1:4ee1:P1:060101', '18d1:4ee1:P2:060101.ff4201', false],
    [policyOf(['18d1:4ee1:*:0601*']), '18d1:4ee1:P1:060101', '18d1:4ee1:P1:080650', false],
    [
      { ...modem, rules: [{ match: { id: ['12d1:1f01:*:*', '12d1:14db:*:*'] }, action: toWork }] },
      '12d1:1f01::',
      '12d1:14db::',
      false,
    ],
  ];
  for (const [policy, before, after, expected] of rows)
    assert.equal(isSameSwitcher(policy, before, after), expected, after);
});
