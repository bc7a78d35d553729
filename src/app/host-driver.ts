/** Which hypervisor this host is of, for VMs whose file names no driver and settings that leave it open. */
import { readFile } from 'node:fs/promises';
import type { DriverName } from '../model/vm.ts';

/** Says what the kernel of a Xen domain can do; in dom0 `control_d` (Linux, drivers/xen/xenfs/super.c). */
const XEN_CAPABILITIES = '/proc/xen/capabilities';

/** Gives `xen` in Xen's control domain, `qemu` elsewhere. */
export async function driverOfHost(capabilitiesFile = XEN_CAPABILITIES): Promise<DriverName> {
  const capabilities = await readFile(capabilitiesFile, 'utf8').catch(() => '');
  return capabilities.split(/[\s,]+/).includes('control_d') ? 'xen' : 'qemu';
}
