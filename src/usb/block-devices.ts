/** The block devices of this host and what each is made of: disks, partitions, device mapper, RAID, loop (sysfs, class/block). */
import { basename, dirname, join } from 'node:path';
import { type HostRoots, listFolder, readAttribute, readTable, realFolder, usbDeviceAbove } from './host-files.ts';
import { withoutMark } from './mounts.ts';

export interface BlockDevice {
  readonly name: string;
  /** What people call it: `vg-data` for `dm-0`; else its name. */
  readonly label: string;
  /** Major and minor number, `8:17`. */
  readonly number: string;
  /** Without a medium 0. */
  readonly sectors: number;
  readonly isPartition: boolean;
  /** The USB device that it is a disk or partition of. */
  readonly busid?: string;
  /** What it is made of: a partition of its disk, a mapping or an array of its members. */
  readonly parts: readonly string[];
  /** Of a loop device: a file, or the path of a device. */
  readonly backingFile?: string;
  /** The imported ZFS pool that it is a member of, as far as udev has looked. */
  readonly zfsPool?: string;
}

/** Reads them all; a host without block devices has none. @throws Fault `file.unreadable` */
export async function readBlockDevices(roots: HostRoots): Promise<BlockDevice[]> {
  const folder = join(roots.sysRoot, 'class/block');
  const [names, pools] = await Promise.all([listFolder(folder), listFolder(join(roots.procRoot, 'spl/kstat/zfs'))]);
  const devices = await Promise.all(names.map((name) => readBlockDevice(roots, join(folder, name), name, pools)));
  return devices.filter((device) => device !== undefined);
}

async function readBlockDevice(
  roots: HostRoots,
  link: string,
  name: string,
  pools: readonly string[],
): Promise<BlockDevice | undefined> {
  const path = await realFolder(link);
  if (path === undefined) return undefined;
  const attribute = (of: string) => readAttribute(join(path, of));
  const [number, size, partition, mapping, backing] = await Promise.all(
    ['dev', 'size', 'partition', 'dm/name', 'loop/backing_file'].map(attribute),
  );
  if (number === undefined) return undefined;
  const busid = usbDeviceAbove(path);
  const isPartition = partition !== undefined;
  const zfsPool = busid === undefined ? undefined : await poolOf(roots, number, pools);
  return {
    name,
    label: mapping || name,
    number,
    sectors: Number.parseInt(size ?? '', 10) || 0,
    isPartition,
    parts: isPartition ? [basename(dirname(path))] : await listFolder(join(path, 'slaves')),
    ...(busid === undefined ? {} : { busid }),
    ...(backing ? { backingFile: withoutMark(backing) } : {}),
    ...(zfsPool === undefined ? {} : { zfsPool }),
  };
}

/** ZFS names no members in sysfs, so it takes what udev read from the disk, and what ZFS says it has imported. */
async function poolOf(roots: HostRoots, number: string, pools: readonly string[]): Promise<string | undefined> {
  if (pools.length === 0) return undefined;
  const facts = await readTable(join(roots.runRoot, 'udev/data', `b${number}`));
  const untrustedPool = /^E:ID_FS_LABEL=(.+)$/m.exec(facts)?.[1];
  const isMember = /^E:ID_FS_TYPE=zfs_member$/m.test(facts);
  return isMember ? pools.find((pool) => pool === untrustedPool) : undefined;
}
