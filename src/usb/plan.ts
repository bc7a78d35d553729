/**
 * The planner: what is the case and what people wish, in; the next steps and a verdict for each device, out. Pure: it
 * neither looks nor acts. The router feeds it, the attacher executes what it says; who decides is in decide.ts.
 */
import type { Hold } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { type Attachment, deviceKey, type UsbDevice, type UsbSlot } from '../model/usb.ts';
import { type Decision, decide } from './decide.ts';
import type { ObservedVm, Outcome, Plan, PlanInput, Step, Verdict, WaitReason } from './plan-types.ts';
import { Ports } from './ports.ts';
import { whyClosed, whyLeft, whyStale, whyWanted } from './reasons.ts';
import { isReady, isTaking, mayLeave, nameOf, type Survey, survey } from './survey.ts';

/** Names what a step occupies while it is under way: the device, the hold, or the VM's next controller. The key of {@link Memory}. */
export function stepKey(step: Step): string {
  switch (step.kind) {
    case 'attach':
      return deviceKey(step.device);
    case 'detach':
      return deviceKey(step.attachment);
    case 'addController':
      return controllerKey(step.vm);
    case 'dropHold':
      return holdKey(step.hold);
  }
}

/**
 * Plans the next steps: at most one for each device, at most one more controller for each VM, each legal at once. Applying them and planning again ends, after a
 * few rounds, in a plan without steps. With `only`, plans for that one device (`backend:busid`), as if alone.
 *
 * INVARIANTS: a device that is attached anywhere, or under way, gets no attach step; a guarded device never gets one; a
 * VM that is closed gets no step at all unless it is being released; nothing is done about devices of a backend that
 * could not be read.
 */
export function plan(input: PlanInput, only?: string): Plan {
  const world = survey(input);
  const keys = only === undefined ? [...world.keys].sort() : [only].filter((key) => world.keys.has(key));
  const drafts = keys.map((key) => draft(key, world));
  // Who asked for a certain port goes before who had one, and that one before who takes any.
  const wants = drafts.filter((one) => one.want !== undefined);
  const ports = new Ports(input.memory);
  const ranks = new Map(wants.map((one) => [one, rankOf(one, input)]));
  const added = new Map<VmUuid, Step>();
  for (const one of wants.sort((a, b) => (ranks.get(b) ?? 0) - (ranks.get(a) ?? 0))) place(one, ports, input, added);
  const ended = only === undefined ? endHolds(input, world) : { steps: [], retryAt: [] };
  const steps = [...ended.steps, ...added.values(), ...drafts.flatMap(({ step }) => step ?? [])];
  const wakeAt = Math.min(...ended.retryAt, ...drafts.flatMap(({ retryAt }) => retryAt ?? []));
  const verdicts = drafts.map((one) => verdictOf(one, world));
  return wakeAt === Number.POSITIVE_INFINITY ? { steps, verdicts } : { steps, verdicts, wakeAt };
}

/** What is being worked out about one device. */
interface Draft {
  readonly key: string;
  readonly device: UsbDevice | undefined;
  readonly attachments: readonly Attachment[];
  readonly decision: Decision | undefined;
  outcome: Outcome;
  step?: Step;
  retryAt?: number;
  /** Set when it is to be attached and nothing but a port is still to be found. */
  want?: { readonly vm: ObservedVm; readonly device: UsbDevice };
}

/** Holds end with the plug that they are about. */
function endHolds(
  { desired }: PlanInput,
  { backends, devices, memory, now }: Survey,
): { steps: Step[]; retryAt: number[] } {
  const steps: Step[] = [];
  const retryAt: number[] = [];
  for (const hold of desired.holds) {
    if (!backends.has(hold.backend) || devices.get(deviceKey(hold))?.generation === hold.generation) continue;
    const entry = memory.get(holdKey(hold));
    if (entry?.inFlight !== undefined) continue;
    if (entry?.retryAt !== undefined && entry.retryAt > now) retryAt.push(entry.retryAt);
    else steps.push({ kind: 'dropHold', hold, why: 'the device was unplugged' });
  }
  return { steps, retryAt };
}

