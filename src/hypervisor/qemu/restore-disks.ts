/**
 * The disks of a guest that is restored: checked against its save before anything is touched, then reverted to the
 * snapshots of that moment, in such a way that a restore which fails leaves them as they were.
 */
import { randomUUID } from 'node:crypto';
import { Fault, isFault, reasonOf } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import type { DiskConfig, VmConfig } from '../../model/vm.ts';
import { CHANGED_HINT, namesOf, type SavedDisk, whyDiskChanged } from '../saved-disks.ts';
import type { QemuDomain } from './domain.ts';
import { type DiskSnapshot, type QemuImg, removeSnapshots, snapshotsOf } from './snapshots.ts';

export interface RevertedDisks {
  /** Makes the disks what they were before. Legal when QEMU is gone. */
  undo(): Promise<void>;
  /** Forgets what they were before. Legal when the guest is restored. */
  settle(domain: QemuDomain): Promise<void>;
}

/**
 * Checks the disks against the save. Changes nothing. @throws Fault `vm.save_invalid` when one has changed, or lacks the
 * snapshot
 */
export async function checkSavedDisks(
  file: string,
  saved: readonly SavedDisk[],
  { disks }: VmConfig,
  img: QemuImg,
): Promise<void> {
  const refuse = (what: string, cause?: unknown) =>
    new Fault('vm.save_invalid', { file, what }, { hint: CHANGED_HINT, cause });
  const changed = await whyDiskChanged(saved, disks);
  if (changed !== undefined) throw refuse(changed);
  for (const { target, snapshot } of saved) {
    const disk = disks.find((other) => other.target === target);
    if (snapshot === undefined || disk === undefined) continue;
    const names = await img.list(disk.path).catch((error: unknown) => {
      if (!isFault(error)) throw error;
      throw refuse(
        `the snapshots of its disk ${namesOf([disk])} cannot be read: ${reasonOf(error, 'exec.failed')}`,
        error,
      );
    });
    if (names.includes(snapshot)) continue;
    throw refuse(`its disk ${namesOf([disk])} no longer has the snapshot "${snapshot}" of that moment`);
  }
}

/**
 * Reverts the disks to their snapshots; what they are now is kept in another snapshot until `settle`.
 * @throws Fault `exec.failed`, `timeout`; the disks are as before then
 */
export async function revertDisks(
  saved: readonly SavedDisk[],
  disks: readonly DiskConfig[],
  img: QemuImg,
  log: Log,
): Promise<RevertedDisks> {
  const before = `usher-before-${randomUUID()}`;
  const kept: DiskSnapshot[] = [];
  const undo = async () => {
    for (const snapshot of kept) {
      await img.revert(snapshot);
      await img.remove(snapshot);
    }
  };
  try {
    for (const snapshot of snapshotsOf(saved, disks)) {
      const present = { ...snapshot, name: before };
      await img.take(present);
      kept.push(present);
      await img.revert(snapshot);
    }
  } catch (error) {
    await undo();
    throw error;
  }
  return {
    undo,
    settle: async (domain) => {
      try {
        if (kept.length > 0) await removeSnapshots(await domain.session(), kept);
      } catch (error) {
        // It costs room and harms nothing, and the guest runs by now.
        log.warn('a snapshot that is no longer needed stays', { vm: domain.name, name: before, error });
      }
    },
  };
}
