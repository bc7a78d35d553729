/**
 * The USB controllers of this host on PCI, and which of them have been given away: their devices are not on the host at all,
 * so that no list of ours has them. Read from sysfs (bus/pci); who got a controller is not said there.
 */
import { join } from 'node:path';
import { type HostRoots, linkedName, listFolder, readAttribute } from './host-files.ts';

/** `host`: its kernel works with it. `elsewhere`: held for a VM or a program. `nobody`: no kernel driver has it. */
export type ControllerKeeper = 'host' | 'elsewhere' | 'nobody';

export interface HostController {
  /** PCI address, `0000:00:14.0`. */
  readonly address: string;
  /** `xHCI`, `EHCI`, `OHCI`, `UHCI`, or `USB` when it is another. */
  readonly standard: string;
  /** The kernel driver that has it. */
  readonly driver?: string;
  readonly keeper: ControllerKeeper;
}

/** The class of USB controllers; the last two digits say which (PCI Code and ID Assignment, 1.13). */
const USB_CLASS = /^0x0c03([0-9a-f]{2})$/;
const STANDARDS: ReadonlyMap<string, string> = new Map([
  ['00', 'UHCI'],
  ['10', 'OHCI'],
  ['20', 'EHCI'],
  ['30', 'xHCI'],
]);
/** A USB device that is itself on PCI, and a USB4 router: neither has USB devices. */
const NO_HOSTS: ReadonlySet<string> = new Set(['fe', '40']);
/** KVM; Xen, by its old and its new name; reserved for either; programs. */
const HOLDERS: ReadonlySet<string> = new Set([
  ...['vfio-pci', 'pciback', 'xen-pciback', 'pci-stub'],
  ...['uio_pci_generic', 'igb_uio', 'uio'],
]);

/** Reads all USB controllers on PCI; none on a host without PCI. @throws Fault `file.unreadable` */
export async function readControllers({ sysRoot }: HostRoots): Promise<HostController[]> {
  const folder = join(sysRoot, 'bus/pci/devices');
  const found = await Promise.all(
    (await listFolder(folder)).map(async (address): Promise<HostController | undefined> => {
      const programming = USB_CLASS.exec((await readAttribute(join(folder, address, 'class'))) ?? '')?.[1];
      if (programming === undefined || NO_HOSTS.has(programming)) return undefined;
      const driver = await linkedName(join(folder, address, 'driver'));
      const standard = STANDARDS.get(programming) ?? 'USB';
      if (driver === undefined) return { address, standard, keeper: 'nobody' };
      return { address, standard, driver, keeper: HOLDERS.has(driver) ? 'elsewhere' : 'host' };
    }),
  );
  return found.filter((controller) => controller !== undefined);
}

/** Says of a controller by which address it is found, who has it, and why its devices are not listed when the host has not. */
export function tellController({ address, standard, driver, keeper }: HostController): string {
  if (keeper === 'host') return `The ${standard} controller ${address} is the host's (${driver}).`;
  if (keeper === 'nobody')
    return `The ${standard} controller ${address} has no kernel driver: its devices are not seen.`;
  return `The ${standard} controller ${address} is given away (${driver}): its devices are not on this host.`;
}
