/** PCI devices of the host that a guest gets, by vfio-pci: the words for QEMU, and whether the host has them ready. */
import { readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pciAddress } from '../../config/pci.ts';
import { Fault } from '../../lib/fault.ts';
import type { PciConfig, VmConfig } from '../../model/vm.ts';

const DRIVER = 'vfio-pci';

/** Gives `-device` for each, by their numbers. Pure. */
export function pciArgv({ pciDevices = [] }: VmConfig): string[] {
  return byId(pciDevices).flatMap((device, index) => [
    '-device',
    JSON.stringify({ driver: DRIVER, id: `pci-${index}`, host: pciAddress(device) }),
  ]);
}

/** Checks that each is there and nobody else's: QEMU's words for that help nobody. @throws Fault `vm.start_failed` */
export async function checkPciDevices({ name, pciDevices = [] }: VmConfig, sysfsRoot: string): Promise<void> {
  for (const device of pciDevices) {
    const address = pciAddress(device);
    const refuse = (what: string, hint: string) => new Fault('vm.start_failed', { vm: name, what }, { hint });
    const folder = join(sysfsRoot, 'bus/pci/devices', address);
    const kernelDriver = await readlink(join(folder, 'driver')).then(
      (target) => basename(target),
      () => undefined,
    );
    const isThere = await readlink(folder).then(
      () => true,
      () => false,
    );
    if (!isThere) throw refuse(`the host has no PCI device ${address}`, 'See: lspci -D');
    if (kernelDriver === DRIVER) continue;
    const what = `the PCI device ${address} is ${kernelDriver === undefined ? 'bound to no kernel driver' : `used by the host (${kernelDriver})`}`;
    throw refuse(what, `Give it to vfio-pci first: driverctl set-override ${address} vfio-pci`);
  }
}

function byId(devices: readonly PciConfig[]): readonly PciConfig[] {
  return devices.toSorted((a, b) => a.id - b.id);
}
