/** What requests name, found among VMs and devices as they are: for rights, and for the trail's before and after. */
import type { OperationName } from '../api/operations.ts';
import { messageOf } from '../lib/fault.ts';
import type { VmNames } from '../model/access.ts';
import { type Assignment, formatDevicePattern } from '../model/assignment.ts';
import type { AuditState } from '../model/audit.ts';
import { deviceKey, formatSlot, parseDeviceRef } from '../model/usb.ts';
import type { Subjects } from './access.ts';
import type { StateOf } from './dispatch.ts';
import type { Engine } from './engine.ts';

type Parts = Pick<Engine, 'inventory' | 'fleet' | 'router' | 'policy' | 'log'>;

/** Gives the finder that rights need. */
export function subjectsOf({ inventory, router }: Pick<Parts, 'inventory' | 'router'>): Subjects {
  const vm = (ref: string): VmNames => {
    try {
      const { name, uuid } = inventory.findVm(ref);
      return { name, uuid };
    } catch {
      return { name: ref };
    }
  };
  return {
    vm,
    device(key) {
      const verdict = router.verdictOf(key);
      if (verdict === undefined) return undefined;
      const { deviceId, outcome } = verdict;
      return 'vm' in outcome ? { deviceId, vm: vm(outcome.vm) } : { deviceId };
    },
  };
}

/** Gives what tells how things stand with a request's VM, device or assignment. */
export function stateTeller(parts: Parts): StateOf {
  return (operation, params, answer) => {
    try {
      return stateOf(parts, operation, params, answer);
    } catch (error) {
      parts.log.warn('what the audit trail says of a state is missing', { operation, what: messageOf(error) });
      return undefined;
    }
  };
}

function stateOf(parts: Parts, operation: OperationName, params: object, answer: unknown): AuditState | undefined {
  const { vm, device, at, assignment } = params as Readonly<Record<string, unknown>>;
  if (operation === 'usb.assign' || operation === 'usb.unassign') {
    const id = assignment ?? (answer as { readonly id?: number } | undefined)?.id;
    const found = parts.inventory.assignments().find((other) => other.id === id);
    return found === undefined ? undefined : assignmentState(parts, found);
  }
  if (operation === 'policy.load') return parts.policy.state();
  const place = device ?? at;
  if (typeof place === 'string') return deviceState(parts, place);
  const made = (answer as { readonly uuid?: unknown } | undefined)?.uuid;
  const ref = vm ?? made;
  return typeof ref === 'string' ? vmState(parts, ref) : undefined;
}

function vmState({ inventory, fleet }: Parts, ref: string): AuditState | undefined {
  const record = inventory.listVms().find(({ uuid, name }) => ref === name || ref.toLowerCase() === uuid);
  if (record === undefined) return undefined;
  const { uuid, name, autostart } = record;
  const devices = (fleet.domainOf(uuid)?.attachments ?? []).map(deviceKey);
  return { name, uuid, power: fleet.find(uuid)?.state ?? 'halted', autostart, devices };
}

function deviceState({ inventory, fleet, router }: Parts, ref: string): AuditState | undefined {
  const key = deviceKey(parseDeviceRef(ref));
  const verdict = router.verdictOf(key);
  const hold = inventory.holds().find((other) => deviceKey(other) === key);
  if (verdict === undefined) return undefined;
  const { outcome, deviceId } = verdict;
  const vm = 'vm' in outcome ? { vm: fleet.nameOf(outcome.vm) } : {};
  const slot = 'slot' in outcome ? { slot: formatSlot(outcome.slot) } : {};
  const held = hold === undefined ? {} : { held: hold.vm === undefined ? 'out' : `in ${fleet.nameOf(hold.vm)}` };
  return { deviceId, is: outcome.is, ...vm, ...slot, ...held };
}

function assignmentState({ fleet }: Parts, { id, vm, pattern, mode }: Assignment): AuditState {
  return { assignment: id, vm: fleet.nameOf(vm), device: formatDevicePattern(pattern), mode };
}
