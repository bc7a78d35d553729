/**
 * The disks of a saved guest: its memory knows what was on them, so that it must never meet them as they are later. A save
 * says of each writable disk how it was: by a snapshot inside its image, or by a stamp of its file. Changes no disk.
 */
import { stat } from 'node:fs/promises';
import { Fault } from '../lib/fault.ts';
import type { DiskConfig } from '../model/vm.ts';

/** A disk that the guest can write to, at the moment of the save. */
export interface SavedDisk {
  /** The name in the guest. */
  readonly target: string;
  /** The snapshot of that moment in its image. */
  readonly snapshot?: string;
  /** Without a snapshot: the file's size and time of change. Absent: it is no file, and tells nothing. */
  readonly stamp?: string;
}

/** The name of a snapshot; the only form that is ever made or read. */
const SNAPSHOT = /^usher-[0-9a-f]{8}-[0-9a-f-]{27}$/;
/** `1048576.1764337274123456789`. */
const STAMP = /^\d{1,20}\.\d{1,20}$/;
const TARGET = /^[a-z]{1,8}[0-9]{0,3}$/;

/** What can be done about a checkpoint that is refused for its disks. */
export const DISKS_HINT =
  'Suspend the VM instead, or save its memory alone with disks=ignore: such a file is restored only while the disk has not changed since.';

/** Gives the disks that a guest can write to. */
export function writableDisks(disks: readonly DiskConfig[]): DiskConfig[] {
  return disks.filter(({ isReadOnly, kind }) => !isReadOnly && kind !== 'cdrom');
}

/** Gives the name of the snapshot that belongs to a save. */
export function snapshotNameOf(saveId: string): string {
  return `usher-${saveId}`;
}

/** Names disks in a sentence: `vda (raw, /srv/a.img)`. */
export function namesOf(disks: readonly DiskConfig[]): string {
  return disks.map(({ target, format, path }) => `${target} (${format}, ${path})`).join(', ');
}

/** Makes the fault of a checkpoint whose disks would be newer than the memory in its file. */
export function disksRefusal(vm: string, file: string, disks: readonly DiskConfig[], why: string): Fault {
  const what = `its memory would be older than its disk ${namesOf(disks)}, of which no snapshot can be taken: ${why}`;
  return new Fault('vm.save_failed', { vm, file, what }, { hint: DISKS_HINT });
}

/** Says what a checkpoint is worth whose disks were ignored. */
export function ignoredDisksWarning(vm: string, disks: readonly DiskConfig[]): string {
  return `The file has the memory of VM ${vm} alone: it is of no use once the guest has written to ${namesOf(disks)}.`;
}

/** Notes how disks are now, when nobody writes to them. */
export function stampDisks(disks: readonly DiskConfig[]): Promise<SavedDisk[]> {
  return Promise.all(
    disks.map(async ({ target, path }) => {
      const stamp = await stampOf(path);
      return stamp === undefined ? { target } : { target, stamp };
    }),
  );
}

/**
 * Says which disk has changed since the save, `undefined` when none has as far as can be told. Those with a snapshot are
 * the driver's to judge.
 */
export async function whyDiskChanged(
  saved: readonly SavedDisk[],
  disks: readonly DiskConfig[],
): Promise<string | undefined> {
  for (const { target, stamp } of saved) {
    const disk = disks.find((other) => other.target === target);
    if (stamp === undefined || disk === undefined) continue;
    const now = await stampOf(disk.path);
    if (now !== undefined && now !== stamp) {
      return `its disk ${namesOf([disk])} has changed since, and the guest's memory would ruin what is on it`;
    }
  }
  return undefined;
}

/** The hint of a restore that is refused for its disks. */
export const CHANGED_HINT =
  'Start the VM anew, or give it the disk of that time. If you know that the difference does no harm: restore with disks=ignore.';

/** Parses what a save says of its disks; `undefined` for what no save of ours says. */
export function parseSavedDisks(untrusted: unknown): SavedDisk[] | undefined {
  if (!Array.isArray(untrusted)) return undefined;
  const disks: SavedDisk[] = [];
  for (const entry of untrusted as readonly unknown[]) {
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { target, snapshot, stamp } = entry as Record<string, unknown>;
    if (!matches(TARGET, target) || (snapshot !== undefined && !matches(SNAPSHOT, snapshot))) return undefined;
    if (stamp !== undefined && !matches(STAMP, stamp)) return undefined;
    disks.push({ target, ...(snapshot === undefined ? {} : { snapshot }), ...(stamp === undefined ? {} : { stamp }) });
  }
  return disks;
}

function matches(pattern: RegExp, value: unknown): value is string {
  return typeof value === 'string' && pattern.test(value);
}

async function stampOf(path: string): Promise<string | undefined> {
  const status = await stat(path, { bigint: true }).catch(() => undefined);
  return status?.isFile() ? `${status.size}.${status.mtimeNs}` : undefined;
}
