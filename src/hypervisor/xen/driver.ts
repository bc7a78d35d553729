/**
 * The Xen driver: domains are built, saved and ended by xl; who lives is told by xl and by xenstore's watches; what is under
 * way with a domain is lifecycle.ts, USB is usb.ts. Nothing of a domain is stored but the folder that its cfg and sockets
 * are in. See ../driver.ts for what each method means.
 */
import { resolve } from 'node:path';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { Fault, messageOf } from '../../lib/fault.ts';
import { type Log, silentLog } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { Attachment, UsbDevice, UsbSlot } from '../../model/usb.ts';
import type { Trigger, VmConfig } from '../../model/vm.ts';
import type {
  ConsolePaths,
  Controller,
  Domain,
  DomainDescription,
  Driver,
  DriverHint,
  Finding,
  SaveOptions,
  SaveReport,
  StartOptions,
  VncPlace,
  Waiting,
} from '../driver.ts';
import { removeSave } from '../save-target.ts';
import { foldersIn } from '../vm-folders.ts';
import { changeMedium, findVnc, setMemoryTarget, trigger } from './board.ts';
import { type Connection, openConnection } from './connection.ts';
import { diagnoseXen } from './doctor.ts';
import { translated, translatedForHost } from './faults.ts';
import { describeDomain, findAlive, pauseDomain, unpauseDomain } from './host.ts';
import { checkAborted, Lifecycle } from './lifecycle.ts';
import { consolePaths, type DomainPaths, domainPaths } from './paths.ts';
import { resetXen } from './reset.ts';
import type { LivingDomain } from './roster.ts';
import { checkSave } from './save.ts';
import { requestShutdown } from './shutdown.ts';
import { startXen } from './start.ts';
import { Xl } from './xl.ts';

export interface XenDriverOptions {
  /** Cfg, sockets and notes of running domains: a folder each, removed with the domain. */
  readonly runtimeDir: string;
  /** Logs of consoles, which stay. */
  readonly stateDir: string;
  /**
   * The one domain that is ours, on a host where others have theirs: no other is told of, and nothing is done to any other.
   * Default: all that are there.
   */
  readonly only?: VmUuid | undefined;
  /** Whether a VM is cared for by another process of ours, so that nothing is done about its USB unasked. */
  readonly isApart?: ((uuid: VmUuid) => boolean) | undefined;
  readonly xlBinary?: string | undefined;
  /** xenstored's socket or device; default: as `XenstoreClient` finds it. */
  readonly xenstorePath?: string | undefined;
  readonly clock?: Clock | undefined;
  readonly log?: Log | undefined;
  readonly sysfsRoot?: string | undefined;
  readonly usbfsRoot?: string | undefined;
}

/**
 * INVARIANTS: a uuid names a domain; its domid is looked up for each act, and proved right before one that changes it. What
 * may go side by side, and in which order the rest goes, is said at `Lifecycle` and `XenUsb`.
 */
export class XenDriver implements Driver {
  readonly name = 'xen';
  readonly #runtimeDir: string;
  readonly #stateDir: string;
  readonly #options: XenDriverOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #xl: Xl;
  readonly #lifecycle: Lifecycle;
  readonly #listeners = new Set<(hint: DriverHint) => void>();
  #connection: Promise<Connection> | undefined;

