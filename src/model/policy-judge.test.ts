import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { Policy, Rule } from './policy.ts';
import { effectOf, judge, type PolicyContext, reviewRules } from './policy-judge.ts';
import { momentOf } from './policy-time.ts';
import { contexts, devices, makeDevice, policies } from './testing/policy-arbitraries.ts';
import type { UsbDevice } from './usb.ts';

const everything = {};
const toWork = { do: 'attach', vm: 'work' } as const;
const toPlay = { do: 'attach', vm: 'play' } as const;
const deny = { do: 'deny' } as const;

function policyOf(...rules: Rule[]): Policy {
  return { mode: 'enforce', rules, expect: [] };
}

function contextOf(parts: Partial<PolicyContext> & { readonly idle?: readonly string[] } = {}): PolicyContext {
  const vms = new Map(['work', 'play', 'vault'].map((vm) => [vm, { isRunning: parts.idle?.includes(vm) !== true }]));
  return { vms, at: momentOf('Mon 12:00'), ...parts };
}

/** Names the deciding rule and the action: `1 attach work`. */
function wordOf(policy: Policy, device: UsbDevice, context = contextOf()): string {
  const { rule, action } = judge(policy, device, context);
  const vms = action.do === 'attach' ? ` ${action.vm}` : action.do === 'ask' ? ` ${action.vms.join(' ')}` : '';
  return `${rule?.index ?? 'none'} ${action.do}${vms}`;
}

const stick = makeDevice({
  untrustedSerial: 'S1',
  untrustedManufacturer: 'Kingston ',
  untrustedProduct: 'Data\u0000Traveler',
});

suite('order', () => {
  test('the first rule that matches decides', () => {
    const storage: Rule = { match: { class: { any: ['storage'] } }, action: deny };
    assert.equal(wordOf(policyOf({ match: everything, action: toWork }, storage), stick), '0 attach work');
    assert.equal(wordOf(policyOf(storage, { match: everything, action: toWork }), stick), '0 deny');
  });

  test('no rule is the fallback, told from a rule that denies', () => {
    const policy = policyOf({ match: { speed: ['low'] }, action: deny });
    assert.deepEqual(judge(policy, stick, contextOf()), {
      mode: 'enforce',
      action: { do: 'nothing' },
      matched: [],
      missingVms: [],
    });
  });

  test('what was compiled, indexed or not, decides as asking each rule in turn does', () => {
    let decided = 0;
    fc.assert(
      fc.property(policies, fc.array(devices, { maxLength: 4 }), contexts, (policy, list, context) => {
        for (const device of list) {
          const verdict = judge(policy, device, context);
          const decider = reviewRules(policy, device, context).find(({ is }) => is === 'decides');
          assert.deepEqual(verdict.rule, decider?.rule);
          if (decider?.is === 'decides') assert.deepEqual(verdict.matched, decider.matched);
          if (verdict.rule !== undefined) decided++;
        }
      }),
      { numRuns: 2_000 },
    );
    assert.ok(decided > 500, `only ${decided} were decided: the property says nothing`);
  });
});

suite('fields', () => {
  const matches = (match: Rule['match'], device = stick) =>
    judge(policyOf({ match, action: deny }), device, contextOf()).rule !== undefined;

  test('all fields have to match, and any pattern of a field', () => {
    assert.ok(matches({ id: ['dead:beef:*:*', '0951:1666:*:*'], port: ['dom0:3-1.4'] }));
    assert.ok(!matches({ id: ['0951:1666:*:*'], port: ['dom0:3-1.5'] }));
  });

  test('names match as they are seen, in any case', () => {
    assert.ok(matches({ vendor: ['kingston'], product: ['data traveler'] }));
    assert.ok(!matches({ vendor: ['king'] }));
    const named = judge(policyOf({ match: { vendor: ['Other*'] }, action: deny }), stick, {
      ...contextOf(),
      namesOf: () => ({ vendor: 'OTHER\u202e Inc', product: '' }),
    });
    assert.deepEqual(named.matched[0]?.value, 'OTHER Inc');
  });

  test('names from elsewhere count from when they are there', () => {
    const policy = policyOf({ match: { vendor: ['Other'] }, action: deny });
    assert.equal(judge(policy, stick, contextOf()).rule, undefined);
    const namesOf = () => ({ vendor: 'Other', product: '' });
    assert.equal(judge(policy, stick, contextOf({ namesOf })).rule?.index, 0);
  });

  test('a hub is whatever is below it, down to the seventh tier, and not its neighbour', () => {
    const deep = makeDevice({ busid: '3-1.4.1.2.3.4.5' });
    for (const hub of ['dom0:usb3', 'dom0:3-1', 'dom0:3-1.4', 'dom0:3-1.4.1.2.3.4', '*:3-1']) {
      assert.ok(matches({ hub: [hub] }, deep), hub);
    }
    for (const hub of ['dom0:usb13', 'dom0:3-1.4.1.2.3.4.5', 'dom0:3-2', 'usbvm:3-1'])
      assert.ok(!matches({ hub: [hub] }, deep), hub);
    assert.ok(!matches({ hub: ['dom0:3-1'] }, makeDevice({ busid: '3-11.2' })));
    assert.ok(!matches({ hub: ['dom0:usb3'] }, makeDevice({ busid: '33-1' })));
  });

  test('what the backend does not tell matches nothing, not even a star', () => {
    assert.ok(!matches({ location: ['*/*'] }));
    assert.ok(!matches({ attachedAs: ['removable', 'fixed'] }));
    assert.ok(matches({ location: ['0000:00:14.0/1.*'] }, makeDevice({ location: '0000:00:14.0/1.4' })));
    assert.ok(!matches({ location: ['0000:00:14.0/1.*'] }, makeDevice({ location: '0000:00:14.0/11.4' })));
  });

  test('a star within one field of an id does not reach into the next', () => {
    assert.ok(!matches({ id: ['0951:1666:S1*0:*'] }));
    assert.ok(matches({ id: ['*:*:S*:08*'] }));
  });

  test('tells what matched and how far to trust it, harmlessly', () => {
    const evil = makeDevice({ untrustedProduct: '\u001b[2J\u202eevil' });
    const match = { product: ['*evil'], port: ['dom0:3-*'], class: { any: ['hid', 'storage'], only: ['storage'] } };
    assert.deepEqual(judge(policyOf({ match, action: deny }), evil, contextOf()).matched, [
      { field: 'port', pattern: 'dom0:3-*', value: 'dom0:3-1.4', trust: 'trusted' },
      { field: 'class', pattern: 'any hid, storage', value: '080650', trust: 'claimed' },
      { field: 'class', pattern: 'only storage', value: '080650', trust: 'claimed' },
      { field: 'product', pattern: '*evil', value: '[2J evil', trust: 'claimed' },
    ]);
  });
});

