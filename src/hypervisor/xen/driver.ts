/**
 * The Xen driver: domains are built, saved and ended by xl; who lives is told by xl and by xenstore's watches; USB is
 * usb.ts. Nothing of a domain is stored but the folder that its cfg and sockets are in. See ../driver.ts for what each
 * method means.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { Fault, messageOf } from '../../lib/fault.ts';
import { KeyedQueue } from '../../lib/keyed-queue.ts';
import { type Log, silentLog } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { Attachment, UsbDevice, UsbSlot } from '../../model/usb.ts';
import type { VmConfig } from '../../model/vm.ts';
import type {
  ConsolePaths,
  Controller,
  Domain,
  DomainDescription,
  Driver,
  DriverHint,
  Finding,
  SaveOptions,
  StartOptions,
  Waiting,
} from '../driver.ts';
import { adoptVm, foldersIn, type SavedDomain } from './adopt.ts';
import { type Connection, openConnection, serveConsole } from './connection.ts';
import { diagnoseXen } from './doctor.ts';
import { translated, translatedForHost } from './faults.ts';
import { clearAway, describeDomain, endDomain, findAlive, pauseDomain, unpauseDomain } from './host.ts';
import { observeDomain } from './observation.ts';
import { consolePaths, type DomainPaths, domainPaths } from './paths.ts';
import type { LivingDomain } from './roster.ts';
import { saveXen } from './save.ts';
import { requestShutdown } from './shutdown.ts';
import { startAgain, startXen } from './start.ts';
import { Xl } from './xl.ts';

export interface XenDriverOptions {
  /** Cfg, sockets and notes of running domains: a folder each, removed with the domain. */
  readonly runtimeDir: string;
  /** Logs of consoles, which stay. */
  readonly stateDir: string;
  readonly xlBinary?: string | undefined;
  /** xenstored's socket or device; default: as `XenstoreClient` finds it. */
  readonly xenstorePath?: string | undefined;
  readonly clock?: Clock | undefined;
  readonly log?: Log | undefined;
  readonly sysfsRoot?: string | undefined;
  readonly usbfsRoot?: string | undefined;
}

/**
 * INVARIANTS:
 * - Start, reset, destruction, adoption and clearing of one domain exclude each other (`#lifecycle`).
 * - A uuid names a domain; its domid is looked up for each act, and proved right before one that changes it.
 * - Of a VM whose folder has a note of a former daemon (a start or a save that was under way) nothing is told before that
 *   is settled.
 * - A domain that is being built does not count yet, but for those who would build another.
 */
export class XenDriver implements Driver {
  readonly name = 'xen';
  readonly #runtimeDir: string;
  readonly #stateDir: string;
  readonly #options: XenDriverOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #xl: Xl;
  readonly #lifecycle = new KeyedQueue();
  readonly #starting = new Map<VmUuid, AbortController>();
  readonly #saving = new Map<VmUuid, { readonly abandon: AbortController; readonly done: Promise<void> }>();
  readonly #saved = new Map<VmUuid, SavedDomain>();
  readonly #unsettled = new Set<VmUuid>();
  readonly #listeners = new Set<(hint: DriverHint) => void>();
  #connection: Promise<Connection> | undefined;

  constructor(options: XenDriverOptions) {
    this.#options = options;
    this.#runtimeDir = resolve(options.runtimeDir);
    this.#stateDir = resolve(options.stateDir);
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#xl = new Xl({ binary: options.xlBinary, clock: this.#clock, log: this.#log });
  }

