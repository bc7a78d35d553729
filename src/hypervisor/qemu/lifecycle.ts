/**
 * The QEMUs of this home: started, found again, held while they live, and ended, each in its turn. What there is, is found
 * by folders and proved by processes, which are looked for without their folders too. What is done to a domain in between
 * is driver.ts.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import { Fault } from '../../lib/fault.ts';
import { KeyedQueue } from '../../lib/keyed-queue.ts';
import type { Log } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { VmConfig } from '../../model/vm.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { Domain, DriverHint, StartOptions } from '../driver.ts';
import { foldersIn } from '../vm-folders.ts';
import type { AcceleratorWish } from './accel.ts';
import { adoptQemu } from './adopt.ts';
import { QemuDomain } from './domain.ts';
import type { DomainPaths } from './paths.ts';
import { findProcess, isGoneWithin, killProcess } from './process.ts';
import { lastWords, startQemu } from './start.ts';
import { Strays } from './strays.ts';

export interface LifecycleParts {
  readonly runtimeDir: string;
  /** The one VM that is looked for; default: all. */
  readonly only?: VmUuid | undefined;
  readonly binary: string;
  readonly acceleratorWish: AcceleratorWish;
  readonly sysfsRoot: string;
  readonly pathsOf: (uuid: VmUuid) => DomainPaths;
  readonly clock: Clock;
  readonly log: Log;
  readonly onHint: (hint: DriverHint) => void;
}

const QUIT_TIMEOUT_MS = 2_000;
const KILL_TIMEOUT_MS = 10_000;
const ASK_TIMEOUT_MS = 1_000;

/**
 * INVARIANTS:
 * - Start, adoption and destruction of one domain exclude each other (`#turns`).
 * - A domain is in `#domains` from the moment it answers until it is gone; a folder whose process is gone is removed by
 *   whoever looks for it.
 * - A process whose folder somebody removed is a domain all the same, out of reach until it is destroyed: no second QEMU
 *   is started beside it.
 */
export class Lifecycle {
  readonly #parts: LifecycleParts;
  readonly #domains = new Map<VmUuid, QemuDomain>();
  readonly #starting = new Map<VmUuid, AbortController>();
  readonly #turns = new KeyedQueue();
  readonly #strays: Strays;

  constructor(parts: LifecycleParts) {
    this.#parts = parts;
    this.#strays = new Strays(parts.pathsOf, parts.log, parts.clock);
  }

  /** Lists the VMs that may have a domain, sorted. @throws system errors */
  async uuids(): Promise<VmUuid[]> {
    const { only } = this.#parts;
    if (only !== undefined) return [only];
    const folders = await foldersIn(this.#parts.runtimeDir);
    return [...new Set([...folders, ...this.#domains.keys(), ...(await this.#strays.uuids())])].sort();
  }

  /** Gives the domain if it is held, without looking for it. */
  held(uuid: VmUuid): QemuDomain | undefined {
    return this.#domains.get(uuid);
  }

  /** Gives the domain, adopting it if need be. One that is being started does not count yet. */
  async hold(uuid: VmUuid): Promise<QemuDomain | undefined> {
    const held = this.#domains.get(uuid);
    if (held !== undefined || this.#starting.has(uuid)) return held;
    return this.#turns.run(uuid, () => this.#holdExclusively(uuid));
  }

  /** Starts a domain in its turn, and gives it as it is then. @throws Fault as `Driver.start` */
  async start(config: VmConfig, options: StartOptions): Promise<Domain> {
    const { uuid, name } = config;
    const giveUp = new AbortController();
    const signal = options.signal === undefined ? giveUp.signal : AbortSignal.any([options.signal, giveUp.signal]);
    const what = `The start of VM ${name}`;
    if (signal.aborted) throw new Fault('aborted', { what }, { cause: signal.reason });
    return this.#turns.run(uuid, async () => {
      const there = await this.#holdExclusively(uuid, 'look again');
      if (there !== undefined) {
        const hint = `Its process is ${there.process.pid}; "usher vm destroy" ends it.`;
        throw new Fault('vm.exists', { key: 'uuid', value: uuid }, { hint });
      }
      this.#starting.set(uuid, giveUp);
      try {
        const { binary, acceleratorWish, sysfsRoot, pathsOf, clock, log, onHint } = this.#parts;
        const input = { binary, acceleratorWish, sysfsRoot, config, paths: pathsOf(uuid), clock, log, onHint };
        const domain = await startQemu(input, { ...options, signal });
        this.#domains.set(uuid, domain);
        return await domain.observe().catch(async (error: unknown) => {
          await this.#endExclusively(domain);
          throw error;
        });
      } finally {
        this.#starting.delete(uuid);
      }
    });
  }

  /** Ends the domain in its turn; a start of it gives up. None is fine. @throws Fault `timeout` */
  async destroy(uuid: VmUuid): Promise<void> {
    this.#starting.get(uuid)?.abort();
    await this.#turns.run(uuid, async () => {
      const domain = await this.#holdExclusively(uuid);
      if (domain !== undefined) await this.#endExclusively(domain);
    });
  }

  /** Ends this very domain in its turn, whatever else the VM has by then. @throws Fault `timeout` */
  async end(domain: QemuDomain): Promise<void> {
    await this.#turns.run(domain.uuid, () => this.#endExclusively(domain));
  }

  /** Forgets a domain whose process is gone. */
  async forget(domain: QemuDomain): Promise<void> {
    await this.#turns.run(domain.uuid, async () => {
      if (this.#domains.get(domain.uuid) !== domain) return;
      const { uuid, name: vm } = domain;
      this.#parts.log.warn('a QEMU vanished', { vm, uuid, said: await lastWords(domain.paths) });
      await this.#drop(domain);
    });
  }

