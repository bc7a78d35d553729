/** The disks of an xl.cfg, in the syntax of xl-disk-configuration(5). Pure. */
import { Fault } from '../../lib/fault.ts';
import type { DiskConfig, VirtMode, VmConfig } from '../../model/vm.ts';

/** Places on the emulated IDE controller: hda to hdd, which xvda to xvdd take too (xen-vbd-interface(7)). */
const IDE_TARGET = /^(?:hd|xvd)[a-d]$/;

/**
 * Gives a specification for each disk. The format is the configured one, never probed: a guest could write itself another.
 * @throws Fault `vm.start_failed`
 */
export function diskSpecs({ name, disks }: VmConfig, kind: VirtMode): string[] {
  const refuse = (what: string) => new Fault('vm.start_failed', { vm: name, what });
  return disks.map((disk) => {
    const { path, target } = disk;
    if (path.includes('\n')) throw refuse('the path of a disk has a line end, which xl cannot be told');
    // libxl hands it to the device model inside a `key=value,…` option, as it is (libxl_dm.c, `-drive file=…`).
    if (kind === 'hvm' && path.includes(',')) {
      throw refuse(`the disk path ${path} has a comma, which an HVM guest's device model would misread: rename it`);
    }
    if (kind === 'hvm' && disk.kind === 'cdrom' && !IDE_TARGET.test(target)) {
      throw refuse(`the CD-ROM ${target} is none that Xen emulates: name it hda to hdd`);
    }
    return specOf(disk);
  });
}

/** `target=` comes last and takes the rest as it is, but for one comma at its end (libxlu_disk_l.l). */
function specOf({ path, format, target, isReadOnly, kind }: DiskConfig): string {
  const words = [
    `format=${format}`,
    `vdev=${target}`,
    `access=${isReadOnly ? 'ro' : 'rw'}`,
    ...(kind === 'cdrom' ? ['devtype=cdrom'] : []),
    `target=${path}${path.endsWith(',') ? ',' : ''}`,
  ];
  return words.join(',');
}
