/** What the planner is given, indexed by device and by VM, and which VMs take or give devices now. Decides nothing. */
import type { Hold, Question } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import type { Policy } from '../model/policy.ts';
import { type PolicyVerdict, rulesMatching, vmsOf } from '../model/policy-judge.ts';
import { judgeAll } from '../model/policy-judge-all.ts';
import { localTimeOf } from '../model/policy-time.ts';
import { type Attachment, deviceKey, type UsbDevice } from '../model/usb.ts';
import { type Claim, claimsAmong, isAble } from './decide.ts';
import type { Memory, ObservedVm, PlanInput } from './plan-types.ts';
import { whyStale } from './reasons.ts';
import { switchedHold } from './switched.ts';

/** The input, indexed. */
export interface Survey {
  readonly keys: ReadonlySet<string>;
  readonly backends: ReadonlySet<string>;
  readonly devices: ReadonlyMap<string, UsbDevice>;
  readonly attachments: ReadonlyMap<string, readonly Attachment[]>;
  readonly vms: ReadonlyMap<VmUuid, ObservedVm>;
  readonly holds: ReadonlyMap<string, Hold>;
  /** Those about plugs that are there. */
  readonly questions: ReadonlyMap<string, Question>;
  readonly keysById: ReadonlyMap<string, readonly string[]>;
  readonly memory: Memory;
  readonly now: number;
  readonly policy: Policy;
  readonly isObserving: boolean;
  /** When the policy may say something else without anything having changed (monotonic ms); infinity for never. */
  readonly timedUntil: number;
  claimsOn(device: UsbDevice): readonly Claim[];
  /** The VM of that name. */
  uuidOf(name: string): VmUuid | undefined;
  /** A VM that could not be observed yet, and has the device as far as is known, or by an assignment or a rule. */
  unseenHolderOf(device: UsbDevice): ObservedVm | undefined;
  /** What the policy says of a present device that neither a hold nor an assignment decides about. */
  policySays(device: UsbDevice): PolicyVerdict | undefined;
}

const MINUTE_MS = 60_000;

/** Indexes the input. Of two devices at one place the first counts, of two holds on one plug the newer. */
export function survey({ observed, desired, memory, lastPlaces, now, wallNow, namesOf }: PlanInput): Survey {
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
    const device = devices.get(key);
    const switched = device === undefined ? undefined : switchedHold(hold, device, desired.policy);
    if (switched !== undefined && isNewer) holds.set(key, switched);
  }
  const isAboutPlug = (question: Question) => devices.get(deviceKey(question))?.generation === question.generation;
  const vms = new Map<VmUuid, ObservedVm>();
  for (const vm of observed.vms) vms.set(vm.uuid, vm);
  let vmsByName: ReadonlyMap<string, VmUuid> | undefined;
  const claimsOn = claimsAmong(desired.assignments);
  const { policy, isObserving = false } = desired;
  const nameOf = (vm: VmUuid) => vms.get(vm)?.name;
  const isOfOthers = (device: UsbDevice) =>
    attachments.get(deviceKey(device))?.some((one) => one.isForeign === true && whyStale(one, device) === undefined);
  const isLeftToPolicy = (device: UsbDevice) =>
    device.guard === undefined &&
    !holds.has(deviceKey(device)) &&
    (isObserving || !(isOfOthers(device) || claimsOn(device).some((claim) => isAble(claim, { nameOf }))));
  let judged: ReadonlyMap<string, PolicyVerdict> | undefined;
  const judge = () =>
    judgeAll(
      policy,
      [...devices.values()].filter(isLeftToPolicy),
      {
        vms: new Map(observed.vms.map(({ name, domain }) => [name, { isRunning: domain !== undefined }])),
        at: localTimeOf(wallNow),
        namesOf,
      },
      (device) => {
        const vm = attachments.get(deviceKey(device))?.[0]?.vm;
        return vm === undefined ? undefined : nameOf(vm);
      },
    ).verdicts;
  const unseen = observed.vms.filter(({ isUnknown }) => isUnknown === true);
  const isTimed = policy.rules.some(({ when }) => when?.time !== undefined || when?.days !== undefined);
  return {
    policy,
    isObserving,
    timedUntil: isTimed ? now + MINUTE_MS - (wallNow % MINUTE_MS) : Number.POSITIVE_INFINITY,
    policySays(device) {
      if (policy.rules.length === 0) return undefined;
      judged ??= judge();
      return judged.get(deviceKey(device));
    },
    keys: new Set([...devices.keys(), ...attachments.keys()]),
    backends: observed.backends,
    devices,
    attachments,
    vms,
    holds,
    questions: new Map(desired.questions.filter(isAboutPlug).map((question) => [deviceKey(question), question])),
    keysById,
    memory,
    now,
    claimsOn,
    uuidOf(name) {
      vmsByName ??= new Map(observed.vms.map((vm) => [vm.name, vm.uuid]));
      return vmsByName.get(name);
    },
    unseenHolderOf(device) {
      if (unseen.length === 0) return undefined;
      const last = lastPlaces?.get(deviceKey(device))?.vm;
      const ruled = policy.mode === 'enforce' ? rulesMatching(policy, device, namesOf) : [];
      const named = new Set(ruled.flatMap(({ one }) => vmsOf(one.rule.action)));
      const claimed = new Set(claimsOn(device).map(({ assignment }) => assignment.vm));
      return unseen.find(({ uuid, name }) => uuid === last || claimed.has(uuid) || named.has(name));
    },
  };
}

/** Whether a device may be attached to it now. */
export function isReady(vm: ObservedVm | undefined): boolean {
  return isTaking(vm) && vm?.domain?.usbTrouble === undefined;
}

/** Whether it runs and is open: what it has to take devices with is another matter. */
export function isTaking(vm: ObservedVm | undefined): boolean {
  return vm?.domain !== undefined && vm.isOpen && vm.isReleasing !== true && vm.isUnknown !== true;
}

/** Whether a device may be detached from it now. */
export function mayLeave(vm: ObservedVm | undefined): boolean {
  return vm?.domain !== undefined && (vm.isOpen || vm.isReleasing === true) && vm.isUnknown !== true;
}

/** Gives the VM's name, or its uuid when there is no such VM. */
export function nameOf(vm: VmUuid, world: Survey): string {
  return world.vms.get(vm)?.name ?? vm;
}

function append<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
