/**
 * What a person could do that would change the verdict on a device. Each is tried on the planner before it is offered, so
 * that it is true by construction. Pure.
 */
import type { Controller } from '../hypervisor/driver.ts';
import { type DevicePattern, formatDevicePattern, type Hold, matchDevice } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import { foresee } from './foresee.ts';
import type { Change, Desired, ObservedVm, Outcome, PlanInput, Verdict } from './plan-types.ts';

/** As many VMs are offered that the device could go to. */
const MAX_OFFERED_VMS = 3;
/** What a VM is taken to have when it would run. */
const ANY_CONTROLLER: Controller = { index: 0, version: 3, ports: 15, speeds: ['low', 'full', 'high', 'super'] };

/** Lists the changes that would bring the device to another end than it comes to now, nearest first. */
export function listChanges(input: PlanInput, device: UsbDevice, verdict: Verdict): Change[] {
  const tries = candidates(input, device, verdict);
  const small = narrow(input, device, tries);
  const now = endOf(small, device);
  const offered = new Set<string>();
  return tries.flatMap(({ offer, says, command, apply }) => {
    if (offered.has(offer)) return [];
    const end = endOf(applyChange(small, device, apply), device);
    const vm = vmOf(end);
    if (end.is === now.is && vm === vmOf(now)) return [];
    offered.add(offer);
    return [{ says, command, apply, gives: vm === undefined ? { is: end.is } : { is: end.is, vm } }];
  });
}

/** Gives the input as it would be after the change. */
export function applyChange(input: PlanInput, device: UsbDevice, apply: Change['apply']): PlanInput {
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
      return wish({ holds: [...others, { ...holdOn(device), kind: 'in', vm: apply.vm }] });
    case 'detach':
      return wish({ holds: [...others, { ...holdOn(device), kind: 'out' }] });
    case 'start': {
      const vms = observed.vms.map((vm) => (vm.uuid === apply.vm ? started(vm) : vm));
      return { ...input, observed: { ...observed, vms } };
    }
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
  const nameOf = (vm: VmUuid) => input.observed.vms.find(({ uuid }) => uuid === vm)?.name;
  if (outcome.is === 'waiting') {
    const name = nameOf(outcome.vm);
    if (name !== undefined) {
      add('start', `Start VM ${name}`, `usher vm start ${name}`, { do: 'start', vm: outcome.vm });
    }
  }
  if (decider.by === 'hold') {
    add('release', 'Let assignments decide again', `usher usb release ${key}`, { do: 'release' });
  }
  if (decider.by === 'assignment') {
    const { id } = decider.assignment;
    add('unassign', `Remove assignment ${id}`, `usher usb unassign ${id}`, { do: 'unassign', assignment: id });
  }
  add('detach', 'Detach it by hand', `usher usb detach ${key}`, { do: 'detach' });
  const claiming = losers.map(({ assignment }) => assignment.vm);
  const open = input.observed.vms.filter((vm) => vm.domain !== undefined && vm.isOpen).map(({ uuid }) => uuid);
  for (const vm of [...new Set([...claiming, ...open])].slice(0, MAX_OFFERED_VMS)) {
    const name = nameOf(vm);
    if (name === undefined) continue;
    add(`attach ${vm}`, `Attach it to VM ${name} by hand`, `usher usb attach ${name} ${key}`, { do: 'attach', vm });
    for (const pattern of patternsFor(device, twins.length > 0)) {
      const words = formatDevicePattern(pattern);
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

/** By device id it follows the device; by port it tells twins apart; by both it beats whatever there may be. */
function patternsFor({ backend, busid, deviceId }: UsbDevice, hasTwins: boolean): DevicePattern[] {
  const port = { backend, busid };
  return hasTwins ? [{ port }, { port, deviceId }] : [{ deviceId }, { port }, { port, deviceId }];
}

/** Leaves out what cannot matter to this device: a host may have a thousand VMs, and each change is planned for. */
function narrow(
  { observed, desired, memory, now }: PlanInput,
  device: UsbDevice,
  tries: readonly Candidate[],
): PlanInput {
  const key = deviceKey(device);
  const assignments = desired.assignments.filter(({ pattern }) => matchDevice(pattern, device) !== undefined);
  const holds = desired.holds.filter((hold) => deviceKey(hold) === key);
  const named = [...assignments, ...holds, ...tries.map(({ apply }) => apply)];
  const relevant = new Set(named.flatMap((one) => ('vm' in one ? one.vm : [])));
  const vms = observed.vms.filter(
    ({ uuid, domain }) => relevant.has(uuid) || domain?.attachments.some((one) => deviceKey(one) === key),
  );
  return { observed: { ...observed, devices: [device], vms }, desired: { assignments, holds }, memory, now };
}

function holdOn({ backend, busid, generation }: UsbDevice): Omit<Hold, 'kind'> {
  return { backend, busid, generation, createdAt: Number.MAX_SAFE_INTEGER };
}

function started({ uuid, name, domain }: ObservedVm): ObservedVm {
  return {
    uuid,
    name,
    power: 'running',
    isOpen: true,
    domain: domain ?? { controllers: [ANY_CONTROLLER], attachments: [] },
  };
}

function endOf(input: PlanInput, device: UsbDevice): Outcome {
  return foresee(input, deviceKey(device)).verdicts[0]?.outcome ?? { is: 'left' };
}

function vmOf(outcome: Outcome): VmUuid | undefined {
  return 'vm' in outcome ? outcome.vm : undefined;
}
