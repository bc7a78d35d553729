/**
 * QEMU's processes: started so that they outlive us, found again, told from a stranger with the same number, ended.
 * Knows nothing of QMP.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import { pollUntil } from '../../lib/deadline.ts';
import { errnoOf, Fault, isFault, messageOf } from '../../lib/fault.ts';
import { isUuid, type VmUuid } from '../../model/ids.ts';
import type { DomainPaths } from './paths.ts';

/** A process that cannot be mistaken: its number, and the tick of its start (proc(5), `starttime`). */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
}

/** A running QEMU of ours, as its own command line says. */
export interface FoundProcess {
  readonly identity: ProcessIdentity;
  readonly name: string;
}

export interface LaunchOptions {
  /** Where it runs; its number is written to `pidFile` at once. */
  readonly cwd: string;
  readonly pidFile: string;
  /** Gets what it prints; is emptied first. */
  readonly log: string;
  readonly env: NodeJS.ProcessEnv;
}

export interface Launched {
  readonly identity: ProcessIdentity;
  /** Resolves, never rejects, with how it ended, in words. */
  readonly ended: Promise<string>;
}

const GONE_POLL_MS = 5;

/**
 * Starts a process of a session of its own, with no descriptor of ours but the log: neither a signal to our terminal
 * nor our death reaches it. What it makes is private (umask 0077). @throws Fault `hypervisor.missing`
 */
export function launch(argv: readonly [string, ...string[]], options: LaunchOptions): Launched {
  const log = openSync(options.log, 'w', 0o600);
  const umask = process.umask(0o077);
  let child: ChildProcess;
  try {
    const { cwd, env } = options;
    child = spawn(argv[0], argv.slice(1), { cwd, env, detached: true, stdio: ['ignore', log, log] });
  } finally {
    process.umask(umask);
    closeSync(log);
  }
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(messageOf(error)));
    child.once('exit', (status, signal) => resolve(status === null ? `signal ${signal}` : `status ${status}`));
  });
  child.unref();
  if (child.pid === undefined) throw missing(argv[0]);
  try {
    writeFileSync(options.pidFile, `${child.pid}\n`, { mode: 0o600 });
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  // A process that has already ended has no start time, but nor can its number be another's before we reap it.
  return { identity: identityOf(child.pid) ?? { pid: child.pid, startTicks: '' }, ended };
}

/** Makes the fault of a QEMU that is not installed. */
export function missing(binary: string): Fault {
  const hint = 'Install it: apt install qemu-system-x86';
  return new Fault('hypervisor.missing', { what: `the program ${binary} is not there` }, { hint });
}

/** Tells whether the process still runs; a zombie does not. */
export function isAlive({ pid, startTicks }: ProcessIdentity): boolean {
  return identityOf(pid)?.startTicks === startTicks;
}

/**
 * Finds the QEMU of a domain. A number in a file proves nothing, for numbers are used again: the process counts only if
 * its command line has the uuid and our socket. When the file is missing (we died between start and note) all processes
 * are looked through.
 */
export async function findProcess(paths: DomainPaths, uuid: VmUuid): Promise<FoundProcess | undefined> {
  const noted = Number(await readFile(paths.pidFile, 'utf8').catch(() => ''));
  const pids = noted > 0 ? [noted] : await allPids();
  for (const pid of pids) {
    const identity = identityOf(pid);
    const name = identity && nameInArgv(await argvOf(pid), paths, uuid);
    if (identity !== undefined && name !== undefined) return { identity, name };
  }
  return undefined;
}

/**
 * Finds every QEMU of ours that runs, whether or not its folder is still there: `pathsOf` says where one of ours has its
 * sockets, so that a VM of another home, which may have the same uuid, is none. Reads every process's command line.
 */
export async function findProcesses(pathsOf: (uuid: VmUuid) => DomainPaths): Promise<Map<VmUuid, FoundProcess>> {
  const found = new Map<VmUuid, FoundProcess>();
  for (const pid of await allPids()) {
    const identity = identityOf(pid);
    const argv = await argvOf(pid);
    const uuid = wordAfter(argv, '-uuid');
    if (identity === undefined || !isUuid(uuid)) continue;
    const name = nameInArgv(argv, pathsOf(uuid as VmUuid), uuid as VmUuid);
    if (name !== undefined) found.set(uuid as VmUuid, { identity, name });
  }
  return found;
}

/** Waits until the process is gone. @throws Fault `timeout`, `aborted` */
export async function waitGone(
  identity: ProcessIdentity,
  waiting: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined; readonly clock: Clock },
): Promise<void> {
  const what = `The end of process ${identity.pid}`;
  await pollUntil({ what, everyMs: GONE_POLL_MS, ...waiting }, () => (isAlive(identity) ? undefined : true));
}

/** Kills the process by SIGKILL and waits until it is gone; one that is gone already is fine. @throws Fault `timeout` */
export async function killProcess(identity: ProcessIdentity, timeoutMs: number, clock: Clock): Promise<void> {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
  await waitGone(identity, { timeoutMs, clock });
}

/** As `waitGone`, but tells by its answer whether the process is gone in time. */
export async function isGoneWithin(identity: ProcessIdentity, timeoutMs: number, clock: Clock): Promise<boolean> {
  try {
    await waitGone(identity, { timeoutMs, clock });
    return true;
  } catch (error) {
    if (isFault(error, 'timeout')) return false;
    throw error;
  }
}

function identityOf(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The name in the second field may itself have spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTicks] = [fields[0], fields[19]];
  return startTicks === undefined || state === 'Z' || state === 'X' ? undefined : { pid, startTicks };
}

async function allPids(): Promise<number[]> {
  return (await readdir('/proc')).map(Number).filter((pid) => pid > 0);
}

async function argvOf(pid: number): Promise<string[]> {
  const untrusted = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return untrusted.split('\0');
}

function nameInArgv(argv: readonly string[], paths: DomainPaths, uuid: VmUuid): string | undefined {
  const hasSocket = argv.some((word) => word.includes(`path=${paths.qmpSocket.replaceAll(',', ',,')},`));
  if (wordAfter(argv, '-uuid') !== uuid || !hasSocket) return undefined;
  return /^guest=(.*),process=/.exec(wordAfter(argv, '-name'))?.[1]?.replaceAll(',,', ',') ?? uuid;
}

function wordAfter(argv: readonly string[], option: string): string {
  return argv[argv.indexOf(option) + 1] ?? '';
}
