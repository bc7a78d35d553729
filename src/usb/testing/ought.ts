/**
 * Where a device ought to be, worked out one by one and without any index, so that the planner can be held against it.
 * It shares with the planner what patterns and rules match, and not who goes before whom.
 */
import { type Assignment, formatDevicePattern, type Hold, matchDevice } from '../../model/assignment.ts';
import type { ObjectionKind } from '../../model/host-use.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { Policy, Rule } from '../../model/policy.ts';
import { isExplicitFor, isSameSwitcher, type Sensitive } from '../../model/policy-explicit.ts';
import { compileMatch, Subject } from '../../model/policy-match.ts';
import { compileTime, localTimeOf } from '../../model/policy-time.ts';
import { type Attachment, deviceKey, type UsbDevice } from '../../model/usb.ts';
import type { ObservedVm, PlanInput, Verdict } from '../plan-types.ts';
import { LOOSE_PATTERNS, RANKS } from './random-worlds.ts';

/** At most one of the two; neither: with its backend. */
export interface Ought {
  readonly vm?: VmUuid | undefined;
  readonly ask?: readonly VmUuid[] | undefined;
}

/** Who wants it: of a rule or an assignment it has to be known how explicit it is. */
interface Wish extends Ought {
  readonly by: { readonly isForced: boolean } | { readonly assignment: Assignment } | { readonly rule: Rule };
}

/** Gives where a device that is plugged ought to be. Of rules that take only so many, `verdicts` say who got a place. */
export function oughtOf(input: PlanInput, device: UsbDevice, verdicts: readonly Verdict[]): Ought {
  if (device.guard !== undefined) return {};
  const here = goodAttachments(input, device)[0];
  const wish = wishOf(input, device, here?.vm, verdicts);
  if (wish === undefined) return { vm: input.desired.isObserving ? here?.vm : foreignHolder(input, device) };
  const moves = wish.ask !== undefined || (wish.vm !== undefined && wish.vm !== here?.vm);
  const counts = (kind: ObjectionKind) => objectionCounts(kind, device, wish.by);
  return moves && device.objections?.some(({ kind }) => counts(kind)) ? {} : { vm: wish.vm, ask: wish.ask };
}

/** Gives the attachments that are of this plug of the device. */
export function goodAttachments({ observed }: PlanInput, device: UsbDevice): Attachment[] {
  return observed.vms
    .flatMap(({ domain }) => domain?.attachments ?? [])
    .filter((one) => deviceKey(one) === deviceKey(device) && one.deviceId === device.deviceId)
    .filter(({ generation }) => generation === device.generation);
}

/** Gives the newest hold of this plug of the device, or of what it was before it changed its id; that without its force. */
export function holdOf({ desired }: PlanInput, device: UsbDevice): Hold | undefined {
  const [hold] = desired.holds
    .filter((one) => deviceKey(one) === deviceKey(device))
    .filter((one) => one.generation === device.generation || isSwitched(desired.policy, one, device))
    .sort((a, b) => b.createdAt - a.createdAt);
  return hold?.generation === device.generation || hold === undefined ? hold : { ...hold, isForced: false };
}

/** Tells whether a hold is about what the device was in the same port, as a rule lists both ids. */
export function isSwitched(policy: Policy, { deviceId }: Hold, device: UsbDevice): boolean {
  return deviceId !== undefined && isSameSwitcher(policy, deviceId, device.deviceId);
}

/** Tells whether a VM takes devices now. */
export function canTake(vm: ObservedVm | undefined): boolean {
  if (vm?.domain === undefined) return false;
  return vm.isOpen && !vm.isReleasing && !vm.isUnknown;
}

function wishOf(
  input: PlanInput,
  device: UsbDevice,
  here: VmUuid | undefined,
  verdicts: readonly Verdict[],
): Wish | undefined {
  const { assignments, isObserving } = input.desired;
  const hold = holdOf(input, device);
  if (hold !== undefined) {
    return { by: { isForced: hold.isForced === true }, vm: hold.kind === 'in' ? hold.vm : undefined };
  }
  if (isObserving) return undefined;
  const there = new Map(input.observed.vms.map((vm) => [vm.uuid, vm]));
  const claims = assignments.filter(
    ({ vm, mode, pattern }) => mode !== 'manual' && there.has(vm) && matchDevice(pattern, device) !== undefined,
  );
  if (claims.length > 0) {
    const highest = Math.max(...claims.map(rankOf));
    const best = claims.filter((claim) => rankOf(claim) === highest).sort((a, b) => a.id - b.id);
    const isAble = ({ vm }: Assignment) => canTake(there.get(vm)) && there.get(vm)?.domain?.usbTrouble === undefined;
    const winner = best.find(({ vm }) => vm === here) ?? best.find(isAble) ?? best[0];
    if (winner === undefined) return undefined;
    if (winner.mode !== 'ask' || winner.vm === here) return { by: { assignment: winner }, vm: winner.vm };
    const asked = best.filter(({ mode }) => mode === 'ask').map(({ vm }) => vm);
    return { by: { assignment: winner }, ask: [...new Set(asked)] };
  }
  return foreignHolder(input, device) === undefined ? ruleWish(input, device, here, verdicts) : undefined;
}