  constructor(options: XenDriverOptions) {
    this.#options = options;
    this.#runtimeDir = resolve(options.runtimeDir);
    this.#stateDir = resolve(options.stateDir);
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#xl = new Xl({ binary: options.xlBinary, clock: this.#clock, log: this.#log });
    this.#lifecycle = new Lifecycle(this.#hint);
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

  /** All domains of the host but dom0, unless one is ours alone: whose they are is known by who asks. */
  async list(waiting: Waiting = {}): Promise<Domain[]> {
    try {
      const host = await this.#connected();
      await this.#lifecycle.settleAll(host);
      const seen = new Set<VmUuid>();
      const living = (await host.roster.all(waiting)).filter(({ uuid, domid, name }) => {
        if (!this.#isOurs(uuid)) return false;
        if (seen.has(uuid)) this.#log.warn('two domains have one uuid; the first is told', { vm: name, uuid, domid });
        const isTold = !seen.has(uuid) && !this.#lifecycle.isBuilding(uuid);
        seen.add(uuid);
        return isTold;
      });
      const looking = { ...waiting, isOneOfMany: true };
      const found = await Promise.all(living.map((domain) => this.#lifecycle.observe(host, domain, looking)));
      return found.filter((domain) => domain !== undefined);
    } catch (error) {
      throw translatedForHost(error);
    }
  }

  async find(uuid: VmUuid, waiting: Waiting = {}): Promise<Domain | undefined> {
    if (!this.#isOurs(uuid)) return undefined;
    return this.#with(uuid, async (host) => {
      if (this.#lifecycle.isBuilding(uuid)) return undefined;
      await this.#lifecycle.settle(host, uuid);
      const domain = await host.roster.find(uuid, waiting);
      return domain && (await this.#lifecycle.observe(host, domain, waiting));
    });
  }

  async start(config: VmConfig, options: StartOptions): Promise<Domain> {
    const { uuid, name } = config;
    const what = `The start of VM ${name}`;
    checkAborted(options.signal, what);
    return this.#act(uuid, (host) =>
      this.#lifecycle.build(host, config, { signal: options.signal, what }, async (signal) => {
        const there = await host.roster.findNow(uuid, { signal });
        if (there !== undefined) {
          const hint = `It is domain ${there.domid}; "usher vm destroy" ends it.`;
          throw new Fault('vm.exists', { key: 'uuid', value: uuid }, { hint });
        }
        await startXen(host, config, { ...options, signal });
      }),
    );
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
    await this.#act(uuid, async (host) => {
      checkAborted(waiting.signal, what);
      await this.#lifecycle.build(host, { uuid, name: uuid }, { signal: waiting.signal, what }, (signal) =>
        resetXen(host, uuid, { signal }),
      );
    });
  }

  async destroy(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    if (!this.#isOurs(uuid)) return;
    this.#lifecycle.interrupt(uuid);
    await this.#with(uuid, (host) => this.#lifecycle.end(host, uuid, waiting));
  }

  save(uuid: VmUuid, path: string, options: SaveOptions): Promise<SaveReport> {
    return this.#act(uuid, async (host) => {
      const report = await this.#lifecycle.save(host, await findAlive(host, uuid, options), path, options);
      // From here on it is only the remains of a saved guest: the file has its name.
      if (options.afterwards === 'stopped') await this.destroy(uuid);
      return report;
    });
  }

  async checkSave(uuid: VmUuid, path: string, options: Parameters<Driver['checkSave']>[2]): Promise<void> {
    await this.#act(uuid, async (host) =>
      checkSave({ host, domain: await findAlive(host, uuid, options), path, options }),
    );
  }

  discardSave(_uuid: VmUuid, path: string): Promise<void> {
    return removeSave(path);
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

  changeMedium(uuid: VmUuid, target: string, file: string | undefined, waiting: Waiting = {}): Promise<void> {
    return this.#act(uuid, async (host) =>
      changeMedium(host, await findAlive(host, uuid, waiting), target, file, waiting),
    );
  }

  setMemoryTarget(uuid: VmUuid, memoryMiB: number, waiting: Waiting = {}): Promise<void> {
    return this.#act(uuid, async (host) =>
      setMemoryTarget(host, await findAlive(host, uuid, waiting), memoryMiB, waiting),
    );
  }

  trigger(uuid: VmUuid, what: Trigger, waiting: Waiting = {}): Promise<void> {
    return this.#act(uuid, async (host) => trigger(host, await findAlive(host, uuid, waiting), what, waiting));
  }

  findVnc(uuid: VmUuid, waiting: Waiting = {}): Promise<VncPlace | undefined> {
    return this.#with(uuid, async (host) => findVnc(host, await this.#alive(host, uuid, waiting)));
  }

  consoleOf(uuid: VmUuid): ConsolePaths {
    return consolePaths(this.#pathsOf(uuid));
  }

  onHint(listener: (hint: DriverHint) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    await this.#lifecycle.close();
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

  #isOurs(uuid: VmUuid): boolean {
    const { only } = this.#options;
    return only === undefined || uuid === only;
  }

  /** Remains of nobody knows whose domain are for who minds the whole host. */
  #cares(uuid: VmUuid | undefined): boolean {
    const { only, isApart } = this.#options;
    if (only !== undefined || uuid === undefined) return only === uuid;
    return isApart?.(uuid) !== true;
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
    this.#lifecycle.inherit((await foldersIn(this.#runtimeDir)).filter((uuid) => this.#isOurs(uuid)));
    return openConnection({
      ...{ xl: this.#xl, clock: this.#clock, log: this.#log, xenstorePath, sysfsRoot, usbfsRoot, onHint: this.#hint },
      cares: (uuid) => this.#cares(uuid),
      pathsOf: (uuid) => this.#pathsOf(uuid),
      onChange: (before, now) => this.#changed(before, now),
    });
  }

  /** Has the VM's care work with the connection, and translates what it throws. */
  async #with<T>(uuid: VmUuid, work: (host: Connection) => Promise<T>): Promise<T> {
    if (!this.#isOurs(uuid)) throw new Fault('vm.no_domain', { vm: uuid });
    try {
      return await work(await this.#connected());
    } catch (error) {
      throw translated(error, uuid);
    }
  }

  /** The same for what changes a domain: when what a former daemon left is settled. */
  #act<T>(uuid: VmUuid, work: (host: Connection) => Promise<T>): Promise<T> {
    return this.#with(uuid, async (host) => {
      await this.#lifecycle.settle(host, uuid);
      return work(host);
    });
  }

  async #alive(host: Connection, uuid: VmUuid, waiting: Waiting): Promise<LivingDomain> {
    const domain = this.#lifecycle.isBuilding(uuid) ? undefined : await host.roster.find(uuid, waiting);
    if (domain === undefined || domain.run === 'shutdown')
      throw new Fault('vm.no_domain', { vm: domain?.name ?? uuid });
    return domain;
  }

  /** Takes note of what happened to a domain, by whatever hand. */
  #changed(before: LivingDomain | undefined, now: LivingDomain | undefined): void {
    const uuid = (now ?? before)?.uuid;
    if (uuid === undefined || !this.#isOurs(uuid)) return;
    this.#hint({ about: 'power', uuid });
    if (before === undefined || now !== undefined || this.#lifecycle.isBusy(uuid)) return;
    this.#clearRemains(before).catch((error: unknown) =>
      this.#log.warn('what a domain left could not be cleared', { vm: before.name, uuid, error }),
    );
  }

  async #clearRemains(gone: LivingDomain): Promise<void> {
    await this.#lifecycle.clearRemains(await this.#connected(), gone);
  }
}
