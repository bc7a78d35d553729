import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { explain, namesIn, summarize } from './explain.ts';
import { controllerKey } from './plan.ts';
import {
  assignment,
  attached,
  haltedVm,
  holdIn,
  holdOut,
  memoryOf,
  runningVm,
  stick,
  vmId,
  type WorldParts,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');
const KEY = 'dom0:1-1';

function explained(parts: WorldParts) {
  const explanation = explain(world(parts), KEY);
  assert.ok(explanation);
  return explanation;
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

  test('what others attached', () => {
    const vms = [runningVm(1, [{ ...attached(device, 1), isForeign: true }])];
    const { verdict, because } = explained({ devices: [device], vms });
    assert.equal(summarize(verdict, String), 'attached by others than Usher');
    assert.match(because[1] ?? '', /^Others than Usher attached it to VM vm1, and nothing says/);
  });

  test('an assignment by location, with or without an id: the host says where it is', () => {
    const there = { ...device, location: '0000:00:14.0/1' };
    const parts = (pattern: string) => ({
      devices: [there],
      vms: [runningVm(1, [attached(there, 1, 3)])],
      assignments: [assignment(7, 1, pattern), assignment(8, 1, '0951:*')],
    });
    const { because, losers } = explained(parts('dom0:0000:00:14.0/*'));
    assert.deepEqual(because, [
      'It is attached to VM vm1 at port 0-3.',
      'Assignment 7 (dom0:0000:00:14.0/*) gives it to VM vm1: it matches by location.',
      'The location is what its backend says, whatever is plugged there and however the buses are numbered: trusted.',
    ]);
    assert.equal(losers[0]?.because, 'assignment 7 is more exact: it matches by location');
    assert.deepEqual(explained(parts('dom0:0000:00:14.0/1:0951:1666')).because.slice(1), [
      'Assignment 7 (dom0:0000:00:14.0/1:0951:1666:*:*) gives it to VM vm1: it matches by location and device id.',
      'The location is what its backend says: trusted. The device id is what the device says of itself.',
    ]);
  });

  test('twins are told apart by their locations', () => {
    const at = (ref: string, location: string) => ({ ...stick(ref), location });
    const devices = [at(KEY, '0000:00:14.0/1'), at('dom0:1-2', '0000:00:14.0/2')];
    assert.equal(
      explained({ devices }).because.at(-1),
      'dom0:1-2 (location 0000:00:14.0/2) has the same device id, and this one is in location 0000:00:14.0/1: only their places tell them apart.',
    );
    const mixed = [devices[0] ?? device, stick('usbvm:1-2')];
    assert.match(explained({ devices: mixed }).because.at(-1) ?? '', /^usbvm:1-2 has the same device id, and this one/);
  });

  test('several twins have one id', () => {
    const devices = [device, stick('dom0:1-2'), stick('dom0:1-3')];
    assert.match(explained({ devices }).because.join(' '), /dom0:1-2 and dom0:1-3 have the same device id/);
  });

  test('what is stuck says why', () => {
    const memory = memoryOf(device, { failures: 1, retryAt: 3_000, lastError: 'no answer', vm: vmId(1) });
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
    const guarded = explained({ devices: [{ ...device, guard: 'it is a hub' }], vms: [runningVm(1)] });
    assert.deepEqual(guarded.because, ['It is left with its backend.', 'It is never given to a VM: it is a hub.']);
    assert.deepEqual(guarded.changes, []);
    const free = explained({ devices: [device] });
    assert.match(free.because[1] ?? '', /^Nothing decides about it/);
  });

  test('failures, and what is gone', () => {
    const failed = { failures: 2, retryAt: 3_500, lastError: 'no \u001b[2J answer', vm: vmId(1) };
    const memory = memoryOf(device, failed);
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
