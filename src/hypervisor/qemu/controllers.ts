/** Virtual USB controllers of a domain: the QEMU devices they are made of, and which devices work on them. Pure. */
import { CONTROLLER_SPEEDS } from '../../model/usb.ts';
import type { UsbControllerConfig } from '../../model/vm.ts';
import type { Controller } from '../driver.ts';
import { controllerId, parseControllerId } from './ids.ts';

/** Properties of one `-device`, as JSON. */
export type DeviceProperties = Readonly<Record<string, string | number | boolean>>;

/** PCI slots 0x08 to 0x1d belong to USB, one each: a device's address must be the same in a restored domain. */
const FIRST_SLOT = 0x08;
export const MAX_CONTROLLERS = 0x1d - FIRST_SLOT + 1;

/** Gives the devices that make up controller number `index`, in the order that QEMU needs. */
export function controllerDevices(config: UsbControllerConfig, index: number): DeviceProperties[] {
  const { version, ports } = config;
  const id = controllerId({ index, version, ports });
  const slot = (FIRST_SLOT + index).toString(16).padStart(2, '0');
  if (version === 3) return [{ driver: 'qemu-xhci', id, p2: ports, p3: ports, addr: `${slot}.0` }];
  if (version === 1) return [{ driver: 'piix3-usb-uhci', id, addr: `${slot}.0` }];
  // Version 2 alone takes no keyboard: low and full speed are for its companions, which share its ports two by two.
  const companions = [1, 2, 3].map((number, i) => ({
    driver: `ich9-usb-uhci${number}`,
    id: `${id}-uhci${number}`,
    masterbus: `${id}.0`,
    firstport: i * 2,
    addr: `${slot}.${i}`,
    multifunction: true,
  }));
  return [{ driver: 'ich9-usb-ehci1', id, addr: `${slot}.7`, multifunction: true }, ...companions];
}

/** Picks the controllers out of a domain's QOM ids, sorted by number. */
export function controllersOf(qomIds: readonly string[]): Controller[] {
  return qomIds
    .flatMap((id) => parseControllerId(id) ?? [])
    .map((parsed) => ({ ...parsed, speeds: CONTROLLER_SPEEDS[parsed.version] }))
    .sort((a, b) => a.index - b.index);
}

/** Names the bus of a controller. */
export function busOf(controller: Controller): string {
  return `${controllerId(controller)}.0`;
}
