/**
 * The process of a device model, told from a stranger with the same number, and what /proc says of it: whether it lives,
 * which devices it has open, how it was started. Knows nothing of xenstore and QMP.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelNote } from './nodes.ts';

/** A process that cannot be mistaken: its number, and the tick of its start (proc(5), `starttime`). */
export interface ModelProcess {
  readonly pid: number;
  readonly startTicks: string;
}

/** Reads device models out of `/proc`, or a folder that looks like it. It is memory, and read at once. */
export class ModelProcesses {
  readonly #root: string;

  constructor(procRoot = '/proc') {
    this.#root = procRoot;
  }

  /**
   * Finds the device model of a domain: the noted process if it is one, else whichever serves that domain. Numbers are
   * used again, so that a process counts only when its command line names the domain.
   */
  find(domid: number, notedPid: number | undefined): ModelProcess | undefined {
    return this.#serving(domid, notedPid) ?? this.#search(domid);
  }

  /** Tells whether the process still runs; a zombie has let go of everything. */
  isAlive({ pid, startTicks }: ModelProcess): boolean {
    return this.#identityOf(pid)?.startTicks === startTicks;
  }

  /** Tells whether the process has the node of a device open. */
  holds({ pid }: ModelProcess, node: string): boolean {
    const folder = join(this.#root, String(pid), 'fd');
    return namesIn(folder).some((name) => linkOf(join(folder, name)) === node);
  }

  /**
   * Tells how the process was started. A process may write what it likes over its own command line, so only one of our own
   * user is believed: what it says we will run.
   */
  originOf({ pid }: ModelProcess): ModelNote | undefined {
    const folder = join(this.#root, String(pid));
    try {
      if (statSync(folder).uid !== process.getuid?.()) return undefined;
    } catch {
      return undefined;
    }
    const [program, ...rest] = this.#argvOf(pid);
    if (program?.startsWith('/') !== true) return undefined;
    const log = linkOf(join(folder, 'fd/1'));
    return { argv: [program, ...rest], ...(log?.endsWith('.log') ? { log } : {}) };
  }

  #serving(domid: number, pid: number | undefined): ModelProcess | undefined {
    if (pid === undefined) return undefined;
    const identity = this.#identityOf(pid);
    const argv = this.#argvOf(pid);
    const at = argv.indexOf('-xen-domid');
    return at > 0 && argv[at + 1] === String(domid) ? identity : undefined;
  }

  #search(domid: number): ModelProcess | undefined {
    for (const name of namesIn(this.#root)) {
      const found = /^\d+$/.test(name) ? this.#serving(domid, Number(name)) : undefined;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #argvOf(pid: number): string[] {
    try {
      const untrusted = readFileSync(join(this.#root, String(pid), 'cmdline'), 'utf8');
      return untrusted.split('\0').slice(0, -1);
    } catch {
      return [];
    }
  }

  #identityOf(pid: number): ModelProcess | undefined {
    let stat: string;
    try {
      stat = readFileSync(join(this.#root, String(pid), 'stat'), 'latin1');
    } catch {
      return undefined;
    }
    // The name in the second field may itself have spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, startTicks] = [fields[0], fields[19]];
    return startTicks === undefined || state === 'Z' || state === 'X' ? undefined : { pid, startTicks };
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
