/**
 * The QEMU driver: one QEMU process a domain, detached from us, with a folder of its own in the runtime folder. What is
 * there is found by these folders and proved by the processes, which are looked for without their folders too; nothing
 * else is remembered. See ../driver.ts for what each method means.
 */
import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { errnoOf, Fault, isFault } from '../../lib/fault.ts';
import { KeyedQueue } from '../../lib/keyed-queue.ts';
import { type Log, silentLog } from '../../lib/log.ts';
import { isUuid, type VmUuid } from '../../model/ids.ts';
import { type Attachment, formatSlot, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import type { VmConfig } from '../../model/vm.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type {
  ConsolePaths,
  Domain,
  Driver,
  DriverHint,
  Finding,
  SaveOptions,
  StartOptions,
  Waiting,
} from '../driver.ts';
import type { AcceleratorWish } from './accel.ts';
import { adoptQemu } from './adopt.ts';
import { diagnoseQemu } from './doctor.ts';
import { QemuDomain } from './domain.ts';
import { consolePaths, type DomainPaths, domainPaths } from './paths.ts';
import { findProcess, isGoneWithin, killProcess } from './process.ts';
import { resetQemu } from './reset.ts';
import { saveQemu } from './save.ts';
import { lastWords, startQemu } from './start.ts';
import { Strays } from './strays.ts';
import { attachDevice, detachDevice } from './usb.ts';

export interface QemuDriverOptions {
  /** Sockets and notes of running domains: a folder each, removed with the domain. */
  readonly runtimeDir: string;
  /** Logs of consoles and of QEMU itself, which stay. */
  readonly stateDir: string;
  readonly qemuBinary?: string | undefined;
  /** Default `auto`: KVM where it can work. */
  readonly acceleratorWish?: AcceleratorWish | undefined;
  readonly clock?: Clock | undefined;
  readonly log?: Log | undefined;
  readonly sysfsRoot?: string | undefined;
  readonly usbfsRoot?: string | undefined;
}

const QUIT_TIMEOUT_MS = 2_000;
const KILL_TIMEOUT_MS = 10_000;
const ASK_TIMEOUT_MS = 1_000;

/**
 * INVARIANTS:
 * - Start, adoption and destruction of one domain exclude each other (`#lifecycle`); so do attach and detach at one slot
 *   (`#slots`). Everything else goes side by side: QEMU works its commands off in their order.
 * - A domain is in `#domains` from the moment it answers until it is gone; a folder whose process is gone is removed by
 *   whoever looks for it.
 * - A process whose folder somebody removed is a domain all the same, out of reach until it is destroyed: no second QEMU
 *   is started beside it.
 */
export class QemuDriver implements Driver {
  readonly name = 'qemu';
  readonly #runtimeDir: string;
  readonly #stateDir: string;
  readonly #binary: string;
  readonly #acceleratorWish: AcceleratorWish;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #sysfsRoot: string;
  readonly #usbfsRoot: string;
  readonly #domains = new Map<VmUuid, QemuDomain>();
  readonly #starting = new Map<VmUuid, AbortController>();
  readonly #lifecycle = new KeyedQueue();
  readonly #slots = new KeyedQueue();
  readonly #strays: Strays;
  readonly #listeners = new Set<(hint: DriverHint) => void>();

  constructor(options: QemuDriverOptions) {
    this.#runtimeDir = resolve(options.runtimeDir);
    this.#stateDir = resolve(options.stateDir);
    this.#binary = options.qemuBinary ?? 'qemu-system-x86_64';
    this.#acceleratorWish = options.acceleratorWish ?? 'auto';
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#strays = new Strays((uuid) => this.#pathsOf(uuid), this.#log, this.#clock);
    this.#sysfsRoot = options.sysfsRoot ?? '/sys';
    this.#usbfsRoot = options.usbfsRoot ?? '/dev/bus/usb';
  }

