/** A world that changes, driven by plans: what the attacher remembers is kept as it would keep it. For tests. */
import type { Hold } from '../../model/assignment.ts';
import type { VmUuid } from '../../model/ids.ts';
import { type Attachment, deviceKey, formatSlot, type UsbDevice } from '../../model/usb.ts';
import { applySteps } from '../foresee.ts';
import { LastPlaces } from '../last-places.ts';
import { holdKey, plan, stepKey } from '../plan.ts';
import type { DeviceMemory, LastPlace, ObservedVm, Plan, PlanInput, Step } from '../plan-types.ts';
import { holdIn, holdOut, vmId } from '../test-world.ts';
import { type Change, type Fate, freshVm, inPower, numberOf, plug } from './random-worlds.ts';

const QUESTION_MS = 5_000;
const RETRY_MS = 500;

/**
 * INVARIANTS: a step that lingers is in the memory, and what it does is not seen, until it is finished or the daemon
 * crashes; it comes to nothing when its domain or its device is gone by then.
 */
export class ChangingWorld {
  input: PlanInput;
  #plugs = 0;
  #ids = 100;
  /** Steps that linger and cannot succeed any more. */
  readonly #doomed = new Set<Step>();
  /** VMs that a daemon which has just come up could not observe yet, as they are. */
  readonly #unseen = new Map<VmUuid, ObservedVm>();
  /** What outlives a crash. */
  readonly #stored = new Map<string, LastPlace>();
  #places = this.#openPlaces();

