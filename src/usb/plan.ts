/**
 * The planner: what is the case and what people wish, in; the next steps and a verdict for each device, out. Pure: it
 * neither looks nor acts. The router feeds it, the attacher executes what it says; who decides is in decide.ts.
 */
import type { Hold, Question } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { type Attachment, deviceKey, type UsbDevice, type UsbSlot } from '../model/usb.ts';
import { type Decision, decide, keptBack } from './decide.ts';
import type { Decider, ObservedVm, Outcome, Plan, PlanInput, Step, Verdict, WaitReason } from './plan-types.ts';
import { Ports } from './ports.ts';
import { whyClosed, whyLastNow, whyLeft, whyStale, whyWanted } from './reasons.ts';
import { isReady, isTaking, mayLeave, nameOf, type Survey, survey } from './survey.ts';
import { maySwitch, SWITCH_MS, switchedHold } from './switched.ts';
import { Takings } from './takings.ts';

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
    case 'carryHold':
      return holdKey(step.hold);
    case 'ask':
      return questionKey(step.device);
    case 'endQuestion':
      return questionKey(step.question);
  }
}

/**
 * Plans the next steps: at most one for each device, at most one more controller for each VM, each legal at once. Applying them and planning again ends, after a
 * few rounds, in a plan without steps. With `only`, plans for that one device (`backend:busid`), as if alone.
 *
 * INVARIANTS: a device that is attached anywhere, or under way, gets no attach step; a guarded device never gets one; a
 * VM that is closed gets no step at all unless it is being released; nothing is done about devices of a backend that
 * could not be read; steps that are planned or under way leave the host one of its keyboards and pointing devices.
 */
export function plan(input: PlanInput, only?: string): Plan {
  const world = survey(input);
  const keys = only === undefined ? [...world.keys].sort() : [only].filter((key) => world.keys.has(key));
  const drafts = keys.map((key) => draft(key, world));
  // Who asked for a certain port goes before who had one, and that one before who takes any.
  const wants = drafts.filter((one) => one.want !== undefined);
  const ports = new Ports(input.memory);
  const takings = new Takings(world);
  const ranks = new Map(wants.map((one) => [one, rankOf(one, input)]));
  const added = new Map<VmUuid, Step>();
  for (const one of wants.sort((a, b) => (ranks.get(b) ?? 0) - (ranks.get(a) ?? 0)))
    place(one, ports, takings, input, added);
  const ended = only === undefined ? joined(endHolds(input, world), endQuestions(input, world, drafts)) : NOTHING;
  const steps = [...ended.steps, ...added.values(), ...drafts.flatMap(({ step }) => step ?? [])];
  const wakeAt = Math.min(world.timedUntil, ...ended.retryAt, ...drafts.flatMap(({ retryAt }) => retryAt ?? []));
  const verdicts = drafts.map((one) => verdictOf(one, world));
  return wakeAt === Number.POSITIVE_INFINITY ? { steps, verdicts } : { steps, verdicts, wakeAt };
}

/** What is being worked out about one device. */
interface Draft {
  readonly key: string;
  readonly device: UsbDevice | undefined;
  readonly attachments: readonly Attachment[];
  decision: Decision | undefined;
  outcome: Outcome;
  step?: Step | undefined;
  retryAt?: number | undefined;
  /** Set when it is to be attached and nothing but a port is still to be found. */
  want?: { readonly vm: ObservedVm; readonly device: UsbDevice };
}

/** Steps, and when more are due (monotonic ms). */
interface Due {
  readonly steps: readonly Step[];
  readonly retryAt: readonly number[];
}
const NOTHING: Due = { steps: [], retryAt: [] };

function joined(a: Due, b: Due): Due {
  return { steps: [...a.steps, ...b.steps], retryAt: [...a.retryAt, ...b.retryAt] };
}

/** Gives the step when nothing of its key is under way, or when its next try is due. */
function unlessUnderWay(step: Step, { memory, now }: Survey): Due {
  const entry = memory.get(stepKey(step));
  if (entry?.inFlight !== undefined) return NOTHING;
  const isDue = entry?.retryAt === undefined || entry.retryAt <= now;
  return isDue ? { steps: [step], retryAt: [] } : { steps: [], retryAt: [entry.retryAt] };
}

/** Holds end with the plug that they are about, or go with a device that changes its id, for which they wait a while. */
function endHolds({ desired, goneSince }: PlanInput, world: Survey): Due {
  const isOver = ({ backend, busid, generation }: Hold) =>
    world.backends.has(backend) && world.devices.get(deviceKey({ backend, busid }))?.generation !== generation;
  return desired.holds
    .filter(isOver)
    .map((hold): Due => {
      const device = world.devices.get(deviceKey(hold));
      const as = device === undefined ? undefined : switchedHold(hold, device, world.policy);
      if (as !== undefined) return unlessUnderWay({ kind: 'carryHold', hold, as, why: 'it changed its id' }, world);
      const until = (goneSince?.get(holdKey(hold)) ?? world.now) + SWITCH_MS;
      if (device === undefined && until > world.now && maySwitch(hold, world.policy)) {
        return { steps: [], retryAt: [until] };
      }
      return unlessUnderWay({ kind: 'dropHold', hold, why: 'the device was unplugged' }, world);
    })
    .reduce(joined, NOTHING);
}