  diagnose(): Promise<Finding[]> {
    return diagnoseQemu(this.#binary, this.#acceleratorWish, this.#usbfsRoot);
  }

  /** A domain whose process lives but does not answer is told as it was seen last, so that it hides no other. */
  async list(waiting: Waiting = {}): Promise<Domain[]> {
    const names = await readdir(this.#runtimeDir).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    const folders = names.filter((name) => isUuid(name) && name === name.toLowerCase()) as VmUuid[];
    const uuids = new Set([...folders, ...this.#domains.keys(), ...(await this.#strays.uuids())]);
    const found = await Promise.all(
      [...uuids].sort().map((uuid) =>
        this.find(uuid, waiting).catch((error: unknown) => {
          const domain = this.#domains.get(uuid);
          if (!isFault(error, 'hypervisor.lost') || domain === undefined) throw error;
          this.#log.warn('a QEMU does not answer', { vm: domain.name, uuid, error });
          return domain.lastSeen;
        }),
      ),
    );
    return found.filter((domain) => domain !== undefined);
  }

  async find(uuid: VmUuid, waiting: Waiting = {}): Promise<Domain | undefined> {
    const domain = await this.#hold(uuid);
    if (domain === undefined) return undefined;
    try {
      return await domain.observe(waiting);
    } catch (error) {
      if (!isFault(error, 'vm.no_domain')) throw error;
      await this.#forget(domain);
      return undefined;
    }
  }

  async start(config: VmConfig, options: StartOptions): Promise<Domain> {
    const { uuid, name } = config;
    const giveUp = new AbortController();
    const signal = options.signal === undefined ? giveUp.signal : AbortSignal.any([options.signal, giveUp.signal]);
    const what = `The start of VM ${name}`;
    if (signal.aborted) throw new Fault('aborted', { what }, { cause: signal.reason });
    return this.#lifecycle.run(uuid, async () => {
      const there = await this.#holdExclusively(uuid, 'look again');
      if (there !== undefined) {
        const hint = `Its process is ${there.process.pid}; "usher vm destroy" ends it.`;
        throw new Fault('vm.exists', { key: 'uuid', value: uuid }, { hint });
      }
      this.#starting.set(uuid, giveUp);
      try {
        const paths = this.#pathsOf(uuid);
        const [clock, log, binary, acceleratorWish] = [this.#clock, this.#log, this.#binary, this.#acceleratorWish];
        const input = { binary, acceleratorWish, config, paths, clock, log, onHint: this.#hint };
        const domain = await startQemu(input, { ...options, signal });
        this.#domains.set(uuid, domain);
        return await domain.observe().catch(async (error: unknown) => {
          await this.#end(domain);
          throw error;
        });
      } finally {
        this.#starting.delete(uuid);
      }
    });
  }

  async pause(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    await this.#command(uuid, waiting, (session) => session.execute('stop', {}, waiting));
  }

  async unpause(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    await this.#command(uuid, waiting, (session) => session.execute('cont', {}, waiting));
  }

  async requestShutdown(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    await this.#command(uuid, waiting, (session) => session.execute('system_powerdown', {}, waiting));
  }

  async reset(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    await this.#command(uuid, waiting, async (session, domain) => {
      domain.endReset();
      domain.endReset = await resetQemu(session, this.#clock, this.#log);
    });
  }

  async destroy(uuid: VmUuid): Promise<void> {
    this.#starting.get(uuid)?.abort();
    await this.#lifecycle.run(uuid, async () => {
      const domain = await this.#holdExclusively(uuid);
      if (domain !== undefined) await this.#end(domain);
    });
  }

  async save(uuid: VmUuid, path: string, options: SaveOptions): Promise<void> {
    const domain = await this.#need(uuid);
    await saveQemu({ domain, path, options, clock: this.#clock, log: this.#log });
    // From here on it is only the remains of a saved guest: the file has its name.
    if (options.afterwards === 'stopped') await this.#lifecycle.run(uuid, () => this.#end(domain));
  }

  async attachDevice(uuid: VmUuid, slot: UsbSlot, device: UsbDevice, waiting: Waiting = {}): Promise<Attachment> {
    const context = { ...this.#usb, domain: await this.#need(uuid) };
    return this.#slots.run(`${uuid}/${formatSlot(slot)}`, () => attachDevice(context, slot, device, waiting));
  }

  async detachDevice(uuid: VmUuid, attachment: Attachment, waiting: Waiting = {}): Promise<void> {
    const domain = await this.#hold(uuid);
    if (domain === undefined) return;
    const context = { ...this.#usb, domain };
    try {
      await this.#slots.run(`${uuid}/${formatSlot(attachment)}`, () => detachDevice(context, attachment, waiting));
    } catch (error) {
      if (!isFault(error, 'vm.no_domain')) throw error; // With the domain all its attachments are gone.
    }
  }

  consoleOf(uuid: VmUuid): ConsolePaths {
    return consolePaths(this.#pathsOf(uuid));
  }

  onHint(listener: (hint: DriverHint) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    for (const starting of this.#starting.values()) starting.abort();
    await this.#lifecycle.idle();
    await this.#slots.idle();
    for (const domain of this.#domains.values()) domain.close();
    this.#domains.clear();
    this.#listeners.clear();
  }

  get #usb() {
    return { clock: this.#clock, sysfsRoot: this.#sysfsRoot, usbfsRoot: this.#usbfsRoot };
  }

  readonly #hint = (hint: DriverHint): void => {
    for (const listener of this.#listeners) listener(hint);
  };

  #pathsOf(uuid: VmUuid): DomainPaths {
    return domainPaths(this.#runtimeDir, this.#stateDir, uuid);
  }

  /** Has the domain act, if it lives. @throws Fault `vm.no_domain`, `hypervisor.failed`, `hypervisor.lost`, `aborted` */
  async #command(
    uuid: VmUuid,
    waiting: Waiting,
    act: (session: QmpSession, domain: QemuDomain) => Promise<unknown>,
  ): Promise<void> {
    const domain = await this.#need(uuid);
    const { run } = await domain.observe(waiting);
    if (run === 'dead') throw new Fault('vm.no_domain', { vm: domain.name });
    try {
      await act(await domain.session(waiting), domain);
    } catch (error) {
      throw await domain.translate(error);
    }
  }

  async #need(uuid: VmUuid): Promise<QemuDomain> {
    const domain = await this.#hold(uuid);
    if (domain === undefined) throw new Fault('vm.no_domain', { vm: uuid });
    return domain;
  }

  /** Gives the domain, adopting it if need be. One that is being started does not count yet. */
  async #hold(uuid: VmUuid): Promise<QemuDomain | undefined> {
    const held = this.#domains.get(uuid);
    if (held !== undefined || this.#starting.has(uuid)) return held;
    return this.#lifecycle.run(uuid, () => this.#holdExclusively(uuid));
  }

  /** The same for a job of `#lifecycle`; a process that is gone is known to be gone afterwards. */
  async #holdExclusively(uuid: VmUuid, strays: 'as seen' | 'look again' = 'as seen'): Promise<QemuDomain | undefined> {
    const held = this.#domains.get(uuid);
    if (held?.isAlive) return held;
    if (held !== undefined) await this.#drop(held);
    const paths = this.#pathsOf(uuid);
    const hasFolder = existsSync(paths.folder);
    const found = hasFolder ? await findProcess(paths, uuid) : await this.#strays.find(uuid, strays);
    if (found === undefined) {
      if (!hasFolder) return undefined;
      await rm(paths.folder, { recursive: true, force: true });
      return undefined;
    }
    const { name, identity } = found;
    const [clock, log] = [this.#clock, this.#log];
    const adopt = (session: QmpSession, domain: QemuDomain) => adoptQemu(session, domain, clock, log);
    const domain = new QemuDomain({ uuid, name, paths, process: identity, adopt, onHint: this.#hint, clock, log });
    this.#domains.set(uuid, domain);
    return domain;
  }

  /** Ends the process, kindly first so that disk images are closed, and clears what it leaves. */
  async #end(domain: QemuDomain): Promise<void> {
    try {
      const session = await domain.session({ timeoutMs: ASK_TIMEOUT_MS });
      await session.execute('quit', {}, { timeoutMs: ASK_TIMEOUT_MS });
    } catch (error) {
      this.#log.debug('QEMU did not take its leave', { vm: domain.name, error });
    }
    const isGone = await isGoneWithin(domain.process, QUIT_TIMEOUT_MS, this.#clock);
    if (!isGone) await killProcess(domain.process, KILL_TIMEOUT_MS, this.#clock);
    await this.#drop(domain);
    this.#hint({ about: 'power', uuid: domain.uuid });
  }

  /** Forgets a domain whose process is gone. */
  async #forget(domain: QemuDomain): Promise<void> {
    await this.#lifecycle.run(domain.uuid, async () => {
      if (this.#domains.get(domain.uuid) !== domain) return;
      const { uuid, name: vm } = domain;
      this.#log.warn('a QEMU vanished', { vm, uuid, said: await lastWords(domain.paths) });
      await this.#drop(domain);
    });
  }

  async #drop(domain: QemuDomain): Promise<void> {
    domain.close();
    this.#domains.delete(domain.uuid);
    await rm(domain.paths.folder, { recursive: true, force: true });
  }
}
