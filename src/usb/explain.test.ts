import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { Controller } from '../hypervisor/driver.ts';
import { applyChange } from './changes.ts';
import { explain, namesIn, sayOutcome, summarize } from './explain.ts';
import { foresee } from './foresee.ts';
import { controllerKey } from './plan.ts';
import type { PlanInput } from './plan-types.ts';
import {
  assignment,
  attached,
  controller,
  haltedVm,
  holdIn,
  holdOut,
  runningVm,
  stick,
  vmId,
  type WorldParts,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');
const KEY = 'dom0:1-1';

/** What a VM has when it runs. */
const controllersOf = () => [controller()];

function explained(parts: WorldParts) {
  const explanation = explain(world(parts), KEY, controllersOf);
  assert.ok(explanation);
  return explanation;
}

/** Each change as `command => outcome vm`. */
function changesOf(parts: WorldParts): string[] {
  const input = world(parts);
  return explained(parts).changes.map(({ command, gives }) => `${command} => ${sayOutcome(gives, namesIn(input))}`);
}

suite('explain: sentences', () => {
  test('an assignment by port', () => {
    const parts = {
      devices: [device],
      vms: [runningVm(1, [attached(device, 1, 3)])],
      assignments: [assignment(7, 1, 'dom0:1-*')],
    };
    assert.deepEqual(explained(parts).because, [
      'It is attached to VM vm1 at port 0-3.',
      'Assignment 7 (dom0:1-*) gives it to VM vm1: it matches by port.',
      'The port is what its backend says, whatever is plugged there: trusted.',
    ]);
  });

  test('a device that one more controller is added for', () => {
    const vms = [runningVm(1, [], { controllers: [], canAddController: true })];
    const parts = { devices: [device], vms, assignments: [assignment(7, 1, 'dom0:1-*')] };
    const { verdict, because } = explained(parts);
    assert.equal(because[0], 'It is being attached to VM vm1; the VM gets one more USB controller for it first.');
    assert.equal(summarize(verdict, String), 'one more USB controller is added for it');
    const entry = { state: 'failed', generation: '', vm: vmId(1), failures: 2, retryAt: 3_000 } as const;
    const memory = new Map([[controllerKey(vmId(1)), { ...entry, lastError: 'no slot' }]]);
    assert.deepEqual(
      explained({ ...parts, memory }).because.filter((line) => line.includes('no slot')),
      [
        'It is waiting for VM vm1: VM vm1 has no USB controller, and one more controller could not be added: no slot.',
        'Adding a USB controller failed 2 times in a row: no slot. The next try comes in 2 s.',
      ],
    );
  });

  test('a device whose VM has lost its device model', () => {
    const vm = runningVm(1, [], { controllers: [] });
    const usbTrouble = 'its device model is gone';
    const vms = [{ ...vm, domain: { controllers: [], attachments: [], usbTrouble } }];
    const parts = { devices: [device], vms, assignments: [assignment(7, 1, 'dom0:1-*')] };
    assert.equal(explained(parts).because[0], 'It is waiting for VM vm1: its device model is gone.');
    assert.deepEqual(changesOf(parts), [
      'usher vm restart vm1 => attached to VM vm1',
      'usher usb unassign 7 => left with its backend',
      'usher usb detach dom0:1-1 => left with its backend',
    ]);
  });

  test('what others attached', () => {
    const vms = [runningVm(1, [{ ...attached(device, 1), isForeign: true }])];
    const { verdict, because } = explained({ devices: [device], vms });
    assert.equal(summarize(verdict, String), 'attached by others than Usher');
    assert.match(because[1] ?? '', /^Others than Usher attached it to VM vm1, and nothing says/);
  });

  test('several twins have one id', () => {
    const devices = [device, stick('dom0:1-2'), stick('dom0:1-3')];
    assert.match(explained({ devices }).because.join(' '), /dom0:1-2 and dom0:1-3 have the same device id/);
  });

  test('what is stuck says why', () => {
    const memory: PlanInput['memory'] = new Map([
      [
        KEY,
        {
          state: 'failed',
          failures: 1,
          retryAt: 3_000,
          lastError: 'no answer',
          generation: device.generation,
          vm: vmId(1),
        },
      ],
    ]);
    const parts = { devices: [device], vms: [runningVm(1, [attached(device, 1)])], holds: [holdOut(device)], memory };
    const { verdict, because } = explained(parts);
    assert.equal(because[0], 'It is being detached from VM vm1, and stuck: no answer.');
    assert.equal(summarize(verdict, String), 'it is stuck: no answer');
    const closed = runningVm(1, [attached(device, 1)], { isOpen: false, isOutOfSight: true });
    const [first] = explained({ ...parts, vms: [closed] }).because;
    assert.equal(first, 'It is attached to VM vm1 at port 0-1, and stuck: VM vm1 cannot be observed.');
  });

  test('an assignment by device id to a halted VM, with a twin and a loser', () => {
    const parts = {
      devices: [device, stick('dom0:1-2')],
      vms: [haltedVm(1), runningVm(2)],
      assignments: [assignment(1, 1, '0951:1666:S1:*'), assignment(2, 2, '0951:*')],
    };
    const { because, losers, twins } = explained(parts);
    assert.deepEqual(because, [
      'It is waiting for VM vm1: VM vm1 is halted.',
      'Assignment 1 (0951:1666:S1:*) gives it to VM vm1: it matches by device id.',
      'The device id is what the device says of itself, and another could say the same: claimed.',
      'dom0:1-2 has the same device id: only ports tell them apart.',
    ]);
    assert.deepEqual(
      losers.map((loser) => `${loser.assignment.id}: ${loser.because}`),
      ['2: assignment 1 is more exact: it matches by device id'],
    );
    assert.deepEqual(twins, ['dom0:1-2']);
  });

  test('holds, guards and nothing', () => {
    const held = explained({ devices: [device], vms: [runningVm(1)], holds: [holdOut(device)] });
    assert.deepEqual(held.because, [
      'It is left with its backend.',
      'A person detached it by hand on 1970-01-01 00:00:00: that holds until it is unplugged or released.',
    ]);
    const guarded = explained({ devices: [{ ...device, guard: 'it is a hub' }] });
    assert.deepEqual(guarded.because, ['It is left with its backend.', 'It is never given to a VM: it is a hub.']);
    assert.deepEqual(guarded.changes, []);
    const free = explained({ devices: [device] });
    assert.match(free.because[1] ?? '', /^Nothing decides about it/);
  });

  test('failures, and what is gone', () => {
    const memory: PlanInput['memory'] = new Map([
      [
        KEY,
        {
          state: 'failed',
          failures: 2,
          retryAt: 3_500,
          lastError: 'no \u001b[2J answer',
          generation: device.generation,
          vm: vmId(1),
        },
      ],
    ]);
    const parts = { devices: [device], vms: [runningVm(1)], assignments: [assignment(1, 1, KEY)], memory, now: 1_000 };
    assert.equal(
      explained(parts).because.at(-1),
      'It failed 2 times in a row: no \\u{1b}[2J answer. The next try comes in 3 s.',
    );
    assert.match(explained(parts).because[0] ?? '', /^It is waiting for VM vm1: no \\u\{1b\}\[2J answer\.$/);
    const gone = explained({ vms: [runningVm(1, [attached(device, 1)])] });
    assert.deepEqual(gone.because, ['It was unplugged, and is still being detached from VM vm1.']);
    const unread = explained({ vms: [runningVm(1, [attached(device, 1)])], backends: [] });
    assert.match(unread.because[0] ?? '', /its backend cannot be read/);
  });

  test('one sentence for lists', () => {
    const nameOf = namesIn(world({ vms: [runningVm(1)] }));
    const say = (parts: WorldParts) => summarize(explained(parts).verdict, nameOf);
    assert.equal(say({ devices: [device] }), 'nothing says that it belongs there');
    assert.equal(say({ devices: [device], holds: [holdOut(device)] }), 'detached by hand');
    assert.equal(
      say({ devices: [device], vms: [runningVm(1)], holds: [holdIn(device, 1)] }),
      'attached to vm1 by hand',
    );
    const assigned = { devices: [device], assignments: [assignment(4, 1, KEY)] };
    assert.equal(say({ ...assigned, vms: [runningVm(1)] }), 'assignment 4: dom0:1-1');
    assert.equal(say({ ...assigned, vms: [haltedVm(1)] }), 'VM vm1 is halted');
  });

  test('what is neither plugged nor attached has no explanation', () => {
    assert.equal(explain(world({}), KEY), undefined);
  });
});

suite('explain: changes', () => {
  test('nothing decides: attach it, or assign it', () => {
    assert.deepEqual(changesOf({ devices: [device], vms: [runningVm(1)] }), [
      'usher usb attach vm1 dom0:1-1 => attached to VM vm1',
      'usher usb assign vm1 0951:1666:S1:080650 --auto => attached to VM vm1',
    ]);
  });

  test('a twin: assigned by its port', () => {
    const parts = { devices: [device, stick('dom0:1-2')], vms: [runningVm(1)] };
    assert.ok(changesOf(parts).includes('usher usb assign vm1 dom0:1-1 --auto => attached to VM vm1'));
  });

  test('an assignment that has to be beaten is beaten by a more exact one', () => {
    const parts = {
      devices: [device],
      vms: [runningVm(1, [attached(device, 1)]), runningVm(2)],
      assignments: [assignment(3, 1, 'dom0:1-1')],
    };
    assert.deepEqual(changesOf(parts), [
      'usher usb unassign 3 => left with its backend',
      'usher usb detach dom0:1-1 => left with its backend',
      'usher usb attach vm2 dom0:1-1 => attached to VM vm2',
      'usher usb assign vm2 dom0:1-1:0951:1666:S1:080650 --auto => attached to VM vm2',
    ]);
  });

  test('a halted VM: start it', () => {
    const parts = { devices: [device], vms: [haltedVm(1)], assignments: [assignment(3, 1, 'dom0:1-1')] };
    assert.equal(changesOf(parts)[0], 'usher vm start vm1 => attached to VM vm1');
  });

  test('a halted VM whose config has no fitting controller, or whose ports others will take: no start is promised', () => {
    const parts = { devices: [device], vms: [haltedVm(1)], assignments: [assignment(3, 1, 'dom0:1-1')] };
    const started = (controllers: readonly Controller[], input = world(parts)) =>
      explain(input, KEY, () => controllers)?.changes.some(({ apply }) => apply.do === 'start');
    assert.equal(started([]), false, 'no controller');
    assert.equal(started([controller(0, 2, ['low', 'full'])]), false, 'too slow a controller');
    assert.equal(started([controller(0, 1)]), true);
    const crowd = {
      ...parts,
      devices: [device, stick('dom0:1-0', { serial: 'S0' })],
      assignments: [assignment(3, 1, 'dom0:*')],
    };
    assert.equal(started([controller(0, 1)], world(crowd)), false, 'dom0:1-0 goes first');
    assert.equal(started([controller(0, 2)], world(crowd)), true);
  });

  test('a full VM, and one that is halted: attaching by hand would be refused and is not offered', () => {
    const other = stick('dom0:1-2', { serial: 'S2' });
    const full = runningVm(1, [attached(other, 1)], { controllers: [controller(0, 1)] });
    const devices = [device, other];
    const kept = assignment(1, 1, 'dom0:1-2');
    assert.deepEqual(changesOf({ devices, vms: [full], assignments: [kept] }), []);
    const assignments = [kept, assignment(2, 2, KEY, 'manual')];
    assert.deepEqual(changesOf({ devices, vms: [full, haltedVm(2)], assignments }), [
      'usher usb assign vm2 0951:1666:S1:080650 --auto => waiting for VM vm2',
    ]);
  });

  test('an assignment that is there already is not proposed again', () => {
    const parts = {
      devices: [device],
      vms: [runningVm(1)],
      assignments: [assignment(1, 1, device.deviceId, 'manual')],
    };
    assert.deepEqual(changesOf(parts), [
      'usher usb attach vm1 dom0:1-1 => attached to VM vm1',
      'usher usb assign vm1 dom0:1-1 --auto => attached to VM vm1',
    ]);
  });

  test('a hold: release it; assigning would not help', () => {
    const parts = {
      devices: [device],
      vms: [runningVm(1)],
      assignments: [assignment(1, 1, 'dom0:*')],
      holds: [holdOut(device)],
    };
    assert.deepEqual(changesOf(parts), [
      'usher usb release dom0:1-1 => attached to VM vm1',
      'usher usb attach vm1 dom0:1-1 => attached to VM vm1',
    ]);
  });

  test('each change, applied, gives what it says', () => {
    const numbers = fc.integer({ min: 1, max: 3 });
    const vms = fc.tuple(
      ...[1, 2, 3].map((n) =>
        fc.constantFrom(runningVm(n), runningVm(n, [], { controllers: [controller(0, 1)] }), haltedVm(n)),
      ),
    );
    const patterns = fc.constantFrom('dom0:1-1', 'dom0:*', '0951:1666:S1:*', '0951:*', 'dom0:1-1:0951:*');
    const modes = fc.constantFrom('auto' as const, 'manual' as const);
    const wishes = fc.array(fc.tuple(numbers, patterns, modes), { maxLength: 4 });
    const hands = fc.constantFrom([], [holdOut(device)], [holdIn(device, 1)], [holdIn(device, 2)]);
    const rival = stick('dom0:1-0', { serial: 'S0' });
    const twins = fc.constantFrom([device], [device, stick('dom0:1-2')], [rival, device]);
    const inputs = fc.record({ vms, wishes, holds: hands, devices: twins }).map((parts) =>
      world({
        ...parts,
        assignments: parts.wishes.map(([vm, pattern, mode], i) => assignment(i + 1, vm, pattern, mode)),
      }),
    );
    fc.assert(
      fc.property(inputs, (input) => {
        const before = foresee(input).verdicts.find((verdict) => verdict.device === KEY)?.outcome;
        for (const { apply, gives } of explain(input, KEY, controllersOf)?.changes ?? []) {
          const after = foresee(applyChange(input, device, apply, controllersOf)).verdicts.find(
            (verdict) => verdict.device === KEY,
          );
          assert.ok(after);
          const end = { is: after.outcome.is, ...('vm' in after.outcome ? { vm: after.outcome.vm } : {}) };
          assert.deepEqual(end, gives);
          assert.notDeepEqual({ ...gives }, { is: before?.is, ...(before && 'vm' in before ? { vm: before.vm } : {}) });
        }
      }),
      { numRuns: 200 },
    );
  });
});
