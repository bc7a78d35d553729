/** The controllers that a VM which does not run would have if it did, by its config. Pure; what it has is observed. */
import type { Controller } from '../hypervisor/driver.ts';
import { CONTROLLER_SPEEDS, PV_CONTROLLER_SPEEDS, XEN_EMULATED_SPEEDS } from '../model/usb.ts';
import { type VmConfig, virtModeOf } from '../model/vm.ts';

/** Gives them as the driver will make them: on Xen `auto` is emulated for an HVM guest, and a PV one otherwise. */
export function plannedControllers(config: VmConfig): Controller[] {
  const isHvm = virtModeOf(config) === 'hvm';
  return config.usbControllers.map(({ type, version, ports }, index) => {
    const isPv = type === 'qusb' || type === 'pv' || (type === 'auto' && !isHvm);
    if (config.driver !== 'xen') return { index, version, ports, speeds: CONTROLLER_SPEEDS[version] };
    if (!isPv) return { index, version, ports, speeds: XEN_EMULATED_SPEEDS[version] };
    const pvVersion = version === 1 ? 1 : 2; // There is no PV controller of version 3.
    return { index, version: pvVersion, ports, speeds: PV_CONTROLLER_SPEEDS[pvVersion], sharesPortNumbers: true };
  });
}