function draft(key: string, world: Survey): Draft {
  const device = world.devices.get(key);
  const attached = world.attachments.get(key) ?? [];
  const attachments = attached.filter((attachment) => isKnown(attachment, world));
  const inFlight = world.memory.get(key)?.inFlight;
  const good = attachments.filter((attachment) => whyStale(attachment, device) === undefined);
  const here = good[0]?.vm ?? (inFlight?.kind === 'attach' ? inFlight.vm : undefined);
  const decision =
    device === undefined
      ? undefined
      : decide(device, world.holds.get(key), world.claimsOn(device), {
          here,
          foreign: good.find(({ isForeign }) => isForeign === true)?.vm,
          nameOf: (vm) => world.vms.get(vm)?.name,
          canHave: (vm) => isReady(world.vms.get(vm)),
        });
  const one: Draft = { key, device, attachments, decision, outcome: { is: 'left' } };
  if (inFlight?.kind === 'attach') one.outcome = { is: 'attaching', ...underWay(inFlight, key, world) };
  else if (inFlight?.kind === 'detach') one.outcome = { is: 'detaching', ...underWay(inFlight, key, world) };
  else if (attachments.length < attached.length) leaveAlone(one, attached);
  else if (attachments.length > 0) draftAttached(one, world);
  else if (device !== undefined && decision?.target !== undefined) draftDetached(one, device, decision.target, world);
  return one;
}

/** What is said of a step under way: its VM, and why its end is not seen, if so. */
function underWay({ vm }: { readonly vm: VmUuid }, key: string, { vms, memory }: Survey) {
  const there = vms.get(vm);
  const stuck = there?.isOutOfSight === true ? whyClosed(there) : memory.get(key)?.lastError;
  return stuck === undefined ? { vm } : { vm, stuck };
}

/** Whether anything may be said, or done, about it: its backend can be read, or it has to leave its VM in any case. */
function isKnown({ backend, vm }: Attachment, { backends, vms }: Survey): boolean {
  return backends.has(backend) || vms.get(vm)?.isReleasing === true;
}

function leaveAlone(one: Draft, [attachment]: readonly Attachment[]): void {
  if (attachment !== undefined) one.outcome = { is: 'attached', vm: attachment.vm, slot: slotOf(attachment) };
}

/** The device is attached, or something that is gone still is: keep one attachment at most, detach another first. */
function draftAttached(one: Draft, world: Survey): void {
  const { device, attachments, decision } = one;
  const stays = (attachment: Attachment) =>
    whyStale(attachment, device) === undefined &&
    attachment.vm === decision?.target &&
    world.vms.get(attachment.vm)?.isReleasing !== true;
  const kept = attachments.find(stays);
  const leaving = attachments.filter((attachment) => attachment !== kept);
  if (kept !== undefined) one.outcome = { is: 'attached', vm: kept.vm, slot: slotOf(kept) };
  if (leaving.length === 0) return;
  const attachment = leaving.find(({ vm }) => mayLeave(world.vms.get(vm)));
  if (attachment === undefined) {
    draftStuck(one, leaving, world);
    return;
  }
  one.outcome = { is: 'detaching', vm: attachment.vm };
  const retryAt = retryOf(one.key, attachment.generation, attachment.vm, world);
  if (retryAt !== undefined) {
    one.retryAt = retryAt;
    one.outcome = { ...one.outcome, stuck: world.memory.get(one.key)?.lastError ?? 'the last try failed' };
  } else one.step = { kind: 'detach', vm: attachment.vm, attachment, why: whyDetach(one, attachment, world) };
}

/** What is to leave is in a VM that is closed now. */
function draftStuck(one: Draft, [attachment]: readonly Attachment[], world: Survey): void {
  if (attachment === undefined || one.outcome.is === 'attached') return;
  const target = one.decision?.target;
  const closed = whyClosed(world.vms.get(attachment.vm));
  if (target === undefined) {
    one.outcome = { is: 'attached', vm: attachment.vm, slot: slotOf(attachment), stuck: closed };
  } else {
    const detail = `VM ${nameOf(attachment.vm, world)} has it, and gives nothing back now: ${closed}`;
    one.outcome = { is: 'waiting', vm: target, for: 'release', detail };
  }
}

/** The device is attached nowhere: it wants a port in its VM, or waits. */
function draftDetached(one: Draft, device: UsbDevice, target: VmUuid, world: Survey): void {
  const vm = world.vms.get(target);
  const retryAt = retryOf(one.key, device.generation, target, world);
  const elsewhere = world
    .claimsOn(device)
    .map(({ assignment }) => world.vms.get(assignment.vm))
    .find((other) => other?.isUnknown === true);
  const wait = (reason: WaitReason, detail: string) => {
    one.outcome = { is: 'waiting', vm: target, for: reason, detail };
  };
  const trouble = vm?.domain?.usbTrouble;
  if (vm === undefined || !isTaking(vm)) wait('vm', whyClosed(vm));
  else if (trouble !== undefined) wait('device model', trouble);
  else if (elsewhere !== undefined) wait('release', `VM ${elsewhere.name} may have it, and cannot be observed`);
  else if (retryAt === undefined) one.want = { vm, device };
  else {
    one.retryAt = retryAt;
    wait('retry', world.memory.get(one.key)?.lastError ?? 'the last try failed');
  }
}

