import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Policy } from '../model/policy.ts';
import { plan } from './plan.ts';
import type { ObservedVm } from './plan-types.ts';
import {
  assignment,
  attached,
  haltedVm,
  holdIn,
  holdOut,
  memoryOf,
  planned,
  runningVm,
  stick,
  vmId,
  wordOf,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');

suite('plan: closed, released and unknown VMs', () => {
  const assignments = [assignment(1, 1, 'dom0:1-1')];

  test('a closed VM gets nothing and gives nothing back', () => {
    const closed = { isOpen: false, power: 'suspending' } as const;
    const into = planned({ devices: [device], vms: [runningVm(1, [], closed)], assignments });
    assert.deepEqual(into, { steps: [], outcome: 'waiting vm1 vm' });
    const out = planned({
      devices: [device],
      vms: [runningVm(1), runningVm(2, [attached(device, 2)], closed)],
      assignments,
    });
    assert.deepEqual(out, { steps: [], outcome: 'waiting vm1 release' });
    const unwanted = planned({ devices: [device], vms: [runningVm(2, [attached(device, 2)], closed)] });
    assert.deepEqual(unwanted, { steps: [], outcome: 'attached vm2' });
  });

  test('a VM that is released gives everything back, also of backends that cannot be read', () => {
    const vms = [runningVm(1, [attached(device, 1)], { isReleasing: true, isOpen: false })];
    assert.deepEqual(planned({ devices: [device], vms, assignments }).steps, ['detach dom0:1-1 vm1 0-1']);
    assert.deepEqual(planned({ vms, backends: [] }).steps, ['detach dom0:1-1 vm1 0-1']);
    const twice = [...vms, runningVm(2, [attached(device, 2)])];
    assert.deepEqual(planned({ vms: twice, backends: [] }).steps, ['detach dom0:1-1 vm1 0-1']);
    const empty = [runningVm(1, [], { isReleasing: true })];
    assert.equal(planned({ devices: [device], vms: empty, assignments }).outcome, 'waiting vm1 vm');
  });

  test('a device that may be in a VM which cannot be observed is attached nowhere else', () => {
    const unknown = { ...haltedVm(2), isUnknown: true };
    const claimed = [...assignments, assignment(2, 2, '0951:*', 'manual')];
    const waiting = planned({ devices: [device], vms: [runningVm(1), unknown], assignments: claimed });
    assert.deepEqual(waiting, { steps: [], outcome: 'waiting vm1 release' });
    assert.equal(planned({ devices: [device], vms: [runningVm(1), unknown], assignments }).outcome, 'attaching vm1');
  });

  test('nor one that a rule may have put there, when another rule has its turn now', () => {
    const policy = (mode: Policy['mode']): Policy => ({
      mode,
      rules: [
        { match: {}, action: { do: 'attach', vm: 'vm2' }, when: { running: ['vm2'] } },
        { match: {}, action: { do: 'attach', vm: 'vm1' } },
      ],
      expect: [],
    });
    const vms = [runningVm(1), { ...haltedVm(2), isUnknown: true }];
    const waiting = planned({ devices: [device], vms, policy: policy('enforce') });
    assert.deepEqual(waiting, { steps: [], outcome: 'waiting vm1 release' });
    const byHand = { devices: [device], vms, holds: [holdIn(device, 1)] };
    assert.equal(planned({ ...byHand, policy: policy('enforce') }).outcome, 'waiting vm1 release');
    assert.equal(planned({ ...byHand, policy: policy('observe') }).outcome, 'attaching vm1');
    const seen = [runningVm(1), haltedVm(2)];
    assert.equal(planned({ devices: [device], vms: seen, policy: policy('enforce') }).outcome, 'attaching vm1');
  });
});

suite('plan: a domain without its device model', () => {
  const trouble = 'its device model is gone';
  const { domain = { controllers: [], attachments: [] }, ...rest } = runningVm(1, [], { controllers: [] });
  const broken: ObservedVm = { ...rest, domain: { ...domain, usbTrouble: trouble, canAddController: true } };

  test('a device that belongs there waits for that, with the reason, and no controller is added', () => {
    const parts = { devices: [device], vms: [broken], assignments: [assignment(1, 1, 'dom0:*')] };
    assert.deepEqual(planned(parts), { steps: [], outcome: 'waiting vm1 device model' });
    const outcome = plan(world(parts)).verdicts[0]?.outcome;
    assert.ok(outcome?.is === 'waiting' && outcome.detail === trouble);
    const closed = { ...parts, vms: [{ ...broken, isOpen: false }] };
    assert.equal(planned(closed).outcome, 'waiting vm1 vm');
  });

  test('equally exact: a VM that has one goes first', () => {
    const assignments = [assignment(1, 1, 'dom0:1-1'), assignment(2, 2, 'dom0:1-1')];
    assert.equal(planned({ devices: [device], vms: [broken, runningVm(2)], assignments }).outcome, 'attaching vm2');
  });
});

suite('plan: failures', () => {
  const parts = { devices: [device], vms: [runningVm(1)], assignments: [assignment(1, 1, 'dom0:1-1')] };

  test('the next try waits until it is due', () => {
    const memory = memoryOf(device, { failures: 2, retryAt: 5_000, lastError: 'it did not work', vm: vmId(1) });
    const early = plan(world({ ...parts, memory, now: 4_999 }));
    assert.deepEqual([early.steps, early.wakeAt], [[], 5_000]);
    const [verdict] = early.verdicts;
    assert.deepEqual(verdict?.outcome, { is: 'waiting', vm: vmId(1), for: 'retry', detail: 'it did not work' });
    const due = plan(world({ ...parts, memory, now: 5_000 }));
    assert.deepEqual(due.steps.map(wordOf), ['attach dom0:1-1 vm1 0-1']);
    assert.equal(due.wakeAt, undefined);
  });

  test('a failure says nothing about another plug or another VM', () => {
    const retry = { failures: 2, retryAt: 5_000, vm: vmId(1) };
    assert.equal(planned({ ...parts, memory: memoryOf(device, { ...retry, generation: 'older' }) }).steps.length, 1);
    assert.equal(planned({ ...parts, memory: memoryOf(device, { ...retry, vm: vmId(2) }) }).steps.length, 1);
  });

  test('a detach that failed is tried again when it is due', () => {
    const memory = memoryOf(device, { failures: 1, retryAt: 5_000, vm: vmId(1) });
    const stuck = { devices: [device], vms: [runningVm(1, [attached(device, 1)])], memory };
    assert.deepEqual(planned(stuck), { steps: [], outcome: 'detaching vm1' });
    assert.deepEqual(planned({ ...stuck, now: 5_000 }).steps, ['detach dom0:1-1 vm1 0-1']);
  });

  test('a hold that could not be dropped is dropped later', () => {
    const hold = holdOut(device);
    const key = `hold dom0:1-1 ${hold.generation}`;
    const memory = new Map([
      [key, { state: 'failed', failures: 1, retryAt: 5_000, generation: hold.generation } as const],
    ]);
    const early = plan(world({ holds: [hold], memory }));
    assert.deepEqual([early.steps, early.wakeAt], [[], 5_000]);
    assert.deepEqual(planned({ holds: [hold], memory, now: 5_000 }).steps, ['dropHold dom0:1-1']);
  });
});
