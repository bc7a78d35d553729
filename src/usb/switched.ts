/**
 * Devices that change their id, as rules list them (`switches`): what a person decided about such a device goes with it
 * when it leaves its port and comes back as another. Pure.
 */
import { type Hold, matchesId } from '../model/assignment.ts';
import type { Policy } from '../model/policy.ts';
import { isSameSwitcher } from '../model/policy-explicit.ts';
import type { UsbDevice } from '../model/usb.ts';

/** How long a hold waits for its device to come back under another id: some modems take a quarter of a minute. */
export const SWITCH_MS = 30_000;

/**
 * Gives the hold as it is about a device that is plugged where the hold's was, under another id of the same list; `undefined`
 * when that is another device. Force does not go with it: what spoke against the one says nothing of the other.
 */
export function switchedHold(hold: Hold, device: UsbDevice, policy: Policy): Hold | undefined {
  const { deviceId: before, isForced: _, ...rest } = hold;
  if (before === undefined || hold.generation === device.generation) return undefined;
  if (!isSameSwitcher(policy, before, device.deviceId)) return undefined;
  return { ...rest, generation: device.generation, deviceId: device.deviceId };
}

/** Tells whether the device of a hold may come back under another id. */
export function maySwitch({ deviceId }: Hold, policy: Policy): boolean {
  if (deviceId === undefined) return false;
  return policy.rules.some(({ match: { switches = [] } }) => switches.some((one) => matchesId(one, deviceId)));
}
