import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Controller } from '../hypervisor/driver.ts';
import type { Attachment } from '../model/usb.ts';
import { plan, stepKey } from './plan.ts';
import type { DeviceMemory, ObservedVm, PlanInput, Step } from './plan-types.ts';
import {
  assignment,
  attached,
  controller,
  haltedVm,
  holdIn,
  holdOut,
  outcomeWord,
  runningVm,
  stick,
  vmId,
  type WorldParts,
  wordOf,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');

/** The steps, and the outcome of the first verdict, as words. */
function planned(parts: WorldParts): { steps: string[]; outcome: string } {
  const { steps, verdicts } = plan(world(parts));
  return { steps: steps.map(wordOf), outcome: outcomeWord(verdicts[0]?.outcome) };
}

function memoryOf(entry: Partial<DeviceMemory>): PlanInput['memory'] {
  return new Map([['dom0:1-1', { state: 'failed', failures: 0, generation: device.generation, ...entry }]]);
}

suite('plan: who decides', () => {
  test('an auto assignment attaches to the first free port', () => {
    const parts = { devices: [device], vms: [runningVm(1)], assignments: [assignment(1, 1, 'dom0:1-1')] };
    assert.deepEqual(planned(parts), { steps: ['attach dom0:1-1 vm1 0-1'], outcome: 'attaching vm1' });
  });

  test('without an assignment a device stays with its backend', () => {
    assert.deepEqual(planned({ devices: [device], vms: [runningVm(1)] }), { steps: [], outcome: 'left' });
  });

  test('a guarded device is never attached, and taken out where it is', () => {
    const hub = stick('dom0:1-1', { guard: 'it is a hub' });
    const wishes = { assignments: [assignment(1, 1, 'dom0:1-1')], holds: [holdIn(hub, 1)] };
    assert.deepEqual(planned({ devices: [hub], vms: [runningVm(1)], ...wishes }).steps, []);
    const inside = planned({ devices: [hub], vms: [runningVm(1, [attached(hub, 1)])], ...wishes });
    assert.deepEqual(inside, { steps: ['detach dom0:1-1 vm1 0-1'], outcome: 'detaching vm1' });
  });

  test('a hold beats assignments, out and in', () => {
    const vms = [runningVm(1, [attached(device, 1)]), runningVm(2)];
    const assignments = [assignment(1, 1, 'dom0:1-1:0951:1666:S1:*')];
    const out = planned({ devices: [device], vms, assignments, holds: [holdOut(device)] });
    assert.deepEqual(out.steps, ['detach dom0:1-1 vm1 0-1']);
    const moved = planned({ devices: [device], vms, assignments, holds: [holdIn(device, 2)] });
    assert.deepEqual(moved.steps, ['detach dom0:1-1 vm1 0-1']);
  });

  test('of two holds on one plug the newer counts', () => {
    const holds = [holdIn(device, 1, { createdAt: 5 }), { ...holdOut(device), createdAt: 9 }];
    assert.deepEqual(planned({ devices: [device], vms: [runningVm(1)], holds }).outcome, 'left');
  });

  test('a hold of another plug decides nothing and is dropped', () => {
    const holds = [{ ...holdOut(device), generation: 'older' }];
    const parts = { devices: [device], vms: [runningVm(1)], assignments: [assignment(1, 1, 'dom0:1-1')], holds };
    assert.deepEqual(planned(parts).steps, ['dropHold dom0:1-1', 'attach dom0:1-1 vm1 0-1']);
  });

  test('a hold of an absent device is dropped, unless its backend cannot be read', () => {
    assert.deepEqual(planned({ holds: [holdOut(device)] }).steps, ['dropHold dom0:1-1']);
    assert.deepEqual(planned({ holds: [holdOut(device)], backends: ['virtual'] }).steps, []);
  });

  test('the more exact assignment wins, also when its VM is halted', () => {
    const assignments = [assignment(1, 1, 'dom0:1-*'), assignment(2, 2, 'dom0:1-1')];
    const both = planned({ devices: [device], vms: [runningVm(1), runningVm(2)], assignments });
    assert.deepEqual(both.steps, ['attach dom0:1-1 vm2 0-1']);
    const waiting = planned({ devices: [device], vms: [runningVm(1), haltedVm(2)], assignments });
    assert.deepEqual(waiting, { steps: [], outcome: 'waiting vm2 vm' });
  });

  test('port and id beat a port, and a port beats an id', () => {
    const vms = [runningVm(1), runningVm(2), runningVm(3)];
    const byId = assignment(1, 1, '0951:1666:S1:080650');
    const byPort = assignment(2, 2, 'dom0:1-*');
    const byBoth = assignment(3, 3, 'dom0:1-*:0951:*');
    assert.equal(planned({ devices: [device], vms, assignments: [byId, byPort] }).outcome, 'attaching vm2');
    assert.equal(planned({ devices: [device], vms, assignments: [byId, byPort, byBoth] }).outcome, 'attaching vm3');
  });

  test('equally exact: it stays where it is', () => {
    const assignments = [assignment(1, 1, 'dom0:1-1'), assignment(2, 2, 'dom0:1-1')];
    const vms = [runningVm(1), runningVm(2, [attached(device, 2)])];
    assert.deepEqual(planned({ devices: [device], vms, assignments }), { steps: [], outcome: 'attached vm2' });
  });

  test('equally exact and nowhere: a VM that can have it now, then the oldest assignment', () => {
    const assignments = [assignment(1, 1, 'dom0:1-1'), assignment(2, 2, 'dom0:1-1'), assignment(3, 3, 'dom0:1-1')];
    const some = planned({ devices: [device], vms: [haltedVm(1), runningVm(2), runningVm(3)], assignments });
    assert.equal(some.outcome, 'attaching vm2');
    const none = planned({ devices: [device], vms: [haltedVm(1), haltedVm(2), haltedVm(3)], assignments });
    assert.equal(none.outcome, 'waiting vm1 vm');
  });

  test('manual and ask only wait; required acts like auto', () => {
    const vms = [runningVm(1), runningVm(2)];
    const waiting = [assignment(1, 1, 'dom0:1-1', 'manual'), assignment(2, 1, 'dom0:1-1', 'ask')];
    const { steps, verdicts } = plan(world({ devices: [device], vms, assignments: waiting }));
    assert.deepEqual(steps, []);
    assert.deepEqual(
      verdicts[0]?.losers.map(({ because }) => because),
      ['manual: waits for `usher usb attach`', 'ask: waits for `usher usb attach`'],
    );
    const required = [...waiting, assignment(3, 2, 'dom0:*', 'required')];
    assert.equal(planned({ devices: [device], vms, assignments: required }).outcome, 'attaching vm2');
  });

  test('an assignment to a VM that is gone decides nothing', () => {
    const assignments = [assignment(1, 9, 'dom0:1-1'), assignment(2, 1, 'dom0:*')];
    assert.equal(planned({ devices: [device], vms: [runningVm(1)], assignments }).outcome, 'attaching vm1');
  });

  test('losers say what beat them', () => {
    const assignments = [
      assignment(1, 1, 'dom0:1-1'),
      assignment(2, 2, 'dom0:1-*'),
      assignment(3, 2, 'dom0:1-1'),
      assignment(4, 3, 'dom0:1-1'),
    ];
    const vms = [runningVm(1), runningVm(2), haltedVm(3)];
    const [verdict] = plan(world({ devices: [device], vms, assignments })).verdicts;
    assert.deepEqual(
      verdict?.losers.map((loser) => `${loser.assignment.id} ${loser.because}`),
      [
        '2 assignment 1 is more exact: it matches by port',
        '3 assignment 1 is as exact, and older',
        '4 assignment 1 is as exact, and its VM can have the device now',
      ],
    );
  });

  test('twins are told', () => {
    const twins = [stick('dom0:1-1'), stick('dom0:1-2'), stick('virtual:1-1', { serial: 'S2' })];
    const { verdicts } = plan(world({ devices: twins }));
    assert.deepEqual(
      verdicts.map((verdict) => [verdict.device, verdict.twins]),
      [
        ['dom0:1-1', ['dom0:1-2']],
        ['dom0:1-2', ['dom0:1-1']],
        ['virtual:1-1', []],
      ],
    );
  });
});

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
  });

  test('a hold asks for another port of the same VM: it stays where it is', () => {
    const holds = [holdIn(device, 1, { slot: { controller: 0, port: 4 } })];
    const vms = [runningVm(1, [attached(device, 1, 2)])];
    assert.deepEqual(planned({ devices: [device], vms, holds }), { steps: [], outcome: 'attached vm1' });
  });
});

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
});

