import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Attachment, UsbDevice } from '../model/usb.ts';
import { deviceKey, formatSlot } from '../model/usb.ts';
import { applySteps } from './foresee.ts';
import { plan, stepKey } from './plan.ts';
import type { DeviceMemory, ObservedVm, PlanInput, Step, StepOf } from './plan-types.ts';
import {
  assignment,
  controller,
  haltedVm,
  holdIn,
  holdOut,
  runningVm,
  stick,
  vmId,
  wordOf,
  world,
} from './test-world.ts';

const VMS = 4;
const PLACES = ['dom0:1-1', 'dom0:1-2', 'dom0:1-3', 'virtual:1-1', 'virtual:1-2', 'usbvm:2-1'];
const PATTERNS = [
  '*:*',
  'dom0:*',
  'dom0:1-1',
  'dom0:1-2',
  'virtual:1-*',
  '0951:1666:S1:*',
  '0951:*',
  'dom0:1-*:0951:*',
];

const deviceAt = fc.record({
  place: fc.constantFrom(...PLACES),
  serial: fc.constantFrom('S1', 'S2'),
  generation: fc.constantFrom('g1', 'g2'),
  isGuarded: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
});
const devices = fc
  .uniqueArray(deviceAt, { selector: ({ place }) => place, maxLength: PLACES.length })
  .map((list) => list.map(({ place, serial, generation, isGuarded }) => plug(place, serial, generation, isGuarded)));

const attachments = fc.array(
  fc.record({
    vm: fc.integer({ min: 1, max: VMS }),
    port: fc.integer({ min: 1, max: 2 }),
    device: deviceAt,
    isForeign: fc.boolean(),
  }),
  { maxLength: 5 },
);

const inputs = fc
  .record({
    devices,
    attachments,
    powers: fc.array(fc.constantFrom('open', 'open', 'halted', 'closed', 'releasing'), {
      minLength: VMS,
      maxLength: VMS,
    }),
    ports: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: VMS, maxLength: VMS }),
    growing: fc.array(fc.boolean(), { minLength: VMS, maxLength: VMS }),
    assignments: fc.array(
      fc.tuple(
        fc.integer({ min: 1, max: VMS }),
        fc.constantFrom(...PATTERNS),
        fc.constantFrom('auto', 'auto', 'manual'),
      ),
      { maxLength: 6 },
    ),
    holds: fc.uniqueArray(fc.tuple(deviceAt, fc.integer({ min: 0, max: VMS })), {
      selector: ([{ place }]) => place,
      maxLength: 3,
    }),
    backends: fc.subarray(['dom0', 'virtual', 'usbvm'], { minLength: 2 }),
  })
  .map((parts) =>
    world({
      devices: parts.devices.filter(({ backend }) => parts.backends.includes(backend)),
      backends: parts.backends,
      vms: parts.powers.map((power, i) => {
        return vmOf(i + 1, power, parts.ports[i] ?? 1, parts.attachments, parts.growing[i] ?? false);
      }),
      assignments: parts.assignments.map(([vm, pattern, mode], i) => assignment(i + 1, vm, pattern, mode as 'auto')),
      holds: parts.holds.map(([{ place, serial, generation }, vm]) => {
        const device = plug(place, serial, generation, false);
        return vm === 0 ? holdOut(device) : holdIn(device, vm);
      }),
    }),
  );

function plug(place: string, serial: string, generation: string, isGuarded: boolean): UsbDevice {
  return stick(place, { serial, generation, ...(isGuarded ? { guard: 'it is a hub' } : {}) });
}

/** Attachments as any history may have left them: stale, foreign, one device in two VMs; but one a port. */
function vmOf(
  number: number,
  power: string,
  ports: number,
  all: readonly {
    vm: number;
    port: number;
    device: { place: string; serial: string; generation: string };
    isForeign: boolean;
  }[],
  canAddController: boolean,
): ObservedVm {
  if (power === 'halted') return haltedVm(number);
  const own = new Map<number, Attachment>();
  for (const { vm, port, device, isForeign } of all) {
    if (vm !== number || port > ports) continue;
    const { backend, busid, deviceId, generation } = plug(device.place, device.serial, device.generation, false);
    const attachment = { vm: vmId(number), controller: 0, port, backend, busid, deviceId, generation };
    own.set(port, isForeign ? { ...attachment, isForeign } : attachment);
  }
  return runningVm(number, [...own.values()], {
    controllers: [controller(0, ports)],
    canAddController,
    isOpen: power === 'open',
    isReleasing: power === 'releasing',
  });
}

function whereIs(input: PlanInput, key: string): Attachment[] {
  return input.observed.vms.flatMap((vm) => (vm.domain?.attachments ?? []).filter((other) => deviceKey(other) === key));
}

