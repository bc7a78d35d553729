/** What the planner is given, indexed by device and by VM, and which VMs take or give devices now. Decides nothing. */
import type { Hold } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { type Attachment, deviceKey, type UsbDevice } from '../model/usb.ts';
import { type Claim, indexClaims } from './decide.ts';
import type { Memory, ObservedVm, PlanInput } from './plan-types.ts';

/** The input, indexed. */
export interface Survey {
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

/** Indexes the input. Of two devices at one place the first counts, of two holds on one plug the newer. */
export function survey({ observed, desired, memory, now }: PlanInput): Survey {
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
