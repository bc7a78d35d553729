/**
 * Reads what this host does with block devices. Mounts are those of our own mount namespace and, where we may look (root
 * may), of process 1; a mount in any other namespace is seen only by the traces that ext4, xfs, f2fs and btrfs leave in
 * sysfs. So a FAT stick that is mounted inside a container alone is not seen.
 */

import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Fault, messageOf } from '../lib/fault.ts';
import { readBlockDevices } from './block-devices.ts';
import { type HostRoots, listFolder, readTable, realFolder } from './host-files.ts';
import { parseMounts, parseSwaps } from './mounts.ts';
import type { StorageState } from './storage-uses.ts';

/** File systems that keep a folder a mounted device there, named as in sysfs. */
const TRACES = ['ext4', 'xfs', 'f2fs'];

/** Reads it all. @throws Fault `file.unreadable` */
export async function readStorage(roots: HostRoots): Promise<StorageState> {
  const { sysRoot, procRoot } = roots;
  const [blocks, mounts, swaps, traces, btrfs] = await Promise.all([
    readBlockDevices(roots),
    readMounts(procRoot),
    readTable(join(procRoot, 'swaps')).then(parseSwaps),
    Promise.all(TRACES.map((type) => listFolder(join(sysRoot, 'fs', type)))),
    readBtrfs(join(sysRoot, 'fs/btrfs')),
  ]);
  const names = new Set(blocks.map(({ name }) => name));
  const paths = [
    ...mounts.flatMap(({ sources }) => sources),
    ...swaps.map(({ path }) => path),
    ...blocks.flatMap(({ backingFile }) => backingFile ?? []),
  ].filter((path) => path.startsWith('/dev/'));
  const found = await Promise.all([...new Set(paths)].map((path) => readNode(roots, path, names)));
  const nodes = new Map(found.filter((entry) => entry !== undefined));
  const superblocks = [...traces.flat(), ...btrfs.flat()].filter((name) => names.has(name));
  return { blocks, mounts, swaps, nodes, superblocks, btrfs };
}

async function readMounts(procRoot: string) {
  const own = join(procRoot, 'self/mountinfo');
  const [ours, theirs] = await Promise.all([
    readFile(own, 'utf8').catch((error: unknown) => {
      throw new Fault('file.unreadable', { file: own, what: messageOf(error) }, { cause: error });
    }),
    readFile(join(procRoot, '1/mountinfo'), 'utf8').catch(() => ''),
  ]);
  return parseMounts(`${theirs}\n${ours}`);
}

/** One folder a mounted btrfs, named by its uuid; `features` is there as well. */
async function readBtrfs(folder: string): Promise<string[][]> {
  return Promise.all((await listFolder(folder)).map((name) => listFolder(join(folder, name, 'devices'))));
}

/** `/dev/mapper/vg-data` leads to `/dev/dm-0`, whose name is that of sysfs. */
async function readNode(
  { devRoot }: HostRoots,
  path: string,
  names: ReadonlySet<string>,
): Promise<[string, string] | undefined> {
  const real = await realFolder(join(devRoot, path.slice('/dev/'.length)));
  const name = basename(real ?? path);
  return names.has(name) ? [path, name] : undefined;
}
