/**
 * The program cryptsetup: opens a disk that is encrypted as a whole as a block device of its own, and closes it again
 * (cryptsetup(8), plain mode). Which disks those are, and when, is said by encrypted-disks.ts.
 */
import { join } from 'node:path';
import { type Clock, sleep } from '../lib/clock.ts';
import { type ExecResult, exec } from '../lib/exec.ts';
import { errnoOf, Fault, isFault } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';
import type { DiskEncryption } from '../model/vm.ts';

export interface CryptsetupOptions {
  /** Default: `cryptsetup`, on the path. */
  readonly binary?: string | undefined;
  /** Where the kernel's device-mapper has its devices. Default: `/dev/mapper`. */
  readonly mapperFolder?: string | undefined;
  readonly clock: Clock;
}

/** What is opened. */
export interface PlainDisk {
  readonly path: string;
  readonly isReadOnly: boolean;
  readonly encryption: DiskEncryption;
}

/** It waits for udev, which may be busy. */
const TIMEOUT_MS = 30_000;
/** Its exit statuses (cryptsetup(8)): wrong parameters, no right, no memory, no such device, device busy. */
const STATUSES = [1, 2, 3, 4, 5] as const;
const NOT_THERE = 4;
const BUSY = 5;
/** Whoever looked at a new block device, such as udev, lets go of it soon; so does a hypervisor that has ended. */
const CLOSE_TRIES = 12;
const CLOSE_TRY_MS = 400;

/** Runs cryptsetup. Faults are `exec.failed` with what it said, and a hint where there is something to do. */
export class Cryptsetup {
  readonly #binary: string;
  readonly #mapperFolder: string;
  readonly #clock: Clock;

  constructor({ binary = 'cryptsetup', mapperFolder = '/dev/mapper', clock }: CryptsetupOptions) {
    this.#binary = binary;
    this.#mapperFolder = mapperFolder;
    this.#clock = clock;
  }

  /** Gives the path of what is open under that name. */
  pathOf(name: string): string {
    return join(this.#mapperFolder, name);
  }

  /** Opens a disk under a name that nothing has. A file gets a loop device, which ends with it. @throws Fault `exec.failed`, `timeout` */
  async open({ path, isReadOnly, encryption }: PlainDisk, name: string): Promise<void> {
    const { cipher, keyBits, keyFile } = encryption;
    const result = await this.#run([
      ...['open', '--type', 'plain', '--batch-mode', '--cipher', cipher, '--key-size', String(keyBits)],
      ...['--key-file', keyFile, ...(isReadOnly ? ['--readonly'] : []), path, name],
    ]);
    if (result.status !== 0) throw refusal(result);
  }

  /** Closes what is open under that name; nothing is fine. @throws Fault `exec.failed` when it is in use, `timeout` */
  async close(name: string): Promise<void> {
    for (let left = CLOSE_TRIES; ; left--) {
      const result = await this.#run(['close', name]);
      if (result.status === 0 || result.status === NOT_THERE) return;
      if (result.status !== BUSY || left === 0) throw refusal(result);
      await sleep(this.#clock, CLOSE_TRY_MS);
    }
  }

  /** Gives its own name and version. @throws Fault `exec.failed`, `timeout` */
  async version(): Promise<string> {
    const { stdout } = await this.#run(['--version']);
    return printable(stdout.trim(), 60);
  }

  async #run(words: readonly string[]): Promise<ExecResult> {
    try {
      return await exec([this.#binary, ...words], {
        timeoutMs: TIMEOUT_MS,
        accept: STATUSES,
        // What it says is read, and it asks nobody.
        env: { PATH: process.env['PATH'], LC_ALL: 'C' },
      });
    } catch (error) {
      if (!isFault(error, 'exec.failed') || errnoOf(error.cause) !== 'ENOENT') throw error;
      const hint = 'Install it: apt install cryptsetup-bin';
      throw new Fault(
        'exec.failed',
        { command: this.#binary, what: 'cryptsetup is not there' },
        { hint, cause: error },
      );
    }
  }
}

function refusal({ status, stderr }: ExecResult): Fault {
  const said = printable(stderr.trim().split('\n').slice(-3).join('; '), 300);
  const failed = (what: string, hint?: string) => new Fault('exec.failed', { command: 'cryptsetup', what }, { hint });
  if (/non-root/i.test(said)) return failed('only root can open it', 'Run Usher as root.');
  if (/cannot initialize device-mapper/i.test(said)) {
    const hint = 'Load it, if the kernel has it: modprobe dm_crypt';
    return failed('the kernel of this host has no device-mapper', hint);
  }
  if (/kernel supports|reload ioctl/i.test(said)) {
    const hint = 'See whether the kernel has dm-crypt and the cipher: modprobe dm_crypt; cat /proc/crypto';
    return failed(`the kernel does not take the cipher (${said})`, hint);
  }
  return failed(said === '' ? `status ${status}` : said);
}
