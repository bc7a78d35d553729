/** Devices that are assigned and not plugged, as rows beside those that are: one for each assignment that means a single device, port or location. */
import type { DeviceView } from '../api/views.ts';
import { printable } from '../lib/text.ts';
import { type Assignment, formatDevicePattern, isExactPlace, matchDevice } from '../model/assignment.ts';
import { namesProduct } from '../model/policy-patterns.ts';
import { parseDeviceRef } from '../model/usb.ts';
import type { Engine } from './engine.ts';

type Parts = Pick<Engine, 'inventory' | 'router' | 'fleet'>;

/** Lists them; what was unplugged and is still in a VM has a row of its own, and is none of them. */
export function listAbsent({ inventory, router, fleet }: Parts): DeviceView[] {
  // What is gone has no location any more: an assignment by that waits for what is plugged there next.
  const known = [
    ...router.verdicts.map(({ device, deviceId }) => ({ ...parseDeviceRef(device), deviceId })),
    ...router.devices,
  ];
  return inventory
    .assignments()
    .filter(({ pattern }) => isOne(pattern) && !known.some((device) => matchDevice(pattern, device) !== undefined))
    .map(({ id, vm, pattern, mode }) => {
      const name = fleet.nameOf(vm);
      return {
        device: awaitedIn(pattern),
        deviceId: printable(pattern.deviceId ?? '', 200),
        ...{ description: '', udevName: '', speed: '', state: 'waiting', isAbsent: true, vm: name, assignment: id },
        why: `it is not plugged; assignment ${id} (${mode}) is for VM ${name}`,
      };
    });
}

/** Whether a pattern means one place or one product, so that it can be told that it is not there. */
function isOne(pattern: Assignment['pattern']): boolean {
  return isExactPlace(pattern) || (pattern.deviceId !== undefined && namesProduct(pattern.deviceId));
}

/** Gives the port or the location that it is expected in, or what is expected in any. */
function awaitedIn(pattern: Assignment['pattern']): string {
  const { deviceId: _, ...place } = pattern;
  return formatDevicePattern(isExactPlace(pattern) ? place : pattern);
}
