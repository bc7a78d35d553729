/** Finds the devices that requests name, also when they were plugged a moment ago, and what VMs would have for them. */
import type { Controller } from '../hypervisor/driver.ts';
import { Fault, isFault } from '../lib/fault.ts';
import { VIRTUAL_BACKEND, type VmUuid } from '../model/ids.ts';
import { deviceKey, parseDeviceRef, type UsbDevice } from '../model/usb.ts';
import { plannedControllers } from '../usb/planned.ts';
import type { Engine } from './engine.ts';

/** How long an answer waits for a device to come to rest, when it comes by itself. */
export const REST_MS = 10_000;

export interface DeviceFinder {
  /** Gives the device as it was last seen. */
  seen(key: string): UsbDevice | undefined;
  /** Sees to it that what was plugged before this request is known, though nobody has looked since. */
  lookFor(place: Pick<UsbDevice, 'backend' | 'busid'>, signal: AbortSignal): Promise<void>;
  /** Gives a device that is plugged. @throws Fault `usb.device_invalid`, `usb.device_not_found` */
  find(ref: string, signal: AbortSignal): Promise<UsbDevice>;
  /** The controllers that a VM would have, by the last good content of its file; none when there is none. */
  controllersOf(vm: VmUuid): Controller[];
}

export function deviceNotFound(device: string): Fault {
  return new Fault('usb.device_not_found', { device }, { hint: 'See: usher usb list' });
}

/** Makes the finder. */
export function deviceFinder({ router, virtualPorts, inventory }: Engine): DeviceFinder {
  const seen = (key: string) => router.devices.find((other) => deviceKey(other) === key);
  const lookFor: DeviceFinder['lookFor'] = async (place, signal) => {
    const key = deviceKey(place);
    if (seen(key) !== undefined || router.verdictOf(key) !== undefined) return;
    if (place.backend === VIRTUAL_BACKEND) await virtualPorts.settled(place.busid);
    await router.settleDevice(key, signal, REST_MS).catch(() => undefined);
  };
  return {
    seen,
    lookFor,
    async find(ref, signal) {
      const place = parseDeviceRef(ref);
      await lookFor(place, signal);
      const device = seen(deviceKey(place));
      if (device === undefined) throw deviceNotFound(deviceKey(place));
      return device;
    },
    controllersOf(vm) {
      try {
        return plannedControllers(inventory.configs.stored(vm));
      } catch (error) {
        if (!isFault(error)) throw error;
        return [];
      }
    },
  };
}
