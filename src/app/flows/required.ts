/**
 * Devices that a VM is not to start without. Their assignment says `required`; every other wish about devices never keeps
 * a VM from starting.
 */
import { Fault } from '../../lib/fault.ts';
import { listWords } from '../../lib/text.ts';
import { type Assignment, formatDevicePattern, matchDevice } from '../../model/assignment.ts';
import { deviceKey, type UsbDevice } from '../../model/usb.ts';
import type { VmRecord } from '../../model/vm.ts';
import type { Engine } from '../engine.ts';

type Parts = Pick<Engine, 'inventory' | 'router' | 'fleet'>;

/** Sees to it that each device that the VM requires is there for it. @throws Fault `usb.required_missing` */
export async function checkRequired(engine: Parts, { uuid, name }: VmRecord, signal: AbortSignal): Promise<void> {
  const required = engine.inventory.assignments().filter(({ vm, mode }) => vm === uuid && mode === 'required');
  if (required.length === 0) return;
  await engine.router.lookAtDevices(signal);
  const taken = new Set<string>();
  const missing = required.flatMap((assignment) => {
    const found = engine.router.devices.filter((device) => matchDevice(assignment.pattern, device) !== undefined);
    const own = found.find(
      (device) => !taken.has(deviceKey(device)) && whyNot(engine, device, assignment) === undefined,
    );
    if (own !== undefined) taken.add(deviceKey(own));
    return own === undefined ? [sayMissing(engine, assignment, found)] : [];
  });
  if (missing.length === 0) return;
  const hint = `Plug it in, or have the VM start without it: usher usb assignments, usher usb unassign NUMBER`;
  throw new Fault('usb.required_missing', { vm: name, missing: listWords(missing, 'and') }, { hint });
}

/** Gives the required assignment by which the device is in the VM that has it, if that is why. */
export function requiredBy({ router }: Pick<Parts, 'router'>, device: string): Assignment | undefined {
  const decider = router.verdictOf(device)?.decider;
  return decider?.by === 'assignment' && decider.assignment.mode === 'required' ? decider.assignment : undefined;
}

function sayMissing(engine: Parts, assignment: Assignment, found: readonly UsbDevice[]): string {
  const pattern = formatDevicePattern(assignment.pattern);
  const [device] = found;
  const why = device === undefined ? 'nothing like it is plugged' : whyNot(engine, device, assignment);
  return `${pattern} (${why ?? 'another required assignment has it'})`;
}

/** Says why a present device that matches is not to be had by the assignment's VM. */
function whyNot({ router, fleet }: Parts, device: UsbDevice, { vm }: Assignment): string | undefined {
  const key = deviceKey(device);
  if (device.guard !== undefined) return `${key}: ${device.guard}`;
  const { decider, outcome } = router.verdictOf(key) ?? {};
  if (outcome !== undefined && 'vm' in outcome && outcome.vm !== vm)
    return `${key} belongs to VM ${fleet.nameOf(outcome.vm)}`;
  return decider?.by === 'hold' && decider.hold.kind === 'out' ? `${key} is held out of every VM` : undefined;
}