  constructor(input: PlanInput) {
    this.#places.note(input, { steps: [], verdicts: plan(input).verdicts });
    this.input = { ...input, lastPlaces: this.#places.all };
    this.#become(this.input);
  }

  /** What is the case, seen or not. */
  get real(): PlanInput {
    const { observed } = this.input;
    return { ...this.input, observed: { ...observed, vms: observed.vms.map((vm) => this.#unseen.get(vm.uuid) ?? vm) } };
  }

  get underWay(): readonly Step[] {
    return [...this.input.memory.values()].flatMap(({ inFlight }) => inFlight ?? []);
  }

  apply(change: Change): void {
    if ('vm' in change) this.#see(vmId(change.vm));
    const { observed, desired } = this.input;
    const device = 'place' in change ? this.#deviceAt(change.place) : undefined;
    const vm = 'vm' in change ? observed.vms[change.vm - 1] : undefined;
    switch (change.what) {
      case 'plug':
        this.#replace(change.place, plug(change.place, change.content, this.#nextPlug()));
        break;
      case 'replug':
        if (device !== undefined) this.#replace(change.place, { ...device, generation: this.#nextPlug() });
        break;
      case 'unplug':
        this.#replace(change.place, undefined);
        break;
      case 'use':
        if (device !== undefined) this.#replace(change.place, usedAs(device, plug(change.place, change.content, '')));
        break;
      case 'power':
        if (vm !== undefined) this.#setVm(inPower(vm, change.power));
        break;
      case 'start':
        if (vm !== undefined && vm.domain === undefined) this.#setVm(freshVm(change.vm, change.ports));
        break;
      case 'read':
        this.#observe({ backends: new Set(change.backends) });
        break;
      case 'foreign':
        if (device !== undefined && vm !== undefined) this.#attachByOthers(device, vm);
        break;
      case 'assign':
        this.#desire({ assignments: [...desired.assignments, change.make(++this.#ids)] });
        break;
      case 'unassign':
        this.#desire({ assignments: desired.assignments.filter((_, i) => i !== change.pick) });
        break;
      case 'hold':
        if (device !== undefined) this.#hold({ ...change.make(device), createdAt: ++this.#ids });
        break;
      case 'release':
        this.#desire({ holds: desired.holds.filter((hold) => deviceKey(hold) !== change.place) });
        break;
      case 'answer':
        this.#answer(change.pick, change.isYes);
        break;
      case 'policy':
        this.#desire({ policy: change.policy });
        break;
      case 'observe':
        this.#desire({ isObserving: change.isObserving });
        break;
      case 'crash':
        this.#crash(change.wereDone, change.unseen);
        break;
      case 'finish':
        this.finish();
        break;
      case 'pass':
        this.pass(change.ms);
        break;
    }
  }

  /** Executes a plan; one of its steps may fail, or linger. */
  execute(next: Plan, { is, pick }: Fate): void {
    const { steps } = next;
    this.#places.note(this.input, next);
    const odd = is === 'well' ? undefined : steps[pick % Math.max(1, steps.length)];
    const memory = new Map(this.input.memory);
    for (const step of steps) {
      if (step !== odd) memory.delete(stepKey(step));
      else if (is === 'fail') memory.set(stepKey(step), this.#failed(step));
      else memory.set(stepKey(step), { ...aboutStep(step), state: 'queued', failures: 0, inFlight: step });
    }
    const done = steps.filter((step) => step !== odd);
    this.#become({ ...applySteps(this.input, done), memory });
  }

  /** What lingers comes to its end, well or not, and every VM is seen. */
  finish(): void {
    this.#seeAll();
    const ended = this.underWay;
    const memory = new Map(this.input.memory);
    for (const step of ended) {
      if (this.#isPossible(step)) memory.delete(stepKey(step));
      else memory.set(stepKey(step), this.#failed(step));
    }
    this.#become({
      ...applySteps(
        this.input,
        ended.filter((step) => this.#isPossible(step)),
      ),
      memory,
    });
    this.#doomed.clear();
  }

  pass(ms: number): void {
    this.input = { ...this.input, now: this.input.now + ms, wallNow: this.input.wallNow + ms };
  }

  #crash(wereDone: boolean, unseen: string): void {
    const done = wereDone ? this.underWay.filter((step) => this.#isPossible(step)) : [];
    this.#places = this.#openPlaces();
    this.#become({ ...applySteps(this.input, done), lastPlaces: this.#places.all, memory: new Map() });
    this.#doomed.clear();
    const [holder] = placesOf(this.input, unseen);
    const vm = this.input.observed.vms.find(({ uuid }) => uuid === holder?.vm);
    if (vm?.domain === undefined) return;
    const { uuid, name } = vm;
    this.#setVm({ uuid, name, power: 'halted', isOpen: false, isUnknown: true });
    this.#unseen.set(uuid, vm);
  }

  #openPlaces(): LastPlaces {
    return new LastPlaces({
      load: () => this.#stored,
      save: (changes) => {
        for (const [key, place] of changes) {
          if (place === undefined) this.#stored.delete(key);
          else this.#stored.set(key, place);
        }
      },
    });
  }

  #seeAll(): void {
    for (const vm of [...this.#unseen.keys()]) this.#see(vm);
  }

  #see(uuid: VmUuid): void {
    const vm = this.#unseen.get(uuid);
    if (vm !== undefined) this.#setVm(vm);
    this.#unseen.delete(uuid);
  }

  #answer(pick: number, isYes: boolean): void {
    const question = this.input.desired.questions[pick];
    const device = question === undefined ? undefined : this.#deviceAt(deviceKey(question));
    if (device === undefined || device.generation !== question?.generation) return;
    const [vm] = question.vms;
    const by = { by: 'answer', createdAt: ++this.#ids } as const;
    this.#hold(isYes && vm !== undefined ? holdIn(device, numberOf(vm), by) : { ...holdOut(device), ...by });
  }

  /** Of one device there is one hold. */
  #hold(hold: Hold): void {
    const others = this.input.desired.holds.filter((other) => deviceKey(other) !== deviceKey(hold));
    this.#desire({ holds: [...others, hold] });
  }

  #attachByOthers(device: UsbDevice, vm: ObservedVm): void {
    if (vm.domain === undefined || placesOf(this.real, deviceKey(device)).length > 0) return;
    const taken = new Set(slotsOf(this.input, vm));
    for (let port = 1; port <= (vm.domain.controllers[0]?.ports ?? 0); port++) {
      const slot = { controller: 0, port };
      if (taken.has(formatSlot(slot))) continue;
      const { backend, busid, deviceId, generation } = device;
      const attachment = { vm: vm.uuid, ...slot, backend, busid, deviceId, generation, isForeign: true };
      this.#setVm({ ...vm, domain: { ...vm.domain, attachments: [...vm.domain.attachments, attachment] } });
      return;
    }
  }

  #isPossible(step: Step): boolean {
    if (this.#doomed.has(step)) return false;
    return step.kind !== 'attach' || this.#deviceAt(stepKey(step))?.generation === step.device.generation;
  }

  #failed(step: Step): DeviceMemory {
    const failures = (this.input.memory.get(stepKey(step))?.failures ?? 0) + 1;
    return {
      ...aboutStep(step),
      state: 'failed',
      failures,
      retryAt: this.input.now + RETRY_MS,
      lastError: 'it failed',
    };
  }

  #setVm(vm: ObservedVm): void {
    const before = this.input.observed.vms.find(({ uuid }) => uuid === vm.uuid);
    if (before?.domain !== undefined && vm.domain === undefined) {
      for (const step of this.underWay) if ('vm' in step && step.vm === vm.uuid) this.#doomed.add(step);
    }
    this.#observe({ vms: this.input.observed.vms.map((other) => (other.uuid === vm.uuid ? vm : other)) });
  }

  #replace(place: string, device: UsbDevice | undefined): void {
    const others = this.input.observed.devices.filter((other) => deviceKey(other) !== place);
    this.#observe({ devices: device === undefined ? others : [...others, device] });
  }