/** The VM that others attached it to: it stays there unless there is a wish. */
function foreignHolder(input: PlanInput, device: UsbDevice): VmUuid | undefined {
  return goodAttachments(input, device).find(({ isForeign }) => isForeign)?.vm;
}

/** The first rule that matches, whose conditions hold and that has a place left. */
function ruleWish(
  input: PlanInput,
  device: UsbDevice,
  here: VmUuid | undefined,
  verdicts: readonly Verdict[],
): Wish | undefined {
  const { policy } = input.desired;
  const idOf = (name: string) => input.observed.vms.find((vm) => vm.name === name)?.uuid;
  if (policy.mode === 'observe') return undefined;
  for (const [index, rule] of policy.rules.entries()) {
    if (!compileMatch(rule.match).every((field) => field.matches(new Subject(device)))) continue;
    const { running = [], atMost } = rule.when ?? {};
    if (running.some((name) => input.observed.vms.find((vm) => vm.name === name)?.domain === undefined)) continue;
    if (compileTime(rule.when ?? {})?.(localTimeOf(input.wallNow)) === false) continue;
    const { action } = rule;
    if (action.do === 'deny') return { by: { rule } };
    const isFull = (name: string) => atMost !== undefined && countOf(input, device, verdicts, index, name) >= atMost;
    if (action.do === 'attach') {
      if (isFull(action.vm)) continue;
      return { by: { rule }, vm: idOf(action.vm) };
    }
    const roomy = action.vms.filter((name) => !isFull(name));
    if (roomy.length === 0) continue;
    const vms = roomy.flatMap((name) => idOf(name) ?? []);
    if (here !== undefined && vms.includes(here)) return { by: { rule }, vm: here };
    return vms.length === 0 ? { by: { rule } } : { by: { rule }, ask: vms };
  }
  return undefined;
}

/** How many other devices have a place of the rule in the VM of that name. */
function countOf(
  input: PlanInput,
  device: UsbDevice,
  verdicts: readonly Verdict[],
  index: number,
  name: string,
): number {
  const isIn = (key: string) =>
    input.observed.vms.find((vm) => vm.domain?.attachments.some((one) => deviceKey(one) === key))?.name === name;
  return verdicts.filter(({ device: key, policy }) => {
    if (key === deviceKey(device) || policy?.rule?.index !== index) return false;
    return policy.action.do === 'attach' ? policy.action.vm === name : isIn(key);
  }).length;
}

function rankOf({ pattern }: Assignment): number {
  return RANKS.get(formatDevicePattern(pattern)) ?? -1;
}

/** By hand, for every kind: the last ones never give way, other input devices to an exact assignment, the rest to force. */
const GIVES_WAY: { readonly [K in ObjectionKind]: { readonly what?: Sensitive; readonly toAssignment: boolean } } = {
  'last keyboard': { toAssignment: false },
  'last pointer': { toAssignment: false },
  'missed keyboard': { toAssignment: false },
  'missed pointer': { toAssignment: false },
  'boot disk': { what: 'boot disk', toAssignment: false },
  mounted: { what: 'mounted', toAssignment: false },
  swap: { what: 'mounted', toAssignment: false },
  held: { what: 'mounted', toAssignment: false },
  network: { what: 'network', toAssignment: false },
  keyboard: { what: 'keyboard', toAssignment: true },
  pointer: { what: 'pointing', toAssignment: true },
  input: { what: 'input', toAssignment: true },
};

function objectionCounts(kind: ObjectionKind, device: UsbDevice, by: Wish['by']): boolean {
  const { what, toAssignment } = GIVES_WAY[kind];
  if (what === undefined) return true;
  if ('rule' in by) return !isExplicitFor(by.rule, what, device);
  if ('assignment' in by) return !toAssignment || LOOSE_PATTERNS.has(formatDevicePattern(by.assignment.pattern));
  return !by.isForced;
}
