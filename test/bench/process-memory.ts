/** What a process has in memory, as /proc/PID/smaps_rollup and status tell (proc(5)). */
import { readFile } from 'node:fs/promises';

const MIB_IN_KIB = 1024;

export interface Memory {
  readonly residentMiB: number;
  /** Pages that several processes have count in parts (PSS). */
  readonly shareMiB: number;
}

/** Gives what is in memory now. */
export async function memoryOf(pid: number): Promise<Memory> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
  return { residentMiB: field(rollup, 'Rss'), shareMiB: field(rollup, 'Pss') };
}

/** Gives the most that was resident since the process began, in MiB. */
export async function peakOf(pid: number): Promise<number> {
  return field(await readFile(`/proc/${pid}/status`, 'utf8'), 'VmHWM');
}

function field(text: string, name: string): number {
  const [, kib] = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text) ?? [];
  if (kib === undefined) throw new Error(`there is no ${name}`);
  return Number(kib) / MIB_IN_KIB;
}