/** What every plan has to keep, whatever it was made from. */
function checkSteps(input: PlanInput, steps: readonly Step[]): void {
  assert.equal(new Set(steps.map(stepKey)).size, steps.length, 'one step a device');
  for (const step of steps) {
    if (step.kind === 'dropHold') continue;
    assert.equal(input.memory.get(stepKey(step))?.inFlight, undefined, 'nothing while a step is under way');
    if (step.kind === 'addController') {
      checkNeed(input, steps, step);
      continue;
    }
    const vm = input.observed.vms.find(({ uuid }) => uuid === step.vm);
    const isBackendRead = input.observed.backends.has(stepKey(step).split(':')[0] ?? '');
    assert.ok(isBackendRead || vm?.isReleasing, 'the backend can be read');
    assert.ok(vm?.domain !== undefined && (vm.isOpen || (vm.isReleasing && step.kind === 'detach')), 'the VM is open');
    if (step.kind === 'detach') continue;
    assert.equal(step.device.guard, undefined, 'no guarded device');
    assert.deepEqual(whereIs(input, stepKey(step)), [], 'attached nowhere else');
    const others = vm.domain.attachments.map(formatSlot);
    assert.ok(!others.includes(formatSlot(step.slot)), 'a free port');
    const own = vm.domain.controllers.find(({ index }) => index === step.slot.controller);
    assert.ok(step.slot.port >= 1 && step.slot.port <= (own?.ports ?? 0), 'a port that is there');
  }
  const slots = steps.flatMap((step) => (step.kind === 'attach' ? [`${step.vm} ${formatSlot(step.slot)}`] : []));
  assert.equal(new Set(slots).size, slots.length, 'no port twice');
}

/** A controller is added for a VM that is open, can have one, and has no port left after this plan's steps. */
function checkNeed(input: PlanInput, steps: readonly Step[], { vm: uuid }: StepOf<'addController'>): void {
  const vm = input.observed.vms.find((other) => other.uuid === uuid);
  assert.ok(vm?.domain?.canAddController && vm.isOpen && !vm.isReleasing, 'the VM can have one more');
  const underWay = [...steps, ...[...input.memory.values()].flatMap(({ inFlight }) => inFlight ?? [])];
  const taken = new Set(vm.domain.attachments.map(formatSlot));
  for (const step of underWay) {
    if (step.kind === 'attach' && step.vm === uuid) taken.add(formatSlot(step.slot));
    if (step.kind === 'detach' && step.vm === uuid) taken.add(formatSlot(step.attachment));
  }
  const ports = vm.domain.controllers.reduce((sum, { ports: own }) => sum + own, 0);
  assert.equal(taken.size, ports, 'no port is left');
}

test('plan: applied again and again it comes to an end, and what it ends in is right', () => {
  fc.assert(
    fc.property(inputs, (start) => {
      let input = start;
      const added: string[] = [];
      for (let round = 0; ; round++) {
        const { steps } = plan(input);
        checkSteps(input, steps);
        assert.deepEqual(plan(input).steps, steps, 'the same again');
        for (const step of steps) if (step.kind === 'addController') added.push(step.vm);
        if (steps.length === 0) break;
        assert.ok(round < 12, `still busy: ${steps.map(wordOf).join(', ')}`);
        input = applySteps(input, steps);
      }
      assert.equal(new Set(added).size, added.length, 'one more controller has ports for all devices that there are');
      for (const { device, decider, outcome } of plan(input).verdicts) {
        const places = whereIs(input, device);
        const isRead = input.observed.backends.has(device.split(':')[0] ?? '');
        const open = places.filter(({ vm }) => input.observed.vms.some((one) => one.uuid === vm && one.isOpen));
        if (isRead) assert.ok(open.length <= 1, `${device} is in two VMs`);
        assert.notEqual(outcome.is, 'attaching');
        assert.notEqual(outcome.is, 'detaching');
        if (isRead && decider.by === 'guard') assert.deepEqual(open, []);
        if (outcome.is === 'left') assert.deepEqual(places, []);
        const growing = input.observed.vms.filter(({ domain }) => domain?.canAddController).map(({ uuid }) => uuid);
        const isShort = outcome.is === 'waiting' && (outcome.for === 'port' || outcome.for === 'controller');
        assert.ok(!isShort || !growing.includes(outcome.vm), 'no port, though there could be one');
        if (outcome.is === 'attached') assert.ok(places.some(({ vm }) => vm === outcome.vm));
      }
    }),
    { numRuns: 250 },
  );
});

