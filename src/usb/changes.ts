/**
 * What a person could do that would change the verdict on a device. Each is tried on the planner before it is offered, so
 * that it is true by construction. Pure.
 */
import type { Controller } from '../hypervisor/driver.ts';
import {
  type Assignment,
  type DevicePattern,
  formatDevicePattern,
  type Hold,
  matchDevice,
  placeOf,
} from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { rulesMatching, vmsOf as vmsOfAction } from '../model/policy-judge.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import type { PowerState } from '../model/vm.ts';
import { foresee } from './foresee.ts';
import type { Change, Desired, ObservedVm, Outcome, PlanInput, Verdict } from './plan-types.ts';

/** As many VMs are offered that the device could go to. */
const MAX_OFFERED_VMS = 3;

/** Gives the controllers that a VM which does not run would have if it did. */
export type PlannedControllers = (vm: VmUuid) => readonly Controller[];

/**
 * Lists the changes that would bring the device to another end than it comes to now, nearest first: those whose command
 * would be taken, and comes to what it promises.
 */
export function listChanges(
  input: PlanInput,
  device: UsbDevice,
  verdict: Verdict,
  controllersOf: PlannedControllers,
): Change[] {
  const tries = candidates(input, device, verdict);
  const small = narrow(input, device, tries);
  const now = endOf(small, device);
  const offered = new Set<string>();
  return tries.flatMap(({ offer, says, command, apply }) => {
    if (offered.has(offer)) return [];
    const end = endOf(applyChange(small, device, apply, controllersOf), device);
    const vm = vmOf(end);
    if (end.is === now.is && vm === vmOf(now)) return [];
    if (!isWorthIt(apply, now, end)) return [];
    offered.add(offer);
    return [{ says, command, apply, gives: vm === undefined ? { is: end.is } : { is: end.is, vm } }];
  });
}

/** Gives the input as it would be after the change. */
export function applyChange(
  input: PlanInput,
  device: UsbDevice,
  apply: Change['apply'],
  controllersOf: PlannedControllers,
): PlanInput {
  const { desired, observed } = input;
  const others = desired.holds.filter((hold) => deviceKey(hold) !== deviceKey(device));
  const wish = (changed: Partial<Desired>): PlanInput => ({ ...input, desired: { ...desired, ...changed } });
  switch (apply.do) {
    case 'assign': {
      const { vm, pattern, mode } = apply;
      const id = Math.max(0, ...desired.assignments.map((other) => other.id)) + 1;
      return wish({ assignments: [...desired.assignments, { id, vm, pattern, mode, createdAt: 0 }] });
    }
    case 'unassign':
      return wish({ assignments: desired.assignments.filter(({ id }) => id !== apply.assignment) });
    case 'release':
      return wish({ holds: others });
    case 'attach':
      return wish({
        holds: [...others, { ...holdOn(device), kind: 'in', vm: apply.vm, isForced: apply.isForced === true }],
      });
    case 'detach':
      return wish({ holds: [...others, { ...holdOn(device), kind: 'out' }] });
    case 'start':
    case 'restart': {
      const isFresh = apply.do === 'restart';
      const vms = observed.vms.map((vm) => (vm.uuid === apply.vm ? started(vm, isFresh, controllersOf) : vm));
      return { ...input, observed: { ...observed, vms } };
    }
  }
}

/**
 * Whether anybody would want the change: by hand a device gets where it is to go or the command fails; a start is for
 * the device; and nothing is assigned away from where it can be to a VM that has no use for it now.
 */
function isWorthIt(apply: Change['apply'], now: Outcome, end: Outcome): boolean {
  switch (apply.do) {
    case 'attach':
    case 'restart':
      return end.is === 'attached' && end.vm === apply.vm;
    case 'start':
      return end.is === 'attached';
    case 'detach':
      return end.is === 'left';
    case 'assign':
      if (vmOf(end) !== apply.vm) return false;
      return end.is === 'attached' || (now.is === 'left' && end.is === 'waiting' && end.for === 'vm');
    case 'unassign':
    case 'release':
      return true;
  }
}

/** A change to try. Of those with one `offer`, the first that makes a difference is offered. */
interface Candidate {
  readonly offer: string;
  readonly says: string;
  readonly command: string;
  readonly apply: Change['apply'];
}

