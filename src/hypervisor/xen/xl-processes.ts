/** Processes of Xen's own programs, above all xl: what they do, by their command lines; waiting for them, ending them. */
import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { pollUntil } from '../../lib/deadline.ts';
import { errnoOf, isFault } from '../../lib/fault.ts';

export interface CommandProcess {
  readonly pid: number;
  /** Its words behind the program's name. */
  readonly words: readonly string[];
}

/** What xl starts to write or read a domain's memory. */
const HELPER = 'libxl-save-helper';
const POLL_MS = 50;
const KILL_TIMEOUT_MS = 10_000;

/** Lists the running processes of a program, by the name that it was called by; `procRoot` is `/proc`. */
export async function listCommands(name: string, procRoot = '/proc'): Promise<CommandProcess[]> {
  const pids = (await readdir(procRoot)).map(Number).filter((pid) => pid > 0);
  const found = await Promise.all(
    pids.map(async (pid): Promise<CommandProcess[]> => {
      const untrusted = await readFile(`${procRoot}/${pid}/cmdline`, 'utf8').catch(() => '');
      const [program = '', ...words] = untrusted.split('\0').slice(0, -1);
      return basename(program) === name ? [{ pid, words }] : [];
    }),
  );
  return found.flat();
}

/** Tells whether an xl writes that domain's state to a file or to another host; it takes a domid or a name. */
export function isSaveOf(
  { words: [command, ...rest] }: CommandProcess,
  { domid, name }: { readonly domid: number; readonly name: string },
): boolean {
  const isMeant = (word: string) => word === String(domid) || word === name;
  // The options of "migrate" have values, which nobody needs to know here: a word too many does no harm.
  if (command === 'migrate') return rest.some(isMeant);
  return (
    command === 'save' &&
    rest
      .filter((word) => !word.startsWith('-'))
      .slice(0, 1)
      .some(isMeant)
  );
}

/** Tells whether an xl builds a domain from that cfg file: it creates or restores it. */
export function isBuildFrom({ words: [command, ...rest] }: CommandProcess, cfgFile: string): boolean {
  return (command === 'create' || command === 'restore') && rest.includes(cfgFile);
}

/**
 * Tells whether an xl is one that stays to answer the death of its domain. One with `-e` leaves as soon as the domain is
 * there.
 */
export function isMonitor({ words: [command, ...rest] }: CommandProcess): boolean {
  return (command === 'create' || command === 'restore') && !rest.some((word) => /^-[a-zA-Z]*e/.test(word));
}

/**
 * Kills the helper that writes a domain's memory for that xl, if it has one now. libxl undoes a save whose helper dies: it
 * resumes the guest. When xl itself is killed, the guest stays suspended.
 */
export async function killHelperOf(xlPid: number): Promise<void> {
  for (const { pid } of await listCommands(HELPER)) {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
    const [, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (parent === String(xlPid)) kill(pid);
  }
}

/** Kills the xl processes that are meant, and returns when they are gone. @throws Fault `timeout` after 10 s */
export async function killXl(isMeant: (process: CommandProcess) => boolean, clock: Clock): Promise<void> {
  for (const { pid } of (await listCommands('xl')).filter(isMeant)) kill(pid);
  await untilNone(isMeant, KILL_TIMEOUT_MS, clock);
}

/** Waits until no xl process that is meant runs, and tells whether that came to pass in time. */
export async function areGoneWithin(
  isMeant: (process: CommandProcess) => boolean,
  timeoutMs: number,
  clock: Clock,
): Promise<boolean> {
  try {
    await untilNone(isMeant, timeoutMs, clock);
    return true;
  } catch (error) {
    if (isFault(error, 'timeout')) return false;
    throw error;
  }
}

async function untilNone(
  isMeant: (process: CommandProcess) => boolean,
  timeoutMs: number,
  clock: Clock,
): Promise<void> {
  await pollUntil({ what: 'The end of an xl process', timeoutMs, everyMs: POLL_MS, clock }, async () =>
    (await listCommands('xl')).some(isMeant) ? undefined : true,
  );
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
