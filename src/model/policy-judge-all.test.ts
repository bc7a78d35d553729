import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Policy, Rule } from './policy.ts';
import { judge } from './policy-judge.ts';
import { judgeAll, type SharedContext } from './policy-judge-all.ts';
import { momentOf } from './policy-time.ts';
import { contexts, devices, makeDevice, policies } from './testing/policy-arbitraries.ts';
import { deviceKey } from './usb.ts';

const context: SharedContext = {
  vms: new Map(['work', 'play'].map((vm) => [vm, { isRunning: true }])),
  at: momentOf('Mon 12:00'),
};
const sticks = ['3-1', '3-2', '3-3'].map((busid) => makeDevice({ busid }));

function policyOf(...rules: readonly Rule[]): Policy {
  return { mode: 'enforce', rules, expect: [] };
}

/** A rule for everything, to the VM, for at most so many. */
function toVm(vm: string, atMost?: number, match: Rule['match'] = {}): Rule {
  return { match, action: { do: 'attach', vm }, ...(atMost === undefined ? {} : { when: { atMost } }) };
}

/** Gives, for each stick, `rule vm`, when sticks are where `places` says. */
function verdicts(policy: Policy, places: Record<string, string> = {}): (string | undefined)[] {
  const judgement = judgeAll(policy, sticks, context, ({ busid }) => places[busid]);
  return sticks.map((device) => {
    const { action, rule } = judgement.verdicts.get(deviceKey(device)) ?? {};
    const vms = action?.do === 'attach' ? action.vm : action?.do === 'ask' ? action.vms.join() : action?.do;
    return `${rule?.index ?? '-'} ${vms}`;
  });
}

test('counts in the order of keys, and what finds no place goes on to the next rule', () => {
  assert.deepEqual(verdicts(policyOf(toVm('work', 2), toVm('play', 1))), ['0 work', '0 work', '1 play']);
  assert.deepEqual(verdicts(policyOf(toVm('work', 1), toVm('play', 1))), ['0 work', '1 play', '- nothing']);
  const backwards = judgeAll(policyOf(toVm('work', 1)), sticks.toReversed(), context).verdicts;
  assert.deepEqual(backwards.get('dom0:3-1')?.action, { do: 'attach', vm: 'work' });
});

test('what is there stays there when something else comes', () => {
  const policy = policyOf(toVm('work', 2), toVm('play'));
  assert.deepEqual(verdicts(policy, { '3-3': 'work' }), ['0 work', '1 play', '0 work']);
  assert.deepEqual(verdicts(policy, { '3-2': 'work', '3-3': 'work', '3-1': 'play' }), ['1 play', '0 work', '0 work']);
});

test('of two that are there, the place goes to the one that would have to leave', () => {
  // 3-1 and 3-3 are in work; 3-3 would be sent to play next, and 3-1 would stay by the last rule.
  const policy = policyOf(toVm('work', 1), toVm('play', 1, { port: ['dom0:3-3'] }), toVm('work', 1));
  assert.deepEqual(verdicts(policy, { '3-1': 'work', '3-3': 'work' }), ['2 work', '- nothing', '0 work']);
});

test('an open question takes no place, an answered one does', () => {
  const policy = policyOf({ match: {}, action: { do: 'ask', vms: ['work', 'play'] }, when: { atMost: 1 } });
  assert.deepEqual(verdicts(policy), ['0 work,play', '0 work,play', '0 work,play']);
  assert.deepEqual(verdicts(policy, { '3-1': 'work' }), ['0 work,play', '0 play', '0 play']);
  assert.equal(verdicts(policy, { '3-1': 'work', '3-2': 'play' })[2], '- nothing');
});

test('the review of a device tells what its verdict tells', () => {
  fc.assert(
    fc.property(
      policies,
      fc.uniqueArray(devices, { selector: deviceKey, maxLength: 5 }),
      contexts,
      (policy, list, at) => {
        const judgement = judgeAll(policy, list, at);
        for (const device of list) {
          const decider = judgement.review(device).find(({ is }) => is === 'decides');
          assert.deepEqual(decider?.rule, judgement.verdicts.get(deviceKey(device))?.rule);
        }
      },
    ),
    { numRuns: 1_000 },
  );
});

