import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { plan } from './plan.ts';
import {
  assignment,
  attached,
  holdIn,
  holdOut,
  outcomeWord,
  planned,
  runningVm,
  stick,
  vmId,
  wordOf,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');

suite('plan: what is attached', () => {
  const assignments = [assignment(1, 1, 'dom0:1-1')];

  test('what is right is left as it is', () => {
    const vms = [runningVm(1, [attached(device, 1, 3)])];
    assert.deepEqual(planned({ devices: [device], vms, assignments }), { steps: [], outcome: 'attached vm1' });
  });

  test('what nothing wants is detached, what a hand put there is not', () => {
    const vms = [runningVm(1, [attached(device, 1)])];
    assert.deepEqual(planned({ devices: [device], vms }).steps, ['detach dom0:1-1 vm1 0-1']);
    assert.deepEqual(planned({ devices: [device], vms, holds: [holdIn(device, 1)] }).steps, []);
  });

  test('what is in the wrong VM is detached, attached by the next plan', () => {
    const wrong = [runningVm(1), runningVm(2, [attached(device, 2)])];
    const first = planned({ devices: [device], vms: wrong, assignments });
    assert.deepEqual(first, { steps: ['detach dom0:1-1 vm2 0-1'], outcome: 'detaching vm2' });
    const second = planned({ devices: [device], vms: [runningVm(1), runningVm(2)], assignments });
    assert.deepEqual(second.steps, ['attach dom0:1-1 vm1 0-1']);
  });

  for (const [what, change, why] of [
    ['a replug', { generation: 'older' }, 'the device was plugged anew'],
    ['another device in its place', { deviceId: '1234:5678::030101' }, 'another device took its place'],
  ] as const) {
    test(`${what} is detached first`, () => {
      const vms = [runningVm(1, [{ ...attached(device, 1), ...change }])];
      const { steps } = plan(world({ devices: [device], vms, assignments }));
      assert.deepEqual(steps.map(wordOf), ['detach dom0:1-1 vm1 0-1']);
      assert.equal(steps[0]?.why, why);
    });
  }

  test('what is gone is detached, and its verdict says so', () => {
    const { steps, verdicts } = plan(world({ vms: [runningVm(1, [attached(device, 1)])], assignments }));
    assert.deepEqual(steps.map(wordOf), ['detach dom0:1-1 vm1 0-1']);
    assert.deepEqual(
      verdicts.map(({ device: key, isGone }) => [key, isGone]),
      [['dom0:1-1', true]],
    );
  });

  test('the backend cannot be read: nothing is done about its devices', () => {
    const vms = [runningVm(1, [attached(device, 1)])];
    const parts = { devices: [device], vms, backends: ['virtual'] };
    const { steps, verdicts } = plan(world(parts));
    assert.deepEqual(steps, []);
    assert.deepEqual(
      verdicts.map(({ outcome, isGone }) => [outcomeWord(outcome), isGone]),
      [['attached vm1', false]],
    );
  });

  test('what others attached stays, unless somebody decides about it', () => {
    const foreign = { ...attached(device, 1), isForeign: true };
    const parts = { devices: [device], vms: [runningVm(1, [foreign]), runningVm(2)] };
    assert.deepEqual(planned(parts), { steps: [], outcome: 'attached vm1' });
    assert.deepEqual(plan(world(parts)).verdicts[0]?.decider, { by: 'others', vm: vmId(1) });
    const leaves = ['detach dom0:1-1 vm1 0-1'];
    assert.deepEqual(planned({ ...parts, assignments: [assignment(1, 2, 'dom0:1-1')] }).steps, leaves);
    assert.deepEqual(planned({ ...parts, holds: [holdOut(device)] }).steps, leaves);
    assert.deepEqual(planned({ ...parts, devices: [stick('dom0:1-1', { generation: 'g2' })] }).steps, leaves);
    assert.deepEqual(planned({ ...parts, devices: [stick('dom0:1-1', { guard: 'it is a hub' })] }).steps, leaves);
    const released = [runningVm(1, [foreign], { isReleasing: true })];
    assert.deepEqual(planned({ ...parts, vms: released }).steps, leaves);
    assert.deepEqual(planned({ ...parts, assignments: [assignment(1, 1, 'dom0:1-1')] }).outcome, 'attached vm1');
  });

  test('twice in one VM: one stays', () => {
    const vms = [runningVm(1, [attached(device, 1, 1), attached(device, 1, 2)])];
    assert.deepEqual(planned({ devices: [device], vms, assignments }).steps, ['detach dom0:1-1 vm1 0-2']);
  });

  test('in two VMs: it leaves the wrong one', () => {
    const vms = [runningVm(1, [attached(device, 1)]), runningVm(2, [attached(device, 2)])];
    assert.deepEqual(planned({ devices: [device], vms, assignments }).steps, ['detach dom0:1-1 vm2 0-1']);
    const ofSecond = [assignment(1, 2, 'dom0:1-1')];
    assert.deepEqual(planned({ devices: [device], vms, assignments: ofSecond }).steps, ['detach dom0:1-1 vm1 0-1']);
  });

  test('a hold asks for another port of the same VM: it stays where it is', () => {
    const holds = [holdIn(device, 1, { slot: { controller: 0, port: 4 } })];
    const vms = [runningVm(1, [attached(device, 1, 2)])];
    assert.deepEqual(planned({ devices: [device], vms, holds }), { steps: [], outcome: 'attached vm1' });
  });
});
