/** The files that a VM's config names. Looks; opens and changes none. */
import { stat } from 'node:fs/promises';
import { errnoOf, Fault, messageOf } from '../lib/fault.ts';
import type { VmConfig } from '../model/vm.ts';

/**
 * Checks that what a hypervisor is to open is there (its own words for that differ from file to file), and that no disk is
 * one that it would read and write wrongly: an encrypted one comes here opened, see encrypted-disks.ts.
 * @throws Fault `vm.start_failed`
 */
export async function checkVmFiles({ name, kernel, initrd, disks }: VmConfig): Promise<void> {
  const encrypted = disks.find((disk) => disk.encryption !== undefined);
  if (encrypted !== undefined) {
    throw new Fault('vm.start_failed', {
      vm: name,
      what: `the disk ${encrypted.target} is encrypted, and nobody opened it`,
    });
  }
  for (const path of [kernel, initrd, ...disks.map((disk) => disk.path)]) {
    if (path === undefined || path === '') continue;
    await stat(path).catch((error: unknown) => {
      const what = errnoOf(error) === 'ENOENT' ? `the file ${path} is not there` : messageOf(error);
      throw new Fault('vm.start_failed', { vm: name, what }, { cause: error });
    });
  }
}