  #deviceAt(place: string): UsbDevice | undefined {
    return this.input.observed.devices.find((device) => deviceKey(device) === place);
  }

  #nextPlug(): string {
    return `plug${++this.#plugs}`;
  }

  #observe(change: Partial<PlanInput['observed']>): void {
    this.#become({ ...this.input, observed: { ...this.input.observed, ...change } });
  }

  #desire(change: Partial<PlanInput['desired']>): void {
    this.input = { ...this.input, desired: { ...this.input.desired, ...change } };
  }

  /** The router knows since when the device of a hold is gone, and gives questions their time. */
  #become(input: PlanInput): void {
    const { backends, devices } = input.observed;
    const plugged = new Set(devices.map(deviceKey));
    const gone = input.desired.holds.filter((hold) => backends.has(hold.backend) && !plugged.has(deviceKey(hold)));
    const goneSince = new Map(gone.map(holdKey).map((key) => [key, input.goneSince?.get(key) ?? input.now]));
    const until = input.wallNow + QUESTION_MS;
    const questions = input.desired.questions.map((one) => ({ ...one, expiresAt: Math.min(one.expiresAt, until) }));
    this.input = { ...input, goneSince, desired: { ...input.desired, questions } };
  }
}

/** Gives the VMs that have, or may come to have, what is at a place: attached, or on its way there. */
export function placesOf(input: PlanInput, place: string): Pick<Attachment, 'vm'>[] {
  const attached = input.observed.vms.flatMap(({ domain }) => domain?.attachments ?? []);
  const coming = [...input.memory.values()].flatMap(({ inFlight }) =>
    inFlight?.kind === 'attach' ? [{ ...inFlight.device, vm: inFlight.vm }] : [],
  );
  return [...attached, ...coming].filter((one) => deviceKey(one) === place);
}

/** Gives the ports of a VM that are taken, or about to be. */
export function slotsOf(input: PlanInput, { uuid, domain }: ObservedVm): string[] {
  const coming = [...input.memory.values()].flatMap(({ inFlight }) =>
    inFlight?.kind === 'attach' && inFlight.vm === uuid ? [inFlight.slot] : [],
  );
  return [...(domain?.attachments ?? []), ...coming].map(formatSlot);
}

function aboutStep(step: Step): Pick<DeviceMemory, 'generation' | 'vm'> {
  const vm = 'vm' in step ? { vm: vmId(numberOf(step.vm)) } : {};
  if (step.kind === 'attach' || step.kind === 'ask') return { generation: step.device.generation, ...vm };
  if (step.kind === 'detach') return { generation: step.attachment.generation, ...vm };
  return { generation: '', ...vm };
}

/** What the host does with one device as it does it with the other. */
function usedAs({ objections: _, ...device }: UsbDevice, { objections }: UsbDevice): UsbDevice {
  return objections === undefined ? device : { ...device, objections };
}