function rankOf(one: Draft, input: PlanInput): number {
  return one.decision?.slot !== undefined ? 2 : lastSlot(one, input) !== undefined ? 1 : 0;
}

/** Gives the port that this plug of the device had in the VM that it wants to. */
function lastSlot({ key, want }: Draft, { lastPlaces }: PlanInput): UsbSlot | undefined {
  const last = lastPlaces?.get(key);
  return last?.vm === want?.vm.uuid && last?.generation === want?.device.generation ? last : undefined;
}

/** Gives the device a port and so completes its attach step, or says what the VM lacks, and gets it if it can. */
function place(one: Draft, ports: Ports, input: PlanInput, added: Map<VmUuid, Step>): void {
  if (one.want === undefined) return;
  const { vm, device } = one.want;
  const choice = ports.take(vm, device, { asked: one.decision?.slot, last: lastSlot(one, input) });
  if ('slot' in choice) {
    one.outcome = { is: 'attaching', vm: vm.uuid };
    one.step = {
      kind: 'attach',
      vm: vm.uuid,
      slot: choice.slot,
      device,
      why: whyWanted(one.decision?.decider, vm.name),
    };
  } else if (vm.domain?.canAddController === true && one.decision?.slot === undefined) {
    awaitController(one, vm, choice.detail, input, added);
  } else {
    one.outcome = { is: 'waiting', vm: vm.uuid, for: choice.lacks, detail: choice.detail };
  }
}

/** One more controller is for all devices that find no port in the VM: when it is there, they are planned again. */
function awaitController(
  one: Draft,
  { uuid: vm }: ObservedVm,
  lack: string,
  { memory, now }: PlanInput,
  added: Map<VmUuid, Step>,
): void {
  const { inFlight, retryAt = now, lastError } = memory.get(controllerKey(vm)) ?? {};
  if (inFlight === undefined && retryAt > now) {
    one.retryAt = retryAt;
    const detail = `${lack}, and one more controller could not be added: ${lastError ?? 'the last try failed'}`;
    one.outcome = { is: 'waiting', vm, for: 'controller', detail };
    return;
  }
  one.outcome = { is: 'attaching', vm, needs: 'controller', ...(lastError === undefined ? {} : { stuck: lastError }) };
  const why = `${one.key} belongs there, and ${lack}`;
  if (inFlight === undefined && !added.has(vm)) added.set(vm, { kind: 'addController', vm, why });
}

function verdictOf({ key, device, attachments, decision, outcome }: Draft, world: Survey): Verdict {
  const [attachment = world.attachments.get(key)?.[0]] = attachments;
  const deviceId = device?.deviceId ?? attachment?.deviceId ?? '';
  return {
    device: key,
    deviceId,
    decider: decision?.decider ?? { by: 'nothing' },
    outcome,
    losers: decision?.losers ?? [],
    twins: (world.keysById.get(deviceId) ?? []).filter((other) => other !== key),
    isGone: device === undefined && attachments.some(({ backend }) => world.backends.has(backend)),
  };
}

/** When the next try of this plug with this VM is due, if that is not now. */
function retryOf(key: string, generation: string, vm: VmUuid, { memory, now }: Survey): number | undefined {
  const entry = memory.get(key);
  if (entry?.retryAt === undefined || entry.retryAt <= now) return undefined;
  return entry.generation === generation && entry.vm === vm ? entry.retryAt : undefined;
}

function whyDetach({ device, decision }: Draft, attachment: Attachment, world: Survey): string {
  const vm = world.vms.get(attachment.vm);
  if (vm?.isReleasing === true) return whyClosed(vm);
  const stale = whyStale(attachment, device);
  if (stale !== undefined) return stale;
  if (decision?.target === undefined) return whyLeft(decision?.decider);
  if (decision.target !== attachment.vm) return whyWanted(decision.decider, nameOf(decision.target, world));
  return `it is attached to VM ${nameOf(attachment.vm, world)} twice`;
}

function slotOf({ controller, port }: UsbSlot): UsbSlot {
  return { controller, port };
}

/** Names a hold among what is under way. */
export function holdKey(hold: Hold): string {
  return `hold ${deviceKey(hold)} ${hold.generation}`;
}

/** Names the next controller of a VM among what is under way: there is one at a time. */
export function controllerKey(vm: VmUuid): string {
  return `controller ${vm}`;
}