  async diagnose(): Promise<Finding[]> {
    const findings = await diagnoseXen({ xl: this.#xl, tryStore: async () => void (await this.#connected()) });
    if (findings.some(({ level }) => level === 'error')) return findings;
    try {
      return [...findings, ...(await (await this.#connected()).usb.diagnose())];
    } catch (error) {
      return [...findings, { level: 'error', subject: 'USB on Xen', says: messageOf(error) }];
    }
  }

  /** All domains of the host but dom0: whose they are is known by who asks. */
  async list(waiting: Waiting = {}): Promise<Domain[]> {
    try {
      const host = await this.#connected();
      await Promise.all([...this.#unsettled].map((uuid) => this.#settled(host, uuid).catch(() => undefined)));
      const seen = new Set<VmUuid>();
      const living = (await host.roster.all(waiting)).filter(({ uuid, domid, name }) => {
        if (seen.has(uuid)) this.#log.warn('two domains have one uuid; the first is told', { vm: name, uuid, domid });
        const isTold = !seen.has(uuid) && !this.#starting.has(uuid);
        seen.add(uuid);
        return isTold;
      });
      const found = await Promise.all(living.map((domain) => this.#observe(host, domain, waiting)));
      return found.filter((domain) => domain !== undefined);
    } catch (error) {
      throw translatedForHost(error);
    }
  }

  find(uuid: VmUuid, waiting: Waiting = {}): Promise<Domain | undefined> {
    return this.#with(uuid, async (host) => {
      if (this.#starting.has(uuid)) return undefined;
      await this.#settled(host, uuid);
      const domain = await host.roster.find(uuid, waiting);
      return domain && (await this.#observe(host, domain, waiting));
    });
  }

  async start(config: VmConfig, options: StartOptions): Promise<Domain> {
    const { uuid, name } = config;
    const what = `The start of VM ${name}`;
    return this.#build(config, options, what, async (host, signal) => {
      const there = await host.roster.findNow(uuid, { signal });
      if (there !== undefined) {
        const hint = `It is domain ${there.domid}; "usher vm destroy" ends it.`;
        throw new Fault('vm.exists', { key: 'uuid', value: uuid }, { hint });
      }
      await startXen(host, config, { ...options, signal });
    });
  }

  pause(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    return this.#act(uuid, (host) => pauseDomain(host, uuid, waiting));
  }

  unpause(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    return this.#act(uuid, (host) => unpauseDomain(host, uuid, waiting));
  }

  requestShutdown(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    return this.#act(uuid, async (host) => requestShutdown(host, await findAlive(host, uuid, waiting), waiting));
  }

  async reset(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    const what = `The reset of VM ${uuid}`;
    await this.#act(uuid, async () => {
      await this.#build({ uuid, name: uuid }, waiting, what, async (host, signal) => {
        const domain = await findAlive(host, uuid, { signal });
        const { cfgFile } = host.pathsOf(uuid);
        if (!existsSync(cfgFile)) {
          const hint = 'Shut it down and start it by Usher; from then on it can be reset.';
          const why = `VM ${domain.name} was not started by Usher, so its cfg is not known`;
          throw new Fault('hypervisor.failed', { what: why }, { hint });
        }
        await endDomain(host, domain, { signal });
        await startAgain(host, domain, { isPaused: domain.run === 'paused', signal });
      });
    });
  }

  async destroy(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    this.#starting.get(uuid)?.abort();
    this.#saving.get(uuid)?.abandon.abort();
    await this.#with(uuid, (host) =>
      this.#lifecycle.run(uuid, async () => {
        await clearAway(host, uuid, waiting);
        await this.#forget(host, uuid);
        this.#hint({ about: 'power', uuid });
      }),
    );
  }

