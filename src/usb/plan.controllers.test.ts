import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Controller } from '../hypervisor/driver.ts';
import { plan, stepKey } from './plan.ts';
import type { ObservedVm, PlanInput, Step } from './plan-types.ts';
import {
  assignment,
  controller,
  holdIn,
  outcomeWord,
  planned,
  runningVm,
  stick,
  vmId,
  type WorldParts,
  wordOf,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');

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
