/** Why something is (not) done about a device, as half a sentence: said in steps, verdicts, events and explanations. */
import type { HoldOrigin } from '../model/assignment.ts';
import type { InputKind } from '../model/input-claims.ts';
import { formatRuleRef } from '../model/policy.ts';
import type { Attachment, UsbDevice } from '../model/usb.ts';
import type { Decider, ObservedVm } from './plan-types.ts';

/** Says why a VM takes no devices now. */
export function whyClosed(vm: ObservedVm | undefined): string {
  if (vm === undefined) return 'its VM is no longer there';
  if (vm.isUnknown === true || vm.isOutOfSight === true) return `VM ${vm.name} cannot be observed`;
  if (vm.isReleasing === true) return `VM ${vm.name} gives its devices back`;
  return `VM ${vm.name} is ${vm.power}${vm.power === 'running' || vm.power === 'paused' ? ', but closed' : ''}`;
}

/** Says who wants the device in the VM of that name. */
export function whyWanted(decider: Decider | undefined, name: string): string {
  if (decider?.by === 'hold')
    return `attached to ${name} ${decider.hold.by === 'hand' ? 'by hand' : 'as a person said who was asked'}`;
  if (decider?.by === 'rule') return `${formatRuleRef(decider.rule)} gives it to ${name}`;
  if (decider?.by !== 'assignment') return `it belongs to ${name}`;
  return `assignment ${decider.assignment.id} gives it to ${name} by ${decider.match.by}`;
}

/** What became of a device that is held out of every VM, and by whom. */
export const HELD_OUT: Readonly<Record<HoldOrigin, string>> = {
  hand: 'detached by hand',
  answer: 'refused by a person who was asked',
  silence: 'kept out, for nobody said in time where it may go',
};

function whyRuleLeaves({ rule, said: { action, missingVms } }: Extract<Decider, { by: 'rule' }>): string {
  const who = formatRuleRef(rule);
  if (action.do === 'deny') return `${who} denies it${action.reason === undefined ? '' : `: ${action.reason}`}`;
  if (missingVms.length > 0) return `${who} gives it to ${missingVms.join(', ')}, and there is no such VM`;
  return `${who} has a person asked first`;
}

/** Says why the device is to be in no VM. */
export function whyLeft(decider: Decider | undefined): string {
  switch (decider?.by) {
    case 'guard':
      return `it is ${decider.against === undefined ? 'never given to a VM' : 'kept back'}: ${decider.reason}`;
    case 'rule':
      return whyRuleLeaves(decider);
    case 'hold':
      return `it was ${HELD_OUT[decider.hold.by]}`;
    case 'assignment':
      return 'a person is asked first';
    default:
      return 'nothing says that it belongs there';
  }
}

/** Says why an input device is kept back that is not the last one of the host, and will be. */
export function whyLastNow(kind: InputKind): string {
  return `the others are in VMs or on their way there, and it is the last USB ${kind === 'pointer' ? 'pointing device' : kind} of the host`;
}

/** Says why what is attached is not the device that is plugged there; `undefined` when it is. */
export function whyStale(attachment: Attachment, device: UsbDevice | undefined): string | undefined {
  if (device === undefined) return 'the device was unplugged';
  if (attachment.deviceId !== device.deviceId) return 'another device took its place';
  if (attachment.generation !== device.generation) return 'the device was plugged anew';
  return undefined;
}
