/**
 * The planner: what is the case and what people wish, in; the next steps and a verdict for each device, out. Pure: it
 * neither looks nor acts. The router feeds it, the attacher executes what it says; who decides is in decide.ts.
 */
import type { Hold } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { type Attachment, deviceKey, type UsbDevice, type UsbSlot } from '../model/usb.ts';
import { type Claim, type Decision, decide, indexClaims } from './decide.ts';
import type { Memory, ObservedVm, Outcome, Plan, PlanInput, Step, Verdict, WaitReason } from './plan-types.ts';
import { Ports } from './ports.ts';
import { whyClosed, whyLeft, whyStale, whyWanted } from './reasons.ts';

/** Names what a step occupies while it is under way: the device, or the hold. The key of {@link Memory}. */
export function stepKey(step: Step): string {
  switch (step.kind) {
    case 'attach':
      return deviceKey(step.device);
    case 'detach':
      return deviceKey(step.attachment);
    case 'dropHold':
      return holdKey(step.hold);
  }
}

/**
 * Plans the next steps: at most one for each device, each legal at once. Applying them and planning again ends, after a
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
  for (const one of wants.sort((a, b) => (ranks.get(b) ?? 0) - (ranks.get(a) ?? 0))) place(one, ports, input);
  const ended = only === undefined ? endHolds(input, world) : { steps: [], retryAt: [] };
  const steps = [...ended.steps, ...drafts.flatMap(({ step }) => step ?? [])];
  const wakeAt = Math.min(...ended.retryAt, ...drafts.flatMap(({ retryAt }) => retryAt ?? []));
  const verdicts = drafts.map((one) => verdictOf(one, world));
  return wakeAt === Number.POSITIVE_INFINITY ? { steps, verdicts } : { steps, verdicts, wakeAt };
}

/** The input, indexed. */
interface World {
  readonly keys: ReadonlySet<string>;
  readonly backends: ReadonlySet<string>;
  readonly devices: ReadonlyMap<string, UsbDevice>;
  readonly attachments: ReadonlyMap<string, readonly Attachment[]>;
  readonly vms: ReadonlyMap<VmUuid, ObservedVm>;
  readonly holds: ReadonlyMap<string, Hold>;
  readonly keysById: ReadonlyMap<string, readonly string[]>;
  readonly memory: Memory;
  readonly now: number;
  claimsOn(device: UsbDevice): Claim[];
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

function survey({ observed, desired, memory, now }: PlanInput): World {
  const devices = new Map<string, UsbDevice>();
  const keysById = new Map<string, string[]>();
  for (const device of observed.devices) {
    const key = deviceKey(device);
    if (!observed.backends.has(device.backend) || devices.has(key)) continue;
    devices.set(key, device);
    append(keysById, device.deviceId, key);
  }
  const attachments = new Map<string, Attachment[]>();
  for (const { domain } of observed.vms) {
    for (const attachment of domain?.attachments ?? []) append(attachments, deviceKey(attachment), attachment);
  }
  const holds = new Map<string, Hold>();
  for (const hold of desired.holds) {
    const key = deviceKey(hold);
    const isNewer = hold.createdAt >= (holds.get(key)?.createdAt ?? Number.NEGATIVE_INFINITY);
    if (hold.generation === devices.get(key)?.generation && isNewer) holds.set(key, hold);
  }
  return {
    keys: new Set([...devices.keys(), ...attachments.keys()]),
    backends: observed.backends,
    devices,
    attachments,
    vms: new Map(observed.vms.map((vm) => [vm.uuid, vm])),
    holds,
    keysById,
    memory,
    now,
    claimsOn: indexClaims(desired.assignments),
  };
}

/** Holds end with the plug that they are about. */
function endHolds(
  { desired }: PlanInput,
  { backends, devices, memory, now }: World,
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

function draft(key: string, world: World): Draft {
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
function underWay({ vm }: { readonly vm: VmUuid }, key: string, { vms, memory }: World) {
  const there = vms.get(vm);
  const stuck = there?.isOutOfSight === true ? whyClosed(there) : memory.get(key)?.lastError;
  return stuck === undefined ? { vm } : { vm, stuck };
}

/** Whether anything may be said, or done, about it: its backend can be read, or it has to leave its VM in any case. */
function isKnown({ backend, vm }: Attachment, { backends, vms }: World): boolean {
  return backends.has(backend) || vms.get(vm)?.isReleasing === true;
}

function leaveAlone(one: Draft, [attachment]: readonly Attachment[]): void {
  if (attachment !== undefined) one.outcome = { is: 'attached', vm: attachment.vm, slot: slotOf(attachment) };
}

/** The device is attached, or something that is gone still is: keep one attachment at most, detach another first. */
function draftAttached(one: Draft, world: World): void {
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
function draftStuck(one: Draft, [attachment]: readonly Attachment[], world: World): void {
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
function draftDetached(one: Draft, device: UsbDevice, target: VmUuid, world: World): void {
  const vm = world.vms.get(target);
  const retryAt = retryOf(one.key, device.generation, target, world);
  const elsewhere = world
    .claimsOn(device)
    .map(({ assignment }) => world.vms.get(assignment.vm))
    .find((other) => other?.isUnknown === true);
  const wait = (reason: WaitReason, detail: string) => {
    one.outcome = { is: 'waiting', vm: target, for: reason, detail };
  };
  if (vm === undefined || !isReady(vm)) wait('vm', whyClosed(vm));
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

/** Gives the device a port and so completes its attach step, or says what the VM lacks. */
function place(one: Draft, ports: Ports, input: PlanInput): void {
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
  } else {
    one.outcome = { is: 'waiting', vm: vm.uuid, for: choice.lacks, detail: choice.detail };
  }
}

function verdictOf({ key, device, attachments, decision, outcome }: Draft, world: World): Verdict {
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

/** Whether a device may be attached to it now. */
function isReady(vm: ObservedVm | undefined): boolean {
  return vm?.domain !== undefined && vm.isOpen && vm.isReleasing !== true && vm.isUnknown !== true;
}

function mayLeave(vm: ObservedVm | undefined): boolean {
  return vm?.domain !== undefined && (vm.isOpen || vm.isReleasing === true) && vm.isUnknown !== true;
}

/** When the next try of this plug with this VM is due, if that is not now. */
function retryOf(key: string, generation: string, vm: VmUuid, { memory, now }: World): number | undefined {
  const entry = memory.get(key);
  if (entry?.retryAt === undefined || entry.retryAt <= now) return undefined;
  return entry.generation === generation && entry.vm === vm ? entry.retryAt : undefined;
}

function whyDetach({ device, decision }: Draft, attachment: Attachment, world: World): string {
  const vm = world.vms.get(attachment.vm);
  if (vm?.isReleasing === true) return whyClosed(vm);
  const stale = whyStale(attachment, device);
  if (stale !== undefined) return stale;
  if (decision?.target === undefined) return whyLeft(decision?.decider);
  if (decision.target !== attachment.vm) return whyWanted(decision.decider, nameOf(decision.target, world));
  return `it is attached to VM ${nameOf(attachment.vm, world)} twice`;
}

function nameOf(vm: VmUuid, world: World): string {
  return world.vms.get(vm)?.name ?? vm;
}

function slotOf({ controller, port }: UsbSlot): UsbSlot {
  return { controller, port };
}

/** Names a hold among what is under way. */
export function holdKey(hold: Hold): string {
  return `hold ${deviceKey(hold)} ${hold.generation}`;
}

function append<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
