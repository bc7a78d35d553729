import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { Rule, RuleConditions, RuleMatch } from './policy.ts';
import { decidesBefore, findContradiction } from './policy-cover.ts';
import { judge } from './policy-judge.ts';
import { momentOf } from './policy-time.ts';
import { contexts, devices, rules } from './testing/policy-arbitraries.ts';

const deny = { do: 'deny' } as const;
const rule = (match: RuleMatch, when?: RuleConditions): Rule => ({
  match,
  action: deny,
  ...(when === undefined ? {} : { when }),
});
const always = { vms: new Map(), at: momentOf('Mon 12:00') };

suite('decidesBefore', () => {
  const covered: [RuleMatch, RuleMatch][] = [
    [{}, { port: ['dom0:3-1'] }],
    [{ port: ['dom0:3-*'] }, { port: ['dom0:3-1', 'dom0:3-2.*'], class: { any: ['hid'] } }],
    [{ port: ['*:*'] }, { hub: ['dom0:3-1'] }],
    [{ hub: ['dom0:usb3'] }, { hub: ['dom0:3-1.4'] }],
    [{ hub: ['*:3-1'] }, { port: ['usbvm:3-1.4'] }],
    [{ backend: ['usb*'] }, { port: ['usbvm:3-1'] }],
    [{ id: ['0951:*:*:*'] }, { id: ['0951:1666:S1:*', '0951:1667:*:*'] }],
    [{ id: ['0951:*:*:*'] }, { switches: ['0951:1666:*:*'] }],
    [{ serial: ['S*'] }, { id: ['*:*:S1:*'] }],
    [{ vendor: ['KING*'] }, { vendor: ['kingston'] }],
    [{ class: { any: ['hid'] } }, { class: { any: ['keyboard', '0300'] } }],
    [{ class: { any: ['hid', 'storage'] } }, { class: { all: ['keyboard', 'printer'] } }],
    [{ class: { any: ['hid'] } }, { class: { only: ['keyboard'] } }],
    [{ class: { only: ['hid'] } }, { class: { only: ['keyboard', 'mouse'] } }],
    [{ class: { all: ['hid', '08'] } }, { class: { all: ['storage', 'keyboard', 'video'] } }],
    [{ speed: ['low', 'full'] }, { speed: ['low'] }],
    [{ location: ['0000:00:14.0/*'] }, { location: ['0000:00:14.0/1.4'] }],
    [{ attachedAs: ['fixed'] }, { attachedAs: ['fixed'], speed: ['low'] }],
  ];
  const open: [RuleMatch, RuleMatch][] = [
    [{ port: ['dom0:3-1'] }, {}],
    [{ port: ['dom0:3-1'] }, { port: ['dom0:3-*'] }],
    [{ port: ['dom0:3-1'] }, { port: ['dom0:3-1', 'dom0:3-2'] }],
    [{ hub: ['dom0:3-1'] }, { port: ['dom0:3-1'] }],
    [{ hub: ['dom0:3-1'] }, { port: ['*:3-1.4'] }],
    [{ id: ['0951:1666:S1:*'] }, { id: ['0951:1666:*:*'] }],
    [{ class: { any: ['keyboard'] } }, { class: { any: ['keyboard', 'mouse'] } }],
    [{ class: { only: ['hid'] } }, { class: { any: ['hid'] } }],
    [{ class: { only: ['serial'] } }, { class: { only: ['cdc'] } }],
    [{ class: { only: ['0202'] } }, { class: { only: ['serial'] } }],
    [{ class: { all: ['hid', 'storage'] } }, { class: { any: ['hid', 'storage'] } }],
    [{ serial: ['*'] }, {}],
    [{ attachedAs: ['fixed', 'removable'] }, {}],
  ];
  for (const [wide, narrow] of covered) {
    test(`${JSON.stringify(wide)} goes before ${JSON.stringify(narrow)}`, () => {
      assert.ok(decidesBefore(rule(wide), rule(narrow)));
    });
  }
  for (const [wide, narrow] of open) {
    test(`${JSON.stringify(wide)} leaves some of ${JSON.stringify(narrow)}`, () => {
      assert.ok(!decidesBefore(rule(wide), rule(narrow)));
    });
  }

  test('conditions: only what holds whenever the later rule holds', () => {
    const days: RuleConditions = { days: ['Mon'], time: ['08:00-09:00'] };
    const before = (former: RuleConditions | undefined, later?: RuleConditions) =>
      decidesBefore(rule({}, former), rule({}, later));
    assert.ok(before(undefined, { atMost: 1, ...days }));
    assert.ok(before(days, { ...days, atMost: 1 }));
    assert.ok(before({ running: ['work'] }, { running: ['play', 'work'] }));
    assert.ok(!before({ atMost: 1 }, { atMost: 1 }));
    assert.ok(!before(days));
    assert.ok(!before({ days: ['Mon'] }, days));
    assert.ok(!before(days, { ...days, days: ['Tue'] }));
    assert.ok(!before(days, { ...days, time: ['09:00-10:00'] }));
    assert.ok(!before({ running: ['work'] }));
  });

  test('is never wrong: the later rule decides about no device', () => {
    let seen = 0;
    fc.assert(
      fc.property(
        rules,
        rules,
        fc.array(devices, { minLength: 3, maxLength: 3 }),
        contexts,
        (former, later, list, context) => {
          if (!decidesBefore(former, later)) return;
          seen++;
          const policy = { mode: 'enforce' as const, rules: [former, later], expect: [] };
          for (const device of list) assert.notEqual(judge(policy, device, context).rule?.index, 1);
        },
      ),
      { numRuns: 20_000 },
    );
    assert.ok(seen > 300, `only ${seen} pairs were found: the property says nothing`);
  });
});

