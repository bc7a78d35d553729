import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { Controller } from '../hypervisor/driver.ts';
import { applyChange } from './changes.ts';
import { explain, namesIn, sayOutcome } from './explain.ts';
import { foresee } from './foresee.ts';
import {
  assignment,
  attached,
  controller,
  haltedVm,
  holdIn,
  holdOut,
  runningVm,
  stick,
  type WorldParts,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');
const KEY = 'dom0:1-1';

/** What a VM has when it runs. */
const controllersOf = () => [controller()];

/** Each change as `command => outcome vm`. */
function changesOf(parts: WorldParts): string[] {
  const input = world(parts);
  const { changes = [] } = explain(input, KEY, controllersOf) ?? {};
  return changes.map(({ command, gives }) => `${command} => ${sayOutcome(gives, namesIn(input))}`);
}

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

  test('where the host tells the location, a twin is assigned by that', () => {
    const devices = [{ ...device, location: '0000:00:14.0/1' }, stick('dom0:1-2')];
    const changes = changesOf({ devices, vms: [runningVm(1)] });
    assert.ok(changes.includes('usher usb assign vm1 dom0:0000:00:14.0/1 --auto => attached to VM vm1'));
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
    const seen = new Set<string>();
    fc.assert(
      fc.property(inputs, (input) => {
        const before = foresee(input).verdicts.find((verdict) => verdict.device === KEY)?.outcome;
        for (const { apply, gives } of explain(input, KEY, controllersOf)?.changes ?? []) {
          seen.add(apply.do);
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
    assert.deepEqual([...seen].sort(), ['assign', 'attach', 'detach', 'release', 'start', 'unassign']);
  });

  test('a device whose VM has lost its device model', () => {
    const vm = runningVm(1, [], { controllers: [] });
    const usbTrouble = 'its device model is gone';
    const vms = [{ ...vm, domain: { controllers: [], attachments: [], usbTrouble } }];
    const parts = { devices: [device], vms, assignments: [assignment(7, 1, 'dom0:1-*')] };
    assert.equal(explain(world(parts), KEY)?.because[0], 'It is waiting for VM vm1: its device model is gone.');
    assert.deepEqual(changesOf(parts), [
      'usher vm restart vm1 => attached to VM vm1',
      'usher usb unassign 7 => left with its backend',
      'usher usb detach dom0:1-1 => left with its backend',
    ]);
  });
});