function candidates(input: PlanInput, device: UsbDevice, { decider, outcome, losers, twins }: Verdict): Candidate[] {
  const key = deviceKey(device);
  const found: Candidate[] = [];
  const add = (offer: string, says: string, command: string, apply: Change['apply']) => {
    found.push({ offer, says, command, apply });
  };
  const vmNow = (uuid: VmUuid) => input.observed.vms.find((vm) => vm.uuid === uuid);
  const offerStart = (vm: VmUuid) => {
    const { name = '', power, isUnknown } = vmNow(vm) ?? {};
    if (power === undefined || !STARTABLE.has(power) || isUnknown === true) return;
    add(`start ${vm}`, `Start VM ${name}`, `usher vm start ${name}`, { do: 'start', vm });
  };
  if (outcome.is === 'waiting') {
    const { name = '', power } = vmNow(outcome.vm) ?? {};
    offerStart(outcome.vm);
    if (outcome.for === 'device model' && power === 'running') {
      add('restart', `Restart VM ${name}`, `usher vm restart ${name}`, { do: 'restart', vm: outcome.vm });
    }
  }
  if (outcome.is === 'asking' && outcome.until !== undefined) {
    for (const vm of outcome.vms) {
      const { name = '' } = vmNow(vm) ?? {};
      add(`attach ${vm}`, `Answer that VM ${name} may have it`, `usher usb answer ${key} ${name}`, {
        do: 'attach',
        vm,
      });
    }
    add('detach', 'Answer that no VM may have it', `usher usb answer ${key} no`, { do: 'detach' });
  }
  for (const vm of ruleReader(input).conditionsOf(device).slice(0, MAX_OFFERED_VMS)) offerStart(vm);
  if (decider.by === 'hold') {
    add('release', 'Let assignments decide again', `usher usb release ${key}`, { do: 'release' });
  }
  if (decider.by === 'assignment') {
    const { id } = decider.assignment;
    add('unassign', `Remove assignment ${id}`, `usher usb unassign ${id}`, { do: 'unassign', assignment: id });
  }
  add('detach', 'Detach it by hand', `usher usb detach ${key}`, { do: 'detach' });
  const claiming = losers.map(({ assignment }) => assignment.vm);
  const open = input.observed.vms.filter(isOpenNow).map(({ uuid }) => uuid);
  const made = new Set(input.desired.assignments.map(({ vm, pattern }) => `${vm} ${formatDevicePattern(pattern)}`));
  for (const vm of [...new Set([...claiming, ...open])].slice(0, MAX_OFFERED_VMS)) {
    const there = vmNow(vm);
    if (there === undefined) continue;
    const { name } = there;
    if (isOpenNow(there)) {
      add(`attach ${vm}`, `Attach it to VM ${name} by hand`, `usher usb attach ${name} ${key}`, { do: 'attach', vm });
      if (device.objections !== undefined) {
        const command = `usher usb attach ${name} ${key} --force --confirm 30s`;
        add(`attach ${vm}`, `Attach it to VM ${name} all the same`, command, { do: 'attach', vm, isForced: true });
      }
    }
    for (const pattern of patternsFor(device, twins.length > 0)) {
      const words = formatDevicePattern(pattern);
      if (made.has(`${vm} ${words}`)) continue; // The command refuses to make it twice.
      add(`assign ${vm}`, `Assign it to VM ${name}`, `usher usb assign ${name} ${words} --auto`, {
        do: 'assign',
        vm,
        pattern,
        mode: 'auto',
      });
    }
  }
  return found;
}

/** States in which `usher vm start` is taken and has a domain come. */
const STARTABLE: ReadonlySet<PowerState> = new Set(['halted', 'suspended', 'crashed']);

/** Whether attaching by hand would be taken. */
function isOpenNow({ domain, isOpen, isReleasing, isUnknown }: ObservedVm): boolean {
  return domain !== undefined && isOpen && isReleasing !== true && isUnknown !== true;
}

/** By device id it follows the device; by its place it is told from its twins; by both it beats whatever there may be. */
function patternsFor(device: UsbDevice, hasTwins: boolean): DevicePattern[] {
  const { deviceId } = device;
  const place = placeOf(device);
  return [...(hasTwins ? [] : [{ deviceId }]), place, { ...place, deviceId }];
}

/**
 * Leaves out what cannot matter: a host may have a thousand VMs, and each change is planned for. What remains are the VMs
 * that the device may be in, the devices that may take ports there, and all that decides about those.
 */