/** Questions end when nobody answers in time, and when their device is gone or need not be asked about any more. */
function endQuestions({ desired, wallNow }: PlanInput, world: Survey, drafts: readonly Draft[]): Due {
  const byKey = new Map(drafts.map((one) => [one.key, one]));
  return desired.questions
    .map((question): Due => {
      if (!world.backends.has(question.backend)) return NOTHING;
      const one = byKey.get(deviceKey(question));
      const isOpen = one?.device?.generation === question.generation && one.outcome.is === 'asking';
      const leftMs = question.expiresAt - wallNow;
      if (isOpen && leftMs > 0) return { steps: [], retryAt: [world.now + leftMs] };
      const as = isOpen ? 'unanswered' : 'moot';
      const why = isOpen ? 'nobody answered in time' : 'the device is gone, or need not be asked about any more';
      return unlessUnderWay({ kind: 'endQuestion', question, as, why }, world);
    })
    .reduce(joined, NOTHING);
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
          uuidOf: (name) => world.uuidOf(name),
          policySays: () => world.policySays(device),
          ruleOf: ({ index }) => world.policy.rules[index],
          isObserving: world.isObserving,
        });
  const one: Draft = { key, device, attachments, decision, outcome: { is: 'left' } };
  if (inFlight?.kind === 'attach') one.outcome = { is: 'attaching', ...underWay(inFlight, key, world) };
  else if (inFlight?.kind === 'detach') one.outcome = { is: 'detaching', ...underWay(inFlight, key, world) };
  else if (attachments.length > 0) draftAttached(one, world);
  else if (attached.length > 0) leaveAlone(one, attached);
  else if (device !== undefined && decision?.target !== undefined) draftDetached(one, device, decision.target, world);
  else if (device !== undefined && decision?.ask !== undefined) draftAsking(one, device, decision.ask, world);
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
  } else one.step = { kind: 'detach', vm: attachment.vm, attachment, ...whyDetach(one, attachment, world) };
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
  const elsewhere = world.unseenHolderOf(device);
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

/** The device may go to one of the VMs when a person says so: one is asked when a VM could have it. */
function draftAsking(one: Draft, device: UsbDevice, wanted: readonly VmUuid[], world: Survey): void {
  const vms = wanted.filter((vm) => isTaking(world.vms.get(vm)));
  const [first] = wanted;
  if (vms.length === 0) {
    const detail = first === undefined ? '' : whyClosed(world.vms.get(first));
    if (first !== undefined) one.outcome = { is: 'waiting', vm: first, for: 'vm', detail };
    return;
  }
  const question = world.questions.get(one.key);
  one.outcome = { is: 'asking', vms, ...(question === undefined ? {} : { until: question.expiresAt }) };
  if (question !== undefined) return;
  const who = one.decision?.decider.by === 'rule' ? 'a rule' : 'an assignment';
  const why = `${who} gives it to ${vms.map((vm) => nameOf(vm, world)).join(' or ')} when a person says so`;
  const due = unlessUnderWay({ kind: 'ask', device, vms, why }, world);
  [one.step, one.retryAt] = [due.steps[0], due.retryAt[0]];
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
function place(one: Draft, ports: Ports, takings: Takings, input: PlanInput, added: Map<VmUuid, Step>): void {
  if (one.want === undefined) return;
  const { vm, device } = one.want;
  const lack = takings.lackWithout(device);
  if (lack !== undefined && one.decision !== undefined) {
    one.decision = keptBack(one.decision, whyLastNow(lack));
    return;
  }
  const choice = ports.take(vm, device, { asked: one.decision?.slot, last: lastSlot(one, input) });
  if ('slot' in choice) {
    takings.add(device);
    one.outcome = { is: 'attaching', vm: vm.uuid };
    one.step = {
      kind: 'attach',
      vm: vm.uuid,
      slot: choice.slot,
      device,
      why: whyWanted(one.decision?.decider, vm.name),
      decider: one.decision?.decider,
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
    ...(decision?.policy === undefined ? {} : { policy: decision.policy }),
    twins: twinsOf(key, world.keysById.get(deviceId)),
    isGone: device === undefined && attachments.some(({ backend }) => world.backends.has(backend)),
  };
}

function twinsOf(key: string, keys: readonly string[] = []): readonly string[] {
  return keys.length < 2 && keys[0] === key ? NO_TWINS : keys.filter((other) => other !== key);
}
const NO_TWINS: readonly string[] = [];

/** When the next try of this plug with this VM is due, if that is not now. */
function retryOf(key: string, generation: string, vm: VmUuid, { memory, now }: Survey): number | undefined {
  const entry = memory.get(key);
  if (entry?.retryAt === undefined || entry.retryAt <= now) return undefined;
  return entry.generation === generation && entry.vm === vm ? entry.retryAt : undefined;
}

function whyDetach(
  { device, decision }: Draft,
  attachment: Attachment,
  world: Survey,
): { readonly why: string; readonly decider?: Decider | undefined } {
  const vm = world.vms.get(attachment.vm);
  if (vm?.isReleasing === true) return { why: whyClosed(vm) };
  const stale = whyStale(attachment, device);
  if (stale !== undefined) return { why: stale };
  const decider = decision?.decider;
  if (decision?.target === undefined) return { why: whyLeft(decider), decider };
  if (decision.target !== attachment.vm) return { why: whyWanted(decider, nameOf(decision.target, world)), decider };
  return { why: `it is attached to VM ${nameOf(attachment.vm, world)} twice` };
}

function slotOf({ controller, port }: UsbSlot): UsbSlot {
  return { controller, port };
}

/** Names a hold among what is under way. */
export function holdKey(hold: Hold): string {
  return `hold ${deviceKey(hold)} ${hold.generation}`;
}

/** Names the question about a plug of a device among what is under way. */
export function questionKey(about: Pick<Question, 'backend' | 'busid' | 'generation'>): string {
  return `question ${deviceKey(about)} ${about.generation}`;
}

/** Names the next controller of a VM among what is under way: there is one at a time. */
export function controllerKey(vm: VmUuid): string {
  return `controller ${vm}`;
}