  async save(uuid: VmUuid, path: string, options: SaveOptions): Promise<void> {
    await this.#act(uuid, async (host) => {
      const domain = await findAlive(host, uuid, options);
      const refuse = () =>
        new Fault('vm.save_failed', { vm: domain.name, file: path, what: 'another save is going on' });
      if (this.#saving.has(uuid)) throw refuse();
      const abandon = new AbortController();
      const done = saveXen({ host, domain, path, options, abandon: abandon.signal });
      this.#saving.set(uuid, { abandon, done });
      try {
        await done;
        if (options.afterwards === 'stopped') this.#saved.set(uuid, { domid: domain.domid, path: resolve(path) });
      } finally {
        this.#saving.delete(uuid);
      }
      // From here on it is only the remains of a saved guest: the file has its name.
      if (options.afterwards === 'stopped') await this.destroy(uuid);
    });
  }

  attachDevice(uuid: VmUuid, slot: UsbSlot, device: UsbDevice, waiting: Waiting = {}): Promise<Attachment> {
    return this.#with(uuid, async (host) =>
      host.usb.attach(await this.#alive(host, uuid, waiting), slot, device, waiting),
    );
  }

  async detachDevice(uuid: VmUuid, attachment: Attachment, waiting: Waiting = {}): Promise<void> {
    await this.#with(uuid, async (host) => {
      const domain = await host.roster.find(uuid, waiting);
      if (domain !== undefined) await host.usb.detach(domain, attachment, waiting);
    });
  }

  addController(uuid: VmUuid, waiting: Waiting = {}): Promise<Controller> {
    return this.#with(uuid, async (host) => host.usb.addController(await this.#alive(host, uuid, waiting), waiting));
  }

  describe(uuid: VmUuid, waiting: Waiting = {}): Promise<DomainDescription> {
    return this.#with(uuid, async (host) => describeDomain(host, await this.#alive(host, uuid, waiting), waiting));
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
    await Promise.allSettled([...this.#saving.values()].map(({ done }) => done));
    this.#listeners.clear();
    const connection = await this.#connection?.catch(() => undefined);
    this.#connection = undefined;
    await connection?.close();
  }

  readonly #hint = (hint: DriverHint): void => {
    for (const listener of this.#listeners) listener(hint);
  };

  #pathsOf(uuid: VmUuid): DomainPaths {
    return domainPaths(this.#runtimeDir, this.#stateDir, uuid);
  }

  /** Gives the connection, made at first use; one that failed is tried again. @throws Fault `xenstore.unreachable` */
  #connected(): Promise<Connection> {
    this.#connection ??= this.#connect().catch((error: unknown) => {
      this.#connection = undefined;
      throw error;
    });
    return this.#connection;
  }

  async #connect(): Promise<Connection> {
    const { xenstorePath, sysfsRoot = '/sys', usbfsRoot = '/dev/bus/usb' } = this.#options;
    for (const uuid of await foldersIn(this.#runtimeDir)) this.#unsettled.add(uuid);
    return openConnection({
      ...{ xl: this.#xl, clock: this.#clock, log: this.#log, xenstorePath, sysfsRoot, usbfsRoot, onHint: this.#hint },
      pathsOf: (uuid) => this.#pathsOf(uuid),
      onChange: (before, now) => this.#changed(before, now),
    });
  }

  /** Has the VM's care work with the connection, and translates what it throws. */
  async #with<T>(uuid: VmUuid, work: (host: Connection) => Promise<T>): Promise<T> {
    try {
      return await work(await this.#connected());
    } catch (error) {
      throw translated(error, uuid);
    }
  }

  /** The same for what changes a domain: when what a former daemon left is settled. */
  #act<T>(uuid: VmUuid, work: (host: Connection) => Promise<T>): Promise<T> {
    return this.#with(uuid, async (host) => {
      await this.#settled(host, uuid);
      return work(host);
    });
  }

  /** Has a domain built in its turn, by `work`, which `destroy` interrupts; gives it as it is then. */
  async #build(
    vm: Pick<VmConfig, 'uuid' | 'name'>,
    waiting: Waiting,
    what: string,
    work: (host: Connection, signal: AbortSignal) => Promise<void>,
  ): Promise<Domain> {
    const { uuid } = vm;
    const giveUp = new AbortController();
    const signal = waiting.signal === undefined ? giveUp.signal : AbortSignal.any([waiting.signal, giveUp.signal]);
    const checkAborted = () => {
      if (signal.aborted) throw new Fault('aborted', { what }, { cause: signal.reason });
    };
    checkAborted();
    return this.#with(uuid, async (host) => {
      await this.#settled(host, uuid);
      return this.#lifecycle.run(uuid, async () => {
        checkAborted();
        this.#starting.set(uuid, giveUp);
        try {
          // One of a domain that somebody ended a moment ago: its socket goes with the folder.
          await host.consoles.end(uuid);
          await work(host, signal);
          await serveConsole(host, uuid);
        } finally {
          this.#starting.delete(uuid);
        }
        const domain = await host.roster.find(uuid);
        const seen = domain && (await this.#observe(host, domain, {}));
        if (seen !== undefined) return seen;
        throw new Fault('vm.start_failed', { vm: vm.name, what: 'its domain was gone at once' });
      });
    });
  }

  async #alive(host: Connection, uuid: VmUuid, waiting: Waiting): Promise<LivingDomain> {
    const domain = this.#starting.has(uuid) ? undefined : await host.roster.find(uuid, waiting);
    if (domain === undefined || domain.run === 'shutdown')
      throw new Fault('vm.no_domain', { vm: domain?.name ?? uuid });
    return domain;
  }

  #observe(host: Connection, living: LivingDomain, waiting: Waiting): Promise<Domain | undefined> {
    const { uuid, domid } = living;
    const saved = this.#saved.get(uuid);
    const savedTo = saved?.domid === domid ? saved.path : undefined;
    return observeDomain(host, living, { isSaving: this.#saving.has(uuid), savedTo }, waiting);
  }

  /** Settles what a former daemon left of the VM, once. @throws as `adoptVm` does; it is tried again then */
  async #settled(host: Connection, uuid: VmUuid): Promise<void> {
    if (!this.#unsettled.has(uuid)) return;
    await this.#lifecycle.run(uuid, async () => {
      if (!this.#unsettled.has(uuid)) return;
      const saved = await adoptVm(host, uuid);
      if (saved !== undefined) this.#saved.set(uuid, saved);
      this.#unsettled.delete(uuid);
    });
  }

  /** Takes note of what happened to a domain, by whatever hand. */
  #changed(before: LivingDomain | undefined, now: LivingDomain | undefined): void {
    const uuid = (now ?? before)?.uuid;
    if (uuid === undefined) return;
    this.#hint({ about: 'power', uuid });
    if (before !== undefined && now === undefined && !this.#lifecycle.isBusy(uuid)) {
      void this.#clearRemains(before).catch((error: unknown) =>
        this.#log.warn('what a domain left could not be cleared', { vm: before.name, uuid, error }),
      );
    }
  }

  /** Clears what a domain leaves that somebody else has ended. */
  async #clearRemains(gone: LivingDomain): Promise<void> {
    const { uuid, domid, name } = gone;
    const host = await this.#connected();
    await host.usb.release({ domid, uuid, name });
    await this.#lifecycle.run(uuid, async () => {
      if ((await host.roster.findNow(uuid)) !== undefined) return;
      await rm(host.pathsOf(uuid).folder, { recursive: true, force: true });
      await this.#forget(host, uuid);
    });
  }

  async #forget(host: Connection, uuid: VmUuid): Promise<void> {
    this.#saved.delete(uuid);
    this.#unsettled.delete(uuid);
    await host.consoles.end(uuid);
  }
}