test('without counted rules each verdict is that of the device alone', () => {
  fc.assert(
    fc.property(
      policies,
      fc.uniqueArray(devices, { selector: deviceKey, maxLength: 5 }),
      contexts,
      (policy, list, at) => {
        const rules = policy.rules.filter(({ when }) => when?.atMost === undefined);
        const uncounted = { ...policy, rules };
        const judgement = judgeAll(uncounted, list, at);
        for (const device of list) {
          assert.deepEqual(judgement.verdicts.get(deviceKey(device)), judge(uncounted, device, at));
        }
      },
    ),
    { numRuns: 1_000 },
  );
});

const counted = fc
  .array(
    fc.tuple(
      fc.constantFrom('work', 'play', 'vault'),
      fc.constantFrom(undefined, 1, 1, 2),
      fc.constantFrom<Rule['match']>({}, {}, { backend: ['dom0'] }, { hub: ['dom0:3-1'] }, { class: { any: ['hid'] } }),
    ),
    { maxLength: 6 },
  )
  .map((list) => policyOf(...list.map((parts) => toVm(...parts))));

const anywhere = fc.array(fc.constantFrom('work', 'play', 'vault', 'elsewhere'), { minLength: 6, maxLength: 6 });

test('never more than the most; and with everything where it was sent, soon nothing moves', () => {
  let placed = 0;
  fc.assert(
    fc.property(
      counted,
      fc.uniqueArray(devices, { selector: deviceKey, maxLength: 6 }),
      anywhere,
      (policy, list, start) => {
        const places = new Map<string, string>(list.map((device, i) => [deviceKey(device), start[i] ?? 'work']));
        for (let round = 0; ; round++) {
          const before = new Map(places);
          const judgement = judgeAll(policy, list, context, (device) => places.get(deviceKey(device)));
          places.clear();
          for (const [key, { action }] of judgement.verdicts) if (action.do === 'attach') places.set(key, action.vm);
          for (const [index, { when }] of policy.rules.entries()) {
            const taken = [...judgement.verdicts.values()].filter(({ rule }) => rule?.index === index).length;
            assert.ok(taken <= (when?.atMost ?? list.length));
          }
          placed += places.size;
          if (round > 0 && [...places].every(([key, vm]) => before.get(key) === vm)) break;
          assert.ok(round < 3, 'devices go on moving');
        }
      },
    ),
    { numRuns: 5_000 },
  );
  assert.ok(placed > 1_000, `only ${placed} were placed: the property says nothing`);
});

test('500 rules and 500 devices: a pass takes a millisecond or so once they are known, and not long before', () => {
  const hex = (number: number) => number.toString(16).padStart(4, '0');
  const matches: ((i: number) => Rule['match'])[] = [
    (i) => ({ id: [`${hex(i)}:${hex(i)}:*:*`] }),
    (i) => ({ class: { any: ['keyboard'] }, hub: [`dom0:${20 + (i % 9)}-1`] }),
    (i) => ({ vendor: [`Vendor ${i} *`] }),
    (i) => ({ port: [`dom0:${1 + (i % 8)}-${i}`] }),
    (i) => ({ product: [`*Nothing*${i}`] }),
    () => ({ class: { any: ['storage'] }, speed: ['low'] }),
  ];
  const rules = Array.from({ length: 500 }, (_, i) => toVm(`vm${i}`, i % 3 === 0 ? 2 : undefined, matches[i % 6]?.(i)));
  const many = Array.from({ length: 500 }, (_, i) =>
    makeDevice({
      vendorId: hex(i),
      productId: hex(i),
      untrustedManufacturer: `Vendor ${i}`,
      untrustedProduct: `Product number ${i}`,
      busid: `${1 + (i % 8)}-${1 + Math.floor(i / 8)}`,
      interfaces: [['080650'], ['030101', '030102'], ['ff0000'], ['0e0100', '0e0200', '010100']][i % 4] ?? [],
    }),
  );
  const policy = policyOf(...rules);
  const rounds = Array.from({ length: 30 }, () => {
    const start = process.cpuUsage();
    judgeAll(policy, many, context);
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1_000;
  });
  assert.ok((rounds[0] ?? 0) < 500, `first ${rounds[0]} ms`);
  const best = Math.min(...rounds);
  assert.ok(best < 5, `then ${best} ms`);
});