/** What happens between two plans: the world changes, and of the steps some fail, some take their time. */
const happenings = fc.array(
  fc.oneof(
    fc.record({ what: fc.constant('unplug' as const), place: fc.constantFrom(...PLACES) }),
    fc.record({
      what: fc.constant('plug' as const),
      place: fc.constantFrom(...PLACES),
      serial: fc.constantFrom('S1', 'S2'),
    }),
    fc.record({ what: fc.constant('die' as const), vm: fc.integer({ min: 1, max: VMS }) }),
    fc.record({ what: fc.constant('start' as const), vm: fc.integer({ min: 1, max: VMS }) }),
    fc.record({ what: fc.constant('fail' as const), pick: fc.nat(5) }),
    fc.record({ what: fc.constant('linger' as const), pick: fc.nat(5) }),
  ),
  { maxLength: 25 },
);

/** A world that changes, with the attacher's memory as it would be. */
class Model {
  input: PlanInput;
  #plugs = 0;

  constructor(input: PlanInput) {
    this.input = input;
  }

  change(happening: { what: string; place?: string; serial?: string; vm?: number }): void {
    const { observed } = this.input;
    const { what, place = '', serial = 'S1', vm = 0 } = happening;
    const others = observed.devices.filter((device) => deviceKey(device) !== place);
    const isRead = observed.backends.has(place.split(':')[0] ?? '');
    if (what === 'unplug') this.#observe({ devices: others });
    if (what === 'plug' && isRead) {
      this.#plugs += 1;
      this.#observe({ devices: [...others, plug(place, serial, `plug${this.#plugs}`, false)] });
    }
    const replace = (one: ObservedVm) =>
      this.#observe({ vms: observed.vms.map((other) => (other.uuid === one.uuid ? one : other)) });
    if (what === 'die') replace(haltedVm(vm));
    const isGrowing = vm % 2 === 0;
    const fresh = runningVm(vm, [], { controllers: [controller(0, 1)], canAddController: isGrowing });
    if (what === 'start' && observed.vms[vm - 1]?.domain === undefined) replace(fresh);
  }

  /** Executes the steps but for those that fail, which are remembered, and those that go on. */
  execute(steps: readonly Step[], failing: Step | undefined, lingering: Step | undefined): void {
    const ended = [...this.input.memory.values()].flatMap(({ inFlight }) => inFlight ?? []);
    const isDone = (step: Step) => step !== failing && step !== lingering;
    const memory = new Map<string, DeviceMemory>();
    for (const step of steps) {
      if (isDone(step)) continue;
      const generation =
        step.kind === 'attach' ? step.device.generation : step.kind === 'detach' ? step.attachment.generation : '';
      const entry = { failures: 1, generation, ...(step.kind === 'dropHold' ? {} : { vm: step.vm }) };
      const now = this.input.now;
      memory.set(
        stepKey(step),
        step === failing
          ? { ...entry, state: 'failed', retryAt: now + 500 }
          : { ...entry, state: 'queued', inFlight: step },
      );
    }
    this.input = {
      ...applySteps(this.input, [...ended.filter(isPossible(this.input)), ...steps.filter(isDone)]),
      memory,
    };
  }

  pass(ms: number): void {
    this.input = { ...this.input, now: this.input.now + ms };
  }

  #observe(change: Partial<PlanInput['observed']>): void {
    this.input = { ...this.input, observed: { ...this.input.observed, ...change } };
  }
}

/** An attach that lingered succeeds only if its domain is there still. */
function isPossible({ observed }: PlanInput): (step: Step) => boolean {
  return (step) =>
    step.kind !== 'attach' || observed.vms.some(({ uuid, domain }) => uuid === step.vm && domain !== undefined);
}

test('plan: through unplugs, replugs, deaths and failures no device is in two VMs, and it all comes to an end', () => {
  const clean = inputs.map((input) => ({
    ...input,
    observed: {
      ...input.observed,
      vms: input.observed.vms.map((vm) =>
        vm.domain === undefined ? vm : { ...vm, domain: { ...vm.domain, attachments: [] } },
      ),
    },
  }));
  fc.assert(
    fc.property(clean, happenings, (start, events) => {
      const model = new Model(start);
      const checkWorld = () => {
        for (const place of PLACES) assert.ok(whereIs(model.input, place).length <= 1, `${place} is in two VMs`);
      };
      for (const event of events) {
        model.change(event);
        const { steps } = plan(model.input);
        checkSteps(model.input, steps);
        const picked = 'pick' in event ? steps[event.pick % Math.max(1, steps.length)] : undefined;
        model.execute(steps, event.what === 'fail' ? picked : undefined, event.what === 'linger' ? picked : undefined);
        checkWorld();
        model.pass(100);
      }
      for (let round = 0; ; round++) {
        model.pass(1_000);
        const { steps } = plan(model.input);
        checkSteps(model.input, steps);
        const isBusy = [...model.input.memory.values()].some(({ inFlight }) => inFlight !== undefined);
        if (steps.length === 0 && !isBusy) break;
        assert.ok(round < 6, `still busy: ${steps.map(wordOf).join(', ')}`);
        model.execute(steps, undefined, undefined);
        checkWorld();
      }
    }),
    { numRuns: 250 },
  );
});
