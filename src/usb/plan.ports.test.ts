import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Attachment } from '../model/usb.ts';
import { plan } from './plan.ts';
import {
  assignment,
  attached,
  controller,
  holdIn,
  memoryOf,
  outcomeWord,
  planned,
  runningVm,
  stick,
  vmId,
  wordOf,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');

suite('plan: ports', () => {
  test('several devices get different ports, free ones', () => {
    const devices = [stick('dom0:1-1'), stick('dom0:1-2'), stick('dom0:1-3')];
    const vms = [runningVm(1, [attached(stick('dom0:1-3'), 1, 2)])];
    const { steps } = planned({ devices, vms, assignments: [assignment(1, 1, 'dom0:*')] });
    assert.deepEqual(steps, ['attach dom0:1-1 vm1 0-1', 'attach dom0:1-2 vm1 0-3']);
  });

  test('the port of a step under way is taken, and its device gets no other step', () => {
    const other = stick('dom0:1-2');
    const inFlight = { kind: 'attach', vm: vmId(1), slot: { controller: 0, port: 1 }, device, why: '' } as const;
    const parts = {
      vms: [runningVm(1)],
      assignments: [assignment(1, 1, 'dom0:*')],
      memory: memoryOf(device, { inFlight }),
    };
    const { steps, verdicts } = plan(world({ ...parts, devices: [device, other] }));
    assert.deepEqual(steps.map(wordOf), ['attach dom0:1-2 vm1 0-2']);
    assert.deepEqual(
      verdicts.map(({ outcome }) => outcomeWord(outcome)),
      ['attaching vm1', 'attaching vm1'],
    );
  });

  test('a port that is being freed is free in a later plan only', () => {
    const leaving = stick('dom0:1-2');
    const vms = [runningVm(1, [attached(leaving, 1)], { controllers: [controller(0, 1)] })];
    const both = { devices: [device, leaving], vms, assignments: [assignment(1, 1, 'dom0:1-1')] };
    assert.deepEqual(planned(both), { steps: ['detach dom0:1-2 vm1 0-1'], outcome: 'waiting vm1 port' });
    const inFlight = { kind: 'detach', vm: vmId(1), attachment: attached(leaving, 1), why: '' } as const;
    const memory = new Map([['dom0:1-2', { state: 'detaching', failures: 0, generation: '', inFlight } as const]]);
    const observed = { ...both, vms: [runningVm(1, [], { controllers: [controller(0, 1)] })] };
    assert.deepEqual(planned({ ...observed, memory }), { steps: [], outcome: 'waiting vm1 port' });
    assert.deepEqual(planned(observed).steps, ['attach dom0:1-1 vm1 0-1']);
  });

  test('controllers: the first that has its speed, an emulated device also a slower one', () => {
    const slow = controller(0, 2, ['low', 'full']);
    const fast = controller(1, 2, ['low', 'full', 'high']);
    const wish = { assignments: [assignment(1, 1, '*:1-*')] };
    const real = { devices: [device], ...wish };
    assert.deepEqual(planned({ ...real, vms: [runningVm(1, [], { controllers: [fast, slow] })] }).steps, [
      'attach dom0:1-1 vm1 1-1',
    ]);
    assert.equal(
      planned({ ...real, vms: [runningVm(1, [], { controllers: [slow] })] }).outcome,
      'waiting vm1 controller',
    );
    assert.equal(planned({ ...real, vms: [runningVm(1, [], { controllers: [] })] }).outcome, 'waiting vm1 controller');
    const emulated = stick('virtual:1-1', { speed: 'super', software: { kind: 'storage', file: '/x' } });
    const virtual = { devices: [emulated], ...wish };
    assert.deepEqual(planned({ ...virtual, vms: [runningVm(1, [], { controllers: [slow, fast] })] }).steps, [
      'attach virtual:1-1 vm1 1-1',
    ]);
    assert.deepEqual(planned({ ...virtual, vms: [runningVm(1, [], { controllers: [slow] })] }).steps, [
      'attach virtual:1-1 vm1 0-1',
    ]);
  });

  test('no free port', () => {
    const full = runningVm(1, [attached(stick('dom0:1-9'), 1)], { controllers: [controller(0, 1)] });
    const devices = [device, stick('dom0:1-9')];
    const wanting = planned({ devices, vms: [full], assignments: [assignment(1, 1, 'dom0:*')] });
    assert.deepEqual(wanting, { steps: [], outcome: 'waiting vm1 port' });
  });

  test('a port that was asked for goes before any port', () => {
    const asking = stick('dom0:1-2');
    const holds = [holdIn(asking, 1, { slot: { controller: 0, port: 1 } })];
    const parts = {
      devices: [device, asking],
      vms: [runningVm(1)],
      assignments: [assignment(1, 1, 'dom0:1-1')],
      holds,
    };
    assert.deepEqual(planned(parts).steps, ['attach dom0:1-1 vm1 0-2', 'attach dom0:1-2 vm1 0-1']);
  });

  test('the last port is taken again if it is free and fits, by the same plug in the same VM', () => {
    const place = { vm: vmId(1), generation: device.generation, controller: 0, port: 3 };
    const stepsWith = (last: typeof place, vm = runningVm(1)) =>
      plan({
        ...world({ devices: [device], vms: [vm], assignments: [assignment(1, 1, 'dom0:1-1')] }),
        lastPlaces: new Map([['dom0:1-1', last]]),
      }).steps.map(wordOf);
    const other = stick('dom0:1-2');
    assert.deepEqual(stepsWith(place), ['attach dom0:1-1 vm1 0-3']);
    assert.ok(!stepsWith(place, runningVm(1, [attached(other, 1, 3)])).includes('attach dom0:1-1 vm1 0-3'), 'taken');
    assert.deepEqual(stepsWith({ ...place, port: 9 }), ['attach dom0:1-1 vm1 0-1'], 'no such port');
    assert.deepEqual(stepsWith({ ...place, vm: vmId(2) }), ['attach dom0:1-1 vm1 0-1']);
    assert.deepEqual(stepsWith({ ...place, generation: 'older' }), ['attach dom0:1-1 vm1 0-1']);
  });

  test('a port that was asked for is taken, or is none', () => {
    const taken: Attachment = attached(stick('dom0:1-9'), 1);
    const vms = [runningVm(1, [taken])];
    const holdAt = (port: number) => [
      holdIn(device, 1, { slot: { controller: 0, port } }),
      holdIn(stick('dom0:1-9'), 1),
    ];
    const devices = [device, stick('dom0:1-9')];
    assert.equal(planned({ devices, vms, holds: holdAt(1) }).outcome, 'waiting vm1 port');
    assert.equal(planned({ devices, vms, holds: holdAt(5) }).outcome, 'waiting vm1 controller');
  });
});
