import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { UsbDevice } from '../model/usb.ts';
import { foresee } from './foresee.ts';
import { plan } from './plan.ts';
import type { Step } from './plan-types.ts';
import {
  assignment,
  attached,
  holdIn,
  memoryOf,
  outcomeWord,
  planned,
  runningVm,
  stick,
  type WorldParts,
  wordOf,
  world,
} from './test-world.ts';

/** A keyboard at port `at` of bus 1, which those at the other ports replace. */
const keyboard = (at: number, ...others: readonly number[]): UsbDevice =>
  stick(`dom0:1-${at}`, { replacedBy: { keyboard: others.map((other) => [`1-${other}`]) } });
const two = [keyboard(1, 2), keyboard(2, 1)] as const;
const assignments = [assignment(1, 1, 'dom0:*')];
const vms = [runningVm(1)];
const missed = stick('dom0:1-1', { objections: [{ kind: 'missed keyboard', says: 'the host has no other' }] });
const inside = [runningVm(1, [attached(missed, 1)]), runningVm(2)];

const steps = (parts: WorldParts) => planned(parts).steps;

describe('plan: the last input devices of the host', () => {
  test('of two keyboards that replace each other one plan takes one, and says why the other stays', () => {
    const { steps: all, verdicts } = plan(world({ devices: two, vms, assignments }));
    assert.deepEqual(all.map(wordOf), ['attach dom0:1-1 vm1 0-1']);
    const [, second] = verdicts;
    assert.equal(outcomeWord(second?.outcome), 'left');
    assert.ok(second?.decider.by === 'guard' && second.decider.against?.by === 'assignment');
    assert.match(second.decider.reason, /the last USB keyboard of the host/);
    assert.match(second.losers[0]?.because ?? '', /the last USB keyboard/);
  });

  test('one that a VM has, or is about to get, replaces none, whatever was seen before', () => {
    const [first, second] = two;
    const has = [runningVm(1, [attached(first, 1)])];
    assert.deepEqual(steps({ devices: two, vms: has, assignments }), []);
    const inFlight: Step = {
      kind: 'attach',
      vm: vms[0]?.uuid ?? (first.deviceId as never),
      slot: { controller: 0, port: 1 },
      device: first,
      why: '',
    };
    const memory = memoryOf(first, { state: 'attaching', inFlight });
    assert.deepEqual(steps({ devices: two, vms, assignments, memory }), []);
    const forced = [holdIn(second, 1, { isForced: true })];
    assert.deepEqual(steps({ devices: two, vms: has, assignments, holds: forced }), []);
  });

  test('one that failed leaves its turn to the other', () => {
    const memory = memoryOf(two[0], { failures: 1, retryAt: 9_000, vm: assignments[0]?.vm as never });
    assert.deepEqual(steps({ devices: two, vms, assignments, memory }), ['attach dom0:1-2 vm1 0-1']);
  });

  test('the one that was there before goes first', () => {
    const [, second] = two;
    const lastPlaces = new Map([['dom0:1-2', { ...attached(second, 1, 3) }]]);
    const { steps: all } = plan({ ...world({ devices: two, vms, assignments }), lastPlaces });
    assert.deepEqual(all.map(wordOf), ['attach dom0:1-2 vm1 0-3']);
  });

  test('what depends on several adapters is gone with one of them; a device of another backend replaces nothing', () => {
    const either = stick('dom0:1-1', { replacedBy: { pointer: [['1-2', '1-3']] } });
    const devices = [either, stick('dom0:1-2')];
    const has = [runningVm(1, [attached(stick('dom0:1-2'), 1)])];
    assert.deepEqual(steps({ devices, vms: has, assignments }), []);
    const other = [runningVm(1, [attached(stick('usbvm:1-2'), 1, 2)])];
    const onlyFirst = [assignment(1, 1, 'dom0:1-1'), assignment(2, 1, 'usbvm:*')];
    assert.deepEqual(steps({ devices: [either, stick('usbvm:1-2')], vms: other, assignments: onlyFirst }), [
      'attach dom0:1-1 vm1 0-1',
    ]);
  });

  test('one that is missed comes back from its VM, and goes to no other', () => {
    const here = { devices: [missed], vms: inside };
    assert.deepEqual(steps({ ...here, assignments }), ['detach dom0:1-1 vm1 0-1']);
    assert.deepEqual(steps({ ...here, holds: [holdIn(missed, 1, { by: 'answer' })] }), ['detach dom0:1-1 vm1 0-1']);
    assert.deepEqual(steps({ ...here, assignments: [assignment(1, 2, 'dom0:*')] }), ['detach dom0:1-1 vm1 0-1']);
    const end = foresee(world({ ...here, assignments })).verdicts[0];
    assert.equal(outcomeWord(end?.outcome), 'left');
  });

  test('but not one that was forced there, nor one that others attached, nor while Usher observes', () => {
    const forced = [holdIn(missed, 1, { isForced: true })];
    assert.deepEqual(steps({ devices: [missed], vms: inside, holds: forced }), []);
    const foreign = [runningVm(1, [{ ...attached(missed, 1), isForeign: true }])];
    assert.deepEqual(steps({ devices: [missed], vms: foreign }), []);
    assert.deepEqual(steps({ devices: [missed], vms: inside, assignments, isObserving: true }), []);
  });

  test('whatever is wanted, and however old the sight is: one of them stays with the host', () => {
    const ports = [1, 2, 3, 4];
    const worlds = fc.record({
      there: fc.subarray(ports, { minLength: 1 }),
      had: fc.subarray(ports),
      forced: fc.subarray(ports),
    });
    fc.assert(
      fc.property(worlds, ({ there, had, forced }) => {
        const devices = there.map((at) => keyboard(at, ...there.filter((other) => other !== at)));
        const inVm = devices.filter((_, i) => had.includes(there[i] ?? 0)).slice(1);
        const input = world({
          devices,
          vms: [
            runningVm(
              1,
              inVm.map((device, i) => attached(device, 1, i + 1)),
            ),
            runningVm(2),
          ],
          assignments,
          holds: devices
            .filter((_, i) => forced.includes(there[i] ?? 0))
            .map((one) => holdIn(one, 2, { isForced: true })),
        });
        const { verdicts, steps: none } = foresee(input);
        assert.deepEqual(none, []);
        assert.ok(verdicts.some(({ outcome }) => outcome.is === 'left'));
      }),
    );
  });
});
