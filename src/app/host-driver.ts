/** Which hypervisor this host is of, for VMs whose file names no driver and settings that leave it open. */
import { access, readFile } from 'node:fs/promises';
import type { DriverName } from '../model/vm.ts';

/** Says what the kernel of a Xen domain can do; in dom0 `control_d` (Linux, drivers/xen/xenfs/super.c). */
const XEN_CAPABILITIES = '/proc/xen/capabilities';
/** What only a host has that is meant for Xen: its toolstack, also when the host was booted without it, or xenfs is not mounted. */
const SIGNS_OF_XEN = ['/usr/sbin/xl', '/etc/xen', '/run/xenstored/socket'];

/** Gives `xen` in Xen's control domain, `qemu` elsewhere. */
export async function driverOfHost(capabilitiesFile = XEN_CAPABILITIES): Promise<DriverName> {
  const capabilities = await readFile(capabilitiesFile, 'utf8').catch(() => '');
  return capabilities.split(/[\s,]+/).includes('control_d') ? 'xen' : 'qemu';
}

/** Tells whether this host looks as if it were to be one of Xen, whatever it is now. */
export async function hasSignsOfXen(signs: readonly string[] = SIGNS_OF_XEN): Promise<boolean> {
  const there = await Promise.all(
    signs.map((path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    ),
  );
  return there.includes(true);
}