suite('plan: ports', () => {
  const assignments = [assignment(1, 1, '*:*')];

  test('several devices get different ports, free ones', () => {
    const devices = [stick('dom0:1-1'), stick('dom0:1-2'), stick('dom0:1-3')];
    const vms = [runningVm(1, [attached(stick('dom0:1-3'), 1, 2)])];
    const { steps } = planned({ devices, vms, assignments: [assignment(1, 1, 'dom0:*')] });
    assert.deepEqual(steps, ['attach dom0:1-1 vm1 0-1', 'attach dom0:1-2 vm1 0-3']);
  });

  test('the port of a step under way is taken, and its device gets no other step', () => {
    const other = stick('dom0:1-2');
    const inFlight = { kind: 'attach', vm: vmId(1), slot: { controller: 0, port: 1 }, device, why: '' } as const;
    const parts = { vms: [runningVm(1)], assignments: [assignment(1, 1, 'dom0:*')], memory: memoryOf({ inFlight }) };
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
    assert.deepEqual(planned({ ...observed, memory }).outcome, 'waiting vm1 port');
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
    assert.equal(
      planned({ devices, vms: [full], assignments: [assignment(1, 1, 'dom0:*')] }).outcome,
      'waiting vm1 port',
    );
    assert.deepEqual(assignments.length, 1);
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

suite('plan: controllers on demand', () => {
  const assignments = [assignment(1, 1, 'dom0:*')];
  const devices = [device, stick('dom0:1-2')];
  const growing = (controllers: readonly Controller[], more: Partial<ObservedVm> = {}) =>
    runningVm(1, [], { controllers, canAddController: true, ...more });
  const outcomes = (parts: WorldParts) => plan(world(parts)).verdicts.map(({ outcome }) => outcomeWord(outcome));

  test('one for all that find no port; what finds one gets it in the same plan', () => {
    const parts = { devices: [...devices, stick('dom0:1-3')], vms: [growing([controller(0, 1)])], assignments };
    assert.deepEqual(planned(parts).steps, ['addController vm1', 'attach dom0:1-1 vm1 0-1']);
    const needs = 'attaching vm1 needs controller';
    assert.deepEqual(outcomes(parts), ['attaching vm1', needs, needs]);
  });

  test('for a device that fits none, and for a VM without any', () => {
    for (const controllers of [[], [controller(0, 4, ['low', 'full'])]]) {
      const { steps } = plan(world({ devices: [device], vms: [growing(controllers)], assignments }));
      assert.deepEqual(steps.map(wordOf), ['addController vm1']);
      assert.match(
        steps[0]?.kind === 'addController' ? steps[0].why : '',
        /^dom0:1-1 belongs there, and VM vm1 has no /,
      );
    }
  });

  test('each VM gets its own; a VM that is closed or can have no more gets none', () => {
    const wishes = [1, 2, 3, 4].map((n) => assignment(n, n, `dom0:1-${n}`));
    const vms = [
      growing([]),
      runningVm(2, [], { controllers: [], canAddController: true }),
      runningVm(3, [], { controllers: [] }),
      runningVm(4, [], { controllers: [], canAddController: true, isOpen: false }),
    ];
    const parts = { devices: [1, 2, 3, 4].map((n) => stick(`dom0:1-${n}`)), vms, assignments: wishes };
    assert.deepEqual(planned(parts).steps, ['addController vm1', 'addController vm2']);
    assert.deepEqual(outcomes(parts).slice(2), ['waiting vm3 controller', 'waiting vm4 vm']);
  });

  test('none for a port that a person asked for and that cannot be', () => {
    const holds = [holdIn(device, 1, { slot: { controller: 5, port: 1 } })];
    const parts = { devices: [device], vms: [growing([controller(0, 4)])], holds };
    assert.deepEqual(planned(parts), { steps: [], outcome: 'waiting vm1 controller' });
  });

  test('none while one is under way; one that failed is due later, and the verdict says why', () => {
    const step: Step = { kind: 'addController', vm: vmId(1), why: '' };
    const entry = { generation: '', vm: vmId(1), failures: 1 };
    const key = stepKey(step);
    const parts = { devices: [device], vms: [growing([])], assignments };
    const underWay: PlanInput['memory'] = new Map([[key, { ...entry, state: 'queued', inFlight: step }]]);
    const needs = 'attaching vm1 needs controller';
    assert.deepEqual(planned({ ...parts, memory: underWay }), { steps: [], outcome: needs });
    const failed: PlanInput['memory'] = new Map([
      [key, { ...entry, state: 'failed', retryAt: 1_500, lastError: 'no slot' }],
    ]);
    const { steps, verdicts, wakeAt } = plan(world({ ...parts, memory: failed }));
    assert.deepEqual([steps, wakeAt], [[], 1_500]);
    const outcome = verdicts[0]?.outcome;
    assert.ok(outcome?.is === 'waiting' && outcome.for === 'controller');
    assert.equal(outcome.detail, 'VM vm1 has no USB controller, and one more controller could not be added: no slot');
    assert.deepEqual(planned({ ...parts, memory: failed, now: 1_500 }).steps, ['addController vm1']);
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
    const memory = memoryOf({ failures: 2, retryAt: 5_000, lastError: 'it did not work', vm: vmId(1) });
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
    assert.equal(planned({ ...parts, memory: memoryOf({ ...retry, generation: 'older' }) }).steps.length, 1);
    assert.equal(planned({ ...parts, memory: memoryOf({ ...retry, vm: vmId(2) }) }).steps.length, 1);
  });

  test('a detach that failed is tried again when it is due', () => {
    const memory = memoryOf({ failures: 1, retryAt: 5_000, vm: vmId(1) });
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

test('plan: for one device alone, as in the whole', () => {
  const devices = [device, stick('dom0:1-2')];
  const input = world({ devices, vms: [runningVm(1)], assignments: [assignment(1, 1, 'dom0:*')] });
  assert.deepEqual(plan(input, 'dom0:1-2').steps.map(wordOf), ['attach dom0:1-2 vm1 0-1']);
  assert.deepEqual(plan(input, 'dom0:9-9'), { steps: [], verdicts: [] });
});

test('plan: 1000 VMs, 200 devices, 200 assignments in a few milliseconds', () => {
  const numbers = Array.from({ length: 200 }, (_, i) => i + 1);
  const devices = numbers.map((n) => stick(`dom0:1-${n}`, { serial: `S${n}` }));
  const patterns = (n: number) => [`dom0:1-${n}`, `0951:1666:S${n}:*`, `dom0:1-${n}:0951:1666:S${n}:*`][n % 3] ?? '';
  const assignments = numbers.map((n) => assignment(n, n, patterns(n)));
  const vms = Array.from({ length: 1_000 }, (_, i) => runningVm(i + 1));
  const input = world({ devices, vms, assignments });
  const times = Array.from({ length: 15 }, () => {
    const start = performance.now();
    assert.equal(plan(input).steps.length, 200);
    return performance.now() - start;
  });
  const median = times.sort((a, b) => a - b)[7] ?? 0;
  assert.ok(median < 25, `the median took ${median.toFixed(1)} ms`); // 1 to 3 ms on an idle core.
});
