/** Why something is (not) done about a device, as half a sentence: said in steps, verdicts, events and explanations. */
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
  if (decider?.by === 'hold') return `attached to ${name} by hand`;
  if (decider?.by !== 'assignment') return `it belongs to ${name}`;
  return `assignment ${decider.assignment.id} gives it to ${name} by ${decider.match.by}`;
}

/** Says why the device is to be in no VM. */
export function whyLeft(decider: Decider | undefined): string {
  switch (decider?.by) {
    case 'guard':
      return `it is never given to a VM: ${decider.reason}`;
    case 'hold':
      return 'it was detached by hand';
    default:
      return 'nothing says that it belongs there';
  }
}

/** Says why what is attached is not the device that is plugged there; `undefined` when it is. */
export function whyStale(attachment: Attachment, device: UsbDevice | undefined): string | undefined {
  if (device === undefined) return 'the device was unplugged';
  if (attachment.deviceId !== device.deviceId) return 'another device took its place';
  if (attachment.generation !== device.generation) return 'the device was plugged anew';
  return undefined;
}