function narrow(input: PlanInput, device: UsbDevice, tries: readonly Candidate[]): PlanInput {
  const { observed, desired } = input;
  const about = new Map([[deviceKey(device), device]]);
  const own = wishesOn(desired, about);
  const rules = ruleReader(input);
  const offered = tries.flatMap(({ apply }) => ('vm' in apply ? apply.vm : []));
  const places = new Set([...vmsOf(own), ...rules.targetsOf(device), ...offered]);
  for (const { uuid, domain } of observed.vms) {
    if (domain?.attachments.some((one) => deviceKey(one) === deviceKey(device))) places.add(uuid);
  }
  const isAround = (other: UsbDevice) =>
    desired.assignments.some(({ vm, pattern }) => places.has(vm) && matchDevice(pattern, other) !== undefined) ||
    rules.targetsOf(other).some((vm) => places.has(vm));
  const inside = observed.vms.flatMap(({ uuid, domain }) => (places.has(uuid) ? (domain?.attachments ?? []) : []));
  const held = desired.holds.filter(({ vm }) => vm !== undefined && places.has(vm));
  const near = new Set([...inside, ...held].map(deviceKey));
  for (const other of observed.devices) {
    if (near.has(deviceKey(other)) || isAround(other)) about.set(deviceKey(other), other);
  }
  const wishes = wishesOn(desired, about);
  const named = [...about.values()].flatMap((other) => [...rules.targetsOf(other), ...rules.conditionsOf(other)]);
  const relevant = new Set([...places, ...vmsOf(wishes), ...named]);
  const vms = observed.vms.filter(
    ({ uuid, domain }) => relevant.has(uuid) || domain?.attachments.some((one) => about.has(deviceKey(one))),
  );
  return { ...input, observed: { ...observed, devices: [...about.values()], vms }, desired: wishes };
}

/** Finds the VMs that rules name which match a device: those that it may go to, and those that have to run for it. */
function ruleReader({ observed, desired: { policy }, namesOf }: PlanInput) {
  const uuids = new Map(observed.vms.map(({ uuid, name }) => [name, uuid]));
  const matching = (device: UsbDevice) =>
    policy.rules.length === 0 ? [] : rulesMatching(policy, device, namesOf).map(({ one }) => one.rule);
  const toUuids = (names: readonly string[]) => names.flatMap((name) => uuids.get(name) ?? []);
  return {
    targetsOf: (device: UsbDevice) => toUuids(matching(device).flatMap(({ action }) => vmsOfAction(action))),
    conditionsOf: (device: UsbDevice) => toUuids(matching(device).flatMap(({ when }) => when?.running ?? [])),
  };
}

/** The wishes that decide about the devices. */
function wishesOn(
  { assignments, holds, questions, ...rest }: Desired,
  devices: ReadonlyMap<string, UsbDevice>,
): Desired {
  const present = [...devices.values()];
  const isAbout = ({ pattern }: Assignment) => present.some((device) => matchDevice(pattern, device) !== undefined);
  return {
    assignments: assignments.filter(isAbout),
    holds: holds.filter((hold) => devices.has(deviceKey(hold))),
    questions: questions.filter((question) => devices.has(deviceKey(question))),
    ...rest,
  };
}

function vmsOf({ assignments, holds, questions }: Omit<Desired, 'policy'>): VmUuid[] {
  return [...[...assignments, ...holds].flatMap(({ vm }) => vm ?? []), ...questions.flatMap(({ vms }) => vms)];
}

function holdOn({ backend, busid, generation }: UsbDevice): Omit<Hold, 'kind'> {
  return { backend, busid, generation, by: 'hand', createdAt: Number.MAX_SAFE_INTEGER };
}

/** Gives a VM that runs: with a new domain when it had none, or when it is to be fresh. */
function started({ uuid, name, domain }: ObservedVm, isFresh: boolean, controllersOf: PlannedControllers): ObservedVm {
  const kept = isFresh ? undefined : domain;
  const running = kept ?? { controllers: controllersOf(uuid), attachments: [] };
  return { uuid, name, power: 'running', isOpen: true, domain: running };
}

function endOf(input: PlanInput, device: UsbDevice): Outcome {
  const key = deviceKey(device);
  return foresee(input).verdicts.find((verdict) => verdict.device === key)?.outcome ?? { is: 'left' };
}

function vmOf(outcome: Outcome): VmUuid | undefined {
  return 'vm' in outcome ? outcome.vm : undefined;
}
