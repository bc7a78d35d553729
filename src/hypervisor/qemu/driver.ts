/**
 * The QEMU driver: one QEMU process a domain, detached from us, with a folder of its own in the runtime folder. Which of
 * them there are, how they begin and end, is lifecycle.ts; nothing else is remembered. See ../driver.ts for what each method
 * means.
 */
import { resolve } from 'node:path';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import { KeyedQueue } from '../../lib/keyed-queue.ts';
import { type Log, silentLog } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import { type Attachment, formatSlot, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import type { Trigger, VmConfig } from '../../model/vm.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type {
  ConsolePaths,
  Domain,
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
import type { AcceleratorWish } from './accel.ts';
import { setMemoryTarget } from './balloon.ts';
import { changeMedium, findVnc, trigger } from './board.ts';
import { diagnoseQemu } from './doctor.ts';
import type { QemuDomain } from './domain.ts';
import { Lifecycle } from './lifecycle.ts';
import { readOrigin } from './origin.ts';
import { consolePaths, type DomainPaths, domainPaths } from './paths.ts';
import { resetQemu } from './reset.ts';
import { checkSave, saveQemu } from './save.ts';
import { readSaveHeader } from './save-file.ts';
import { type DiskSnapshot, QemuImg, removeSnapshots, snapshotsOf } from './snapshots.ts';
import { attachDevice, detachDevice } from './usb.ts';
import { usbRightsOf } from './usb-rights.ts';

export interface QemuDriverOptions {
  /** Sockets and notes of running domains: a folder each, removed with the domain. */
  readonly runtimeDir: string;
  /** Logs of consoles and of QEMU itself, which stay. */
  readonly stateDir: string;
  /** The one domain that is ours, in folders that others have theirs in. Default: all that are there. */
  readonly only?: VmUuid | undefined;
  readonly qemuBinary?: string | undefined;
  /** Default `auto`: KVM where it can work. */
  readonly acceleratorWish?: AcceleratorWish | undefined;
  readonly clock?: Clock | undefined;
  readonly log?: Log | undefined;
  readonly sysfsRoot?: string | undefined;
  readonly usbfsRoot?: string | undefined;
}

/**
 * INVARIANTS: attach and detach at one slot exclude each other (`#slots`); so do start, adoption and destruction of one
 * domain (`Lifecycle`). Everything else goes side by side: QEMU works its commands off in their order.
 */
export class QemuDriver implements Driver {
  readonly name = 'qemu';
  readonly #runtimeDir: string;
  readonly #stateDir: string;
  readonly #binary: string;
  readonly #acceleratorWish: AcceleratorWish;
  readonly #img: QemuImg;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #sysfsRoot: string;
  readonly #usbfsRoot: string;
  readonly #lifecycle: Lifecycle;
  readonly #slots = new KeyedQueue();
  readonly #listeners = new Set<(hint: DriverHint) => void>();

  constructor(options: QemuDriverOptions) {
    this.#runtimeDir = resolve(options.runtimeDir);
    this.#stateDir = resolve(options.stateDir);
    this.#binary = options.qemuBinary ?? 'qemu-system-x86_64';
    this.#img = new QemuImg(this.#binary);
    this.#acceleratorWish = options.acceleratorWish ?? 'auto';
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#sysfsRoot = options.sysfsRoot ?? '/sys';
    this.#usbfsRoot = options.usbfsRoot ?? '/dev/bus/usb';
    this.#lifecycle = new Lifecycle({
      runtimeDir: this.#runtimeDir,
      only: options.only,
      binary: this.#binary,
      acceleratorWish: this.#acceleratorWish,
      sysfsRoot: this.#sysfsRoot,
      pathsOf: (uuid) => this.#pathsOf(uuid),
      clock: this.#clock,
      log: this.#log,
      onHint: this.#hint,
    });
  }

  diagnose(): Promise<Finding[]> {
    return diagnoseQemu(this.#binary, this.#acceleratorWish, usbRightsOf(this.#usbfsRoot, this.#sysfsRoot));
  }

  /** A domain whose process lives but does not answer is told as it was seen last, so that it hides no other. */
  async list(waiting: Waiting = {}): Promise<Domain[]> {
    const uuids = await this.#lifecycle.uuids();
    const found = await Promise.all(
      uuids.map((uuid) =>
        this.find(uuid, waiting).catch((error: unknown) => {
          const domain = this.#lifecycle.held(uuid);
          if (!isFault(error, 'hypervisor.lost') || domain === undefined) throw error;
          this.#log.warn('a QEMU does not answer', { vm: domain.name, uuid, error });
          return domain.lastSeen;
        }),
      ),
    );
    return found.filter((domain) => domain !== undefined);
  }

  async find(uuid: VmUuid, waiting: Waiting = {}): Promise<Domain | undefined> {
    const domain = await this.#lifecycle.hold(uuid);
    if (domain === undefined) return undefined;
    try {
      return await domain.observe(waiting);
    } catch (error) {
      if (!isFault(error, 'vm.no_domain')) throw error;
      await this.#lifecycle.forget(domain);
      return undefined;
    }
  }

  start(config: VmConfig, options: StartOptions): Promise<Domain> {
    return this.#lifecycle.start(config, options);
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

  destroy(uuid: VmUuid): Promise<void> {
    return this.#lifecycle.destroy(uuid);
  }

  async save(uuid: VmUuid, path: string, options: SaveOptions): Promise<SaveReport> {
    const domain = await this.#need(uuid);
    const input = { domain, path, options, img: this.#img, clock: this.#clock, log: this.#log };
    const { report, outdated } = await saveQemu(input);
    // From here on it is only the remains of a saved guest: the file has its name.
    if (options.afterwards === 'stopped') await this.#lifecycle.end(domain);
    await this.#removeSnapshots(domain, outdated).catch((error: unknown) => {
      this.#log.warn('snapshots of a save that was replaced stay', { vm: domain.name, error });
    });
    return report;
  }

  async checkSave(uuid: VmUuid, path: string, options: Parameters<Driver['checkSave']>[2]): Promise<void> {
    await checkSave({ domain: await this.#need(uuid), path, options, img: this.#img });
  }

  async discardSave(uuid: VmUuid, path: string): Promise<void> {
    const header = await readSaveHeader(path).catch(() => undefined);
    await removeSave(path);
    const domain = header?.uuid === uuid ? await this.#lifecycle.hold(uuid) : undefined;
    if (header === undefined || domain === undefined) return;
    const { disks } = await readOrigin(domain.paths);
    await this.#removeSnapshots(domain, snapshotsOf(header.disks, disks));
  }

  async attachDevice(uuid: VmUuid, slot: UsbSlot, device: UsbDevice, waiting: Waiting = {}): Promise<Attachment> {
    const context = { ...this.#usb, domain: await this.#need(uuid) };
    return this.#slots.run(`${uuid}/${formatSlot(slot)}`, () => attachDevice(context, slot, device, waiting));
  }

  async detachDevice(uuid: VmUuid, attachment: Attachment, waiting: Waiting = {}): Promise<void> {
    const domain = await this.#lifecycle.hold(uuid);
    if (domain === undefined) return;
    const context = { ...this.#usb, domain };
    try {
      await this.#slots.run(`${uuid}/${formatSlot(attachment)}`, () => detachDevice(context, attachment, waiting));
    } catch (error) {
      if (!isFault(error, 'vm.no_domain')) throw error; // With the domain all its attachments are gone.
    }
  }

  async changeMedium(uuid: VmUuid, target: string, file: string | undefined, waiting: Waiting = {}): Promise<void> {
    await this.#command(uuid, waiting, (session, domain) => changeMedium(session, domain, target, file, waiting));
  }

  async setMemoryTarget(uuid: VmUuid, memoryMiB: number, waiting: Waiting = {}): Promise<void> {
    await this.#command(uuid, waiting, (session, { name }) => setMemoryTarget(session, name, memoryMiB, waiting));
  }

  async trigger(uuid: VmUuid, what: Trigger, waiting: Waiting = {}): Promise<void> {
    await this.#command(uuid, waiting, (session, domain) => trigger(session, domain, what, waiting));
  }

  findVnc(uuid: VmUuid, waiting: Waiting = {}): Promise<VncPlace | undefined> {
    return this.#command(uuid, waiting, (session) => findVnc(session, waiting));
  }

  consoleOf(uuid: VmUuid): ConsolePaths {
    return consolePaths(this.#pathsOf(uuid));
  }

  onHint(listener: (hint: DriverHint) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    await this.#lifecycle.giveUp();
    await this.#slots.idle();
    this.#lifecycle.close();
    this.#listeners.clear();
  }

  get #usb() {
    return { clock: this.#clock, sysfsRoot: this.#sysfsRoot, usbfsRoot: this.#usbfsRoot };
  }

  readonly #hint = (hint: DriverHint): void => {
    for (const listener of this.#listeners) listener(hint);
  };

  /** @throws Fault `hypervisor.failed` */
  async #removeSnapshots(domain: QemuDomain, snapshots: readonly DiskSnapshot[]): Promise<void> {
    if (snapshots.length === 0) return;
    await removeSnapshots(await domain.session(), snapshots).catch(async (error: unknown) => {
      throw await domain.translate(error);
    });
  }

  #pathsOf(uuid: VmUuid): DomainPaths {
    return domainPaths(this.#runtimeDir, this.#stateDir, uuid);
  }

  /** Has the domain act, if it lives. @throws Fault `vm.no_domain`, `hypervisor.failed`, `hypervisor.lost`, `aborted` */
  async #command<T>(
    uuid: VmUuid,
    waiting: Waiting,
    act: (session: QmpSession, domain: QemuDomain) => Promise<T>,
  ): Promise<T> {
    const domain = await this.#need(uuid);
    const { run } = await domain.observe(waiting);
    if (run === 'dead') throw new Fault('vm.no_domain', { vm: domain.name });
    try {
      return await act(await domain.session(waiting), domain);
    } catch (error) {
      throw await domain.translate(error);
    }
  }

  async #need(uuid: VmUuid): Promise<QemuDomain> {
    const domain = await this.#lifecycle.hold(uuid);
    if (domain === undefined) throw new Fault('vm.no_domain', { vm: uuid });
    return domain;
  }
}
