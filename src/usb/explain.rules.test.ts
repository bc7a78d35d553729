/** What would change it, where rules have a say: other VMs, other devices and open questions matter then. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { Policy, Rule } from '../model/policy.ts';
import type { UsbDevice } from '../model/usb.ts';
import { applyChange } from './changes.ts';
import { explain, namesIn, sayOutcome } from './explain.ts';
import { foresee } from './foresee.ts';
import type { Verdict } from './plan-types.ts';
import { assignment, attached, controller, haltedVm, runningVm, stick, type WorldParts, world } from './test-world.ts';

const device = stick('dom0:1-2');
const KEY = 'dom0:1-2';
const STORAGE = { class: { any: ['storage'] } } as const;
const controllersOf = () => [controller()];

function policy(...rules: readonly Rule[]): Policy {
  return { mode: 'enforce', rules, expect: [] };
}

/** Each change as `command => outcome vm`. */
function changesOf(parts: WorldParts): string[] {
  const input = world(parts);
  const { changes = [] } = explain(input, KEY, controllersOf) ?? {};
  return changes.map(({ command, gives }) => `${command} => ${sayOutcome(gives, namesIn(input))}`);
}

suite('explain: changes where rules decide', () => {
  test('a rule that holds while others run: those count, however many VMs there are', () => {
    const vms = [
      runningVm(1),
      runningVm(2),
      runningVm(3),
      runningVm(4),
      runningVm(5, [attached(device, 5)]),
      runningVm(6),
    ];
    const rule: Rule = { match: STORAGE, action: { do: 'attach', vm: 'vm5' }, when: { running: ['vm6'] } };
    const changes = changesOf({ devices: [device], vms, policy: policy(rule) });
    assert.equal(changes[0], 'usher usb detach dom0:1-2 => left with its backend');
    assert.ok(!changes.some((change) => change.endsWith('VM vm5')), `it is there already: ${changes.join('; ')}`);
  });

  test('a rule that would hold if another VM ran: start that one', () => {
    const rule: Rule = { match: STORAGE, action: { do: 'attach', vm: 'vm1' }, when: { running: ['vm2'] } };
    const parts = { devices: [device], vms: [runningVm(1), haltedVm(2)], policy: policy(rule) };
    assert.equal(changesOf(parts)[0], 'usher vm start vm2 => attached to VM vm1');
  });

  test('a rule that takes one, for which another device is before it: a start is not promised', () => {
    const rule: Rule = { match: STORAGE, action: { do: 'attach', vm: 'vm1' }, when: { atMost: 1 } };
    const first = stick('dom0:1-1', { serial: 'S0' });
    const starts = (devices: readonly UsbDevice[]) =>
      changesOf({ devices, vms: [haltedVm(1)], policy: policy(rule) }).includes(
        'usher vm start vm1 => attached to VM vm1',
      );
    assert.equal(starts([device]), true);
    assert.equal(starts([first, device]), false);
  });

  test('an open question: answer it', () => {
    const rule: Rule = { match: STORAGE, action: { do: 'ask', vms: ['vm1', 'vm2'] } };
    const [first, second] = [runningVm(1), runningVm(2)];
    const { backend, busid, generation } = device;
    const asked = { backend, busid, generation, vms: [first.uuid, second.uuid], askedAt: 0, expiresAt: 9_000_000 };
    const parts = { devices: [device], vms: [first, second], policy: policy(rule), questions: [asked] };
    assert.deepEqual(changesOf(parts).slice(0, 3), [
      'usher usb answer dom0:1-2 vm1 => attached to VM vm1',
      'usher usb answer dom0:1-2 vm2 => attached to VM vm2',
      'usher usb answer dom0:1-2 no => left with its backend',
    ]);
  });

  test('each change, applied to everything, gives what it says', () => {
    const numbers = fc.integer({ min: 1, max: 6 });
    const vms = fc.tuple(...[1, 2, 3, 4, 5, 6].map((n) => fc.constantFrom(runningVm(n), haltedVm(n))));
    const rules = fc.array(
      fc.record({
        to: numbers,
        running: fc.array(numbers, { maxLength: 2 }),
        atMost: fc.constantFrom(undefined, 1, 2),
      }),
      { minLength: 1, maxLength: 4 },
    );
    const rivals = fc.subarray([stick('dom0:1-1', { serial: 'S0' }), stick('dom0:1-3', { serial: 'S3' })]);
    const assigned = fc.constantFrom([], [assignment(1, 2, 'dom0:1-3')], [assignment(1, 5, 'dom0:*', 'manual')]);
    const inputs = fc.record({ vms, rules, rivals, assigned }).map((parts) => {
      const made = parts.rules.map(
        ({ to, running, atMost }): Rule => ({
          match: STORAGE,
          action: { do: 'attach', vm: `vm${to}` },
          when: { running: running.map((n) => `vm${n}`), ...(atMost === undefined ? {} : { atMost }) },
        }),
      );
      const devices = [...parts.rivals, device];
      return world({ devices, vms: parts.vms, assignments: parts.assigned, policy: policy(...made) });
    });
    fc.assert(
      fc.property(inputs, (input) => {
        const endOf = (verdicts: readonly Verdict[]) => {
          const outcome = verdicts.find((verdict) => verdict.device === KEY)?.outcome;
          return { is: outcome?.is, ...(outcome !== undefined && 'vm' in outcome ? { vm: outcome.vm } : {}) };
        };
        const now = endOf(foresee(input).verdicts);
        for (const { apply, gives, command } of explain(input, KEY, controllersOf)?.changes ?? []) {
          const after = endOf(foresee(applyChange(input, device, apply, controllersOf)).verdicts);
          assert.deepEqual(after, { ...gives }, command);
          assert.notDeepEqual(after, now, command);
        }
      }),
      { numRuns: 200 },
    );
  });
});
