/**
 * What a domain was started with, and what was put into its CD drives since, noted in its folder: a save has to tell it, and
 * a running QEMU no longer can.
 */
import { readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../../lib/atomic-file.ts';
import { Fault, messageOf } from '../../lib/fault.ts';
import type { DiskConfig } from '../../model/vm.ts';
import type { Topology } from '../topology.ts';
import type { Accelerator } from './accel.ts';
import type { Medium } from './media.ts';
import type { DomainPaths } from './paths.ts';

export interface Origin {
  readonly topology: Topology;
  readonly accelerator: Accelerator['name'];
  /** All disks, in the order of their block nodes. */
  readonly disks: readonly DiskConfig[];
  /** Absent for a domain from before there were any. */
  readonly hasBalloon?: boolean;
  /** What was changed since in its CD drives. Absent for a domain from before that was noted. */
  readonly media?: readonly Medium[];
}

/** Notes it: before the process is started, and when a medium was changed. @throws Fault `file.unwritable` */
export async function writeOrigin({ originFile }: DomainPaths, origin: Origin): Promise<void> {
  await writeFileAtomic(originFile, JSON.stringify(origin));
}

/** Reads it back. Only we can have written it: the folder is private. @throws Fault `file.unreadable` */
export async function readOrigin({ originFile: file }: DomainPaths): Promise<Origin> {
  try {
    const text = await readFile(file, 'utf8');
    const { topology, accelerator, disks, hasBalloon = false, media = [] } = JSON.parse(text) as Origin;
    return { topology, accelerator, disks, hasBalloon, media };
  } catch (error) {
    throw new Fault('file.unreadable', { file, what: messageOf(error) }, { cause: error });
  }
}
