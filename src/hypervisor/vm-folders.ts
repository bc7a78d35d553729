/** The folders that a driver has in its runtime folder: one for each VM whose domain runs, or did. */
import { readdir } from 'node:fs/promises';
import { errnoOf } from '../lib/fault.ts';
import { isUuid, type VmUuid } from '../model/ids.ts';

/** Lists the VMs that have a folder; none when there is no runtime folder yet. @throws system errors */
export async function foldersIn(runtimeDir: string): Promise<VmUuid[]> {
  const names = await readdir(runtimeDir).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });
  return names.filter((name) => isUuid(name) && name === name.toLowerCase()) as VmUuid[];
}