  /** Has starts give up, and resolves when nothing has its turn any more. */
  async giveUp(): Promise<void> {
    for (const starting of this.#starting.values()) starting.abort();
    await this.#turns.idle();
  }

  /** Lets go of all domains; they go on. */
  close(): void {
    for (const domain of this.#domains.values()) domain.close();
    this.#domains.clear();
  }

  /** As `hold`, for a job of `#turns`; a process that is gone is known to be gone afterwards. */
  async #holdExclusively(uuid: VmUuid, strays: 'as seen' | 'look again' = 'as seen'): Promise<QemuDomain | undefined> {
    const held = this.#domains.get(uuid);
    if (held?.isAlive) return held;
    if (held !== undefined) await this.#drop(held);
    const { pathsOf, clock, log, onHint } = this.#parts;
    const paths = pathsOf(uuid);
    const hasFolder = existsSync(paths.folder);
    const found = hasFolder ? await findProcess(paths, uuid) : await this.#strays.find(uuid, strays);
    if (found === undefined) {
      if (!hasFolder) return undefined;
      await rm(paths.folder, { recursive: true, force: true });
      return undefined;
    }
    const { name, identity } = found;
    const adopt = (session: QmpSession, domain: QemuDomain) => adoptQemu(session, domain, clock, log);
    const domain = new QemuDomain({ uuid, name, paths, process: identity, adopt, onHint, clock, log });
    this.#domains.set(uuid, domain);
    return domain;
  }

  /** Ends the process, kindly first so that disk images are closed, and clears what it leaves. For a job of `#turns`. */
  async #endExclusively(domain: QemuDomain): Promise<void> {
    const { clock, log, onHint } = this.#parts;
    try {
      const session = await domain.session({ timeoutMs: ASK_TIMEOUT_MS });
      await session.execute('quit', {}, { timeoutMs: ASK_TIMEOUT_MS });
    } catch (error) {
      log.debug('QEMU did not take its leave', { vm: domain.name, error });
    }
    const isGone = await isGoneWithin(domain.process, QUIT_TIMEOUT_MS, clock);
    if (!isGone) await killProcess(domain.process, KILL_TIMEOUT_MS, clock);
    await this.#drop(domain);
    onHint({ about: 'power', uuid: domain.uuid });
  }

  async #drop(domain: QemuDomain): Promise<void> {
    domain.close();
    this.#domains.delete(domain.uuid);
    await rm(domain.paths.folder, { recursive: true, force: true });
  }
}
