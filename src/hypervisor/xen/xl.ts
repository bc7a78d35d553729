/**
 * Runs xl, the toolstack command of Xen: argv only, one process a command, with a deadline and an end. What its commands
 * mean is known by those who call it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { errnoOf, Fault, messageOf } from '../../lib/fault.ts';
import { type Log, silentLog } from '../../lib/log.ts';
import { complaintOf, hasLibraryError } from './complaint.ts';

export interface XlParts {
  /** Default: `xl`, looked for in PATH and where Debian has it. */
  readonly binary?: string | undefined;
  readonly clock?: Clock | undefined;
  readonly log?: Log | undefined;
}

export interface XlOptions {
  /** What is done, as the subject of a sentence: `The start of VM web`. */
  readonly what: string;
  /** Default 30 s. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Open files of ours that xl gets as descriptors 3, 4 and so on; it can be told `/dev/fd/3`. */
  readonly files?: readonly number[] | undefined;
  /** Takes an error of a library for a failure also when xl ends with status 0. */
  readonly isStrict?: boolean | undefined;
}

/** The cause of the fault when xl ran and failed. */
export class XlFailure extends Error {
  /** Absent: it was ended by a signal. */
  readonly status: number | undefined;
  readonly untrustedStderr: string;

  constructor(words: readonly string[], end: string, status: number | undefined, untrustedStderr: string) {
    super(`xl ${words[0] ?? ''}: ${end}`);
    this.name = 'XlFailure';
    this.status = status;
    this.untrustedStderr = untrustedStderr;
  }
}

const TIMEOUT_MS = 30_000;
/** Between SIGKILL and the end of the process, which may have a call of the hypervisor to finish. */
const DYING_MS = 10_000;
/** A grandchild of xl (a device script) may keep its output open for longer than xl lives. */
const LAST_WORDS_MS = 500;
const MAX_STDOUT_BYTES = 8 * 1024 * 1024;
const MAX_STDERR_BYTES = 64 * 1024;
const SEARCHED = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * INVARIANTS:
 * - xl leads a process group of its own: neither a signal to ours nor our death reaches it, and what ends it ends its
 *   helpers too. Device models leave the group and live on.
 * - `run` ends after xl has: who gives a command up may look at once at what it left behind.
 */
export class Xl {
  readonly #binary: string;
  readonly #clock: Clock;
  readonly #log: Log;

  constructor({ binary = 'xl', clock = systemClock, log = silentLog }: XlParts = {}) {
    this.#binary = binary;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Runs `xl WORDS…` to its end and gives what it printed. @throws Fault `hypervisor.missing` when there is no xl,
   * `hypervisor.failed` with xl's own reason and an `XlFailure` as its cause, `timeout`, `aborted`
   */
  async run(words: readonly string[], options: XlOptions): Promise<string> {
    const { what, signal, isStrict = false } = options;
    if (signal?.aborted) throw new Fault('aborted', { what }, { cause: signal.reason });
    const beganAt = this.#clock.monotonic();
    const { status, killedBy, stdout, untrustedStderr } = await this.#runToEnd(words, options);
    const ms = Math.round(this.#clock.monotonic() - beganAt);
    this.#log.debug('xl ended', { words: words.join(' '), ms, status: status ?? killedBy });
    if (status === 0 && !(isStrict && hasLibraryError(untrustedStderr))) return stdout;
    const end = status === null ? `it was ended by ${killedBy}` : `it ended with status ${status}`;
    const failure = new XlFailure(words, end, status ?? undefined, untrustedStderr);
    const why = complaintOf(untrustedStderr) ?? `${failure.message}, without a word`;
    throw new Fault('hypervisor.failed', { what: why }, { cause: failure });
  }

  #runToEnd(words: readonly string[], options: XlOptions): Promise<XlEnd> {
    const { what, timeoutMs = TIMEOUT_MS, signal, files = [] } = options;
    return new Promise((resolve, reject) => {
      const child = spawn(this.#binary, words, {
        detached: true,
        env: { PATH: `${process.env['PATH'] ?? ''}:${SEARCHED}`, LC_ALL: 'C' },
        stdio: ['ignore', 'pipe', 'pipe', ...files],
      });
      const output = { stdout: new Output(MAX_STDOUT_BYTES), stderr: new Output(MAX_STDERR_BYTES) };
      let givenUp: Fault | undefined;
      let cancelLast = () => {};

      const giveUp = (fault: Fault) => {
        if (givenUp !== undefined) return;
        givenUp = fault;
        killGroup(child);
        cancelLast = this.#clock.after(DYING_MS, () => finish(() => reject(fault)));
      };
      const onAbort = () => giveUp(new Fault('aborted', { what }, { cause: signal?.reason }));
      const cancelDeadline = this.#clock.after(timeoutMs, () => {
        const hint = `xl was ended: "xl ${words[0]}" did not come to its end.`;
        giveUp(new Fault('timeout', { what, seconds: timeoutMs / 1000 }, { hint }));
      });
      const finish = (settle: () => void) => {
        cancelDeadline();
        cancelLast();
        signal?.removeEventListener('abort', onAbort);
        child.stdout?.destroy();
        child.stderr?.destroy();
        settle();
      };
      const settle = (status: number | null, killedBy: NodeJS.Signals | null) =>
        finish(() => {
          const [stdout, untrustedStderr] = [output.stdout.text(), output.stderr.text()];
          if (givenUp !== undefined) reject(givenUp);
          else resolve({ status, killedBy, stdout, untrustedStderr });
        });

      signal?.addEventListener('abort', onAbort, { once: true });
      for (const name of ['stdout', 'stderr'] as const) {
        child[name]?.on('data', (chunk: Buffer) => {
          if (output[name].push(chunk) || name === 'stderr') return;
          giveUp(new Fault('hypervisor.failed', { what: `xl ${words[0]} wrote more than ${MAX_STDOUT_BYTES} bytes` }));
        });
      }
      child.once('error', (error) => finish(() => reject(givenUp ?? cannotRun(this.#binary, error))));
      child.once('exit', (status, killedBy) => {
        cancelLast();
        cancelLast = this.#clock.after(LAST_WORDS_MS, () => settle(status, killedBy));
      });
      child.once('close', settle);
    });
  }
}

interface XlEnd {
  readonly status: number | null;
  readonly killedBy: NodeJS.Signals | null;
  readonly stdout: string;
  readonly untrustedStderr: string;
}

/** What a stream said, up to a size: the rest is dropped. */
class Output {
  readonly #chunks: Buffer[] = [];
  #room: number;

  constructor(maxBytes: number) {
    this.#room = maxBytes;
  }

  /** Takes a chunk; tells whether all of it had room. */
  push(chunk: Buffer): boolean {
    // Even an empty part of a chunk would keep all of it in memory.
    if (this.#room > 0) this.#chunks.push(chunk.subarray(0, this.#room));
    this.#room -= chunk.length;
    return this.#room >= 0;
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString();
  }
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

function cannotRun(binary: string, error: unknown): Fault {
  const isMissing = errnoOf(error) === 'ENOENT';
  const what = isMissing ? `the program ${binary} is not there` : `${binary} cannot be run: ${messageOf(error)}`;
  const hint = 'This needs the control domain of a Xen host, with its tools: apt install xen-system-amd64';
  return new Fault('hypervisor.missing', { what }, { hint, cause: error });
}