suite('conditions', () => {
  test('a rule whose VM has to run is passed over while it does not', () => {
    const policy = policyOf(
      { match: everything, action: toWork, when: { running: ['work'] } },
      { match: everything, action: toPlay },
    );
    assert.equal(wordOf(policy, stick), '0 attach work');
    assert.equal(wordOf(policy, stick, contextOf({ idle: ['work'] })), '1 attach play');
  });

  test('without that condition the rule decides, and the device waits for the VM', () => {
    assert.equal(
      wordOf(policyOf({ match: everything, action: toWork }), stick, contextOf({ idle: ['work'] })),
      '0 attach work',
    );
  });

  test('a VM that there is not hands the device to no other rule', () => {
    const vms = new Map([['play', { isRunning: true }]]);
    const policy = policyOf({ match: everything, action: toWork }, { match: everything, action: toPlay });
    const verdict = judge(policy, stick, contextOf({ vms }));
    assert.deepEqual([verdict.rule?.index, verdict.missingVms], [0, ['work']]);
    const asking = policyOf({ match: everything, action: { do: 'ask', vms: ['work', 'play'] } });
    assert.deepEqual(judge(asking, stick, contextOf({ vms })).action, { do: 'ask', vms: ['play'] });
  });

  test('hours', () => {
    const policy = policyOf({ match: everything, action: toWork, when: { time: ['08:00-18:00'] } });
    assert.equal(wordOf(policy, stick), '0 attach work');
    assert.equal(wordOf(policy, stick, contextOf({ at: momentOf('Mon 19:00') })), 'none nothing');
  });

  test('at most so many: what is full is passed over, or no longer offered', () => {
    const countOf = (rule: number, vm: string) => (rule === 0 && vm === 'work' ? 2 : 0);
    const attach = policyOf(
      { match: everything, action: toWork, when: { atMost: 2 } },
      { match: everything, action: deny },
    );
    assert.equal(wordOf(attach, stick, contextOf({ countOf })), '1 deny');
    const ask = policyOf({ match: everything, action: { do: 'ask', vms: ['work', 'play'] }, when: { atMost: 2 } });
    assert.equal(wordOf(ask, stick, contextOf({ countOf })), '0 ask play');
    assert.equal(wordOf(ask, stick, contextOf({ countOf: () => 2 })), 'none nothing');
  });
});

suite('reviewRules', () => {
  test('tells of every rule why it did not decide', () => {
    const policy = policyOf(
      { name: 'disk', match: { port: ['dom0:4-1'], class: { any: ['printer'] } }, action: deny, line: 3 },
      { match: { class: { any: ['storage'], only: ['printer', 'audio'] } }, action: deny },
      { match: everything, action: toWork, when: { running: ['work'] } },
      { match: everything, action: toWork, when: { running: ['gone'] } },
      { match: everything, action: toWork, when: { time: ['18:00-19:00'], days: ['Sat'] } },
      { match: everything, action: toWork, when: { atMost: 1 } },
      { match: everything, action: toPlay },
      { match: everything, action: deny },
      { match: { speed: ['low'] }, action: deny },
    );
    const countOf = (rule: number) => (rule === 5 ? 1 : 0);
    const reviews = reviewRules(policy, stick, contextOf({ idle: ['work'], countOf }));
    assert.deepEqual(
      reviews.map((review) => {
        if (review.is === 'no match')
          return review.failed.map(({ field, pattern, value }) => `${field} ${pattern}: ${value}`);
        if (review.is === 'condition') return `${review.condition}: ${review.detail}`;
        return review.is === 'too late' ? `after ${review.by.index}, ${review.wouldDecide}` : review.is;
      }),
      [
        ['port dom0:4-1: dom0:3-1.4'],
        ['class only printer, audio: 080650'],
        'running: VM work does not run',
        'running: there is no VM gone',
        'time: it is Mon 12:00, and the rule holds at 18:00-19:00, Sat',
        'atMost: VM work has 1 by this rule already, and that is the most',
        'decides',
        'after 6, true',
        'after 6, false',
      ],
    );
    assert.deepEqual(reviews[0]?.rule, { index: 0, name: 'disk', line: 3 });
  });
});

test('a policy that observes judges the same, and does nothing', () => {
  const policy: Policy = { ...policyOf({ match: everything, action: toWork }), mode: 'observe' };
  const verdict = judge(policy, stick, contextOf());
  assert.deepEqual([verdict.mode, verdict.action, effectOf(verdict)], ['observe', toWork, { do: 'nothing' }]);
  assert.deepEqual(effectOf({ ...verdict, mode: 'enforce' }), toWork);
});