suite('findContradiction', () => {
  const empty: [RuleMatch, string][] = [
    [{ class: { any: ['keyboard'], only: ['storage'] } }, 'class class'],
    [{ class: { all: ['storage', 'audio'], only: ['storage'] } }, 'class class'],
    [{ id: ['0951:1666:*:080650'], class: { any: ['hid'] } }, 'id class'],
    [{ switches: ['0951:1666:*:080650', '0951:1667:*:'], class: { only: ['hid'] } }, 'switches class'],
    [{ id: ['0951:1666:S1:*'], serial: ['T*'] }, 'id serial'],
    [{ port: ['dom0:3-1'], backend: ['usb*'] }, 'port backend'],
    [{ hub: ['dom0:usb3'], backend: ['usbvm'] }, 'hub backend'],
    [{ port: ['dom0:3-1'], hub: ['dom0:3-1'] }, 'port hub'],
    [{ port: ['dom0:3-1.4', 'dom0:4-*'], hub: ['dom0:3-2', 'usbvm:usb4'] }, 'port hub'],
  ];
  for (const [match, fields] of empty) {
    test(JSON.stringify(match), () => assert.equal(findContradiction(match)?.join(' '), fields));
  }

  test('nothing is said of what can be', () => {
    const possible: RuleMatch[] = [
      {},
      { class: { any: ['keyboard', 'storage'], only: ['storage'] } },
      { class: { all: ['serial'], only: ['cdc'] } },
      { class: { any: ['0a'], only: ['serial'] } },
      { id: ['0951:1666:*:080650', '0951:1666:*:*'], class: { any: ['hid'] } },
      { id: ['0951:1666:S1:*'], serial: ['T*', 'S*'] },
      { port: ['*:3-1.4'], hub: ['dom0:3-1'], backend: ['dom0'] },
      { port: ['dom0:3-*'], hub: ['dom0:3-1'] },
    ];
    for (const match of possible) assert.equal(findContradiction(match), undefined, JSON.stringify(match));
  });

  test('is never wrong: the rule matches no device', () => {
    let seen = 0;
    fc.assert(
      fc.property(rules, fc.array(devices, { minLength: 3, maxLength: 3 }), ({ match }, list) => {
        if (findContradiction(match) === undefined) return;
        seen++;
        const policy = { mode: 'enforce' as const, rules: [rule(match)], expect: [] };
        for (const device of list) assert.equal(judge(policy, device, always).rule, undefined);
      }),
      { numRuns: 10_000 },
    );
    assert.ok(seen > 50, `only ${seen} were found: the property says nothing`);
  });
});
