/**
 * Encrypted disks, for every driver alike: a driver that has them opened before a start and closed when the domain is gone,
 * whatever ended it, and to which they are plain block devices. How one is opened is cryptsetup.ts.
 */
import { readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { whyNoKey } from '../config/key-file.ts';
import { makePrivateFolder } from '../lib/atomic-file.ts';
import type { Clock } from '../lib/clock.ts';
import { errnoOf, Fault, isFault, reasonOf } from '../lib/fault.ts';
import { KeyedQueue } from '../lib/keyed-queue.ts';
import type { Log } from '../lib/log.ts';
import type { VmUuid } from '../model/ids.ts';
import type { DiskConfig, DiskEncryption, VmConfig } from '../model/vm.ts';
import { Cryptsetup } from './cryptsetup.ts';
import type { Domain, Driver, Finding, SaveOptions, StartOptions, Waiting } from './driver.ts';
import { loopDeviceOf } from './loop-device.ts';
import { foldersIn } from './vm-folders.ts';

export interface EncryptedDisksOptions {
  /** Notes of this driver about what is open: a folder each VM. Made when it is needed. */
  readonly folder: string;
  /** The one VM whose notes are ours, in a folder that others have theirs in. Default: all. */
  readonly only?: VmUuid | undefined;
  /** Whether another process of ours cares for a VM, which may be about to start it: its disks are left to that one. */
  readonly isApart?: ((uuid: VmUuid) => boolean) | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** As `CryptsetupOptions` have them. */
  readonly binary?: string | undefined;
  readonly mapperFolder?: string | undefined;
  readonly sysfsRoot?: string | undefined;
}

type EncryptedDisk = DiskConfig & { readonly encryption: DiskEncryption };

/** Gives a driver that does as the given one does, and can have VMs with encrypted disks besides. */
export function withEncryptedDisks(driver: Driver, options: EncryptedDisksOptions): Driver {
  const disks = new EncryptedDisks(driver, options);
  const instead: Partial<Driver> = {
    diagnose: () => disks.diagnose(),
    list: (waiting) => disks.list(waiting),
    find: (uuid, waiting) => disks.find(uuid, waiting),
    start: (config, startOptions) => disks.start(config, startOptions),
    reset: (uuid, waiting) => disks.alone(uuid, () => driver.reset(uuid, waiting)),
    destroy: (uuid, waiting) => disks.destroy(uuid, waiting),
    save: (uuid, path, saveOptions) => disks.save(uuid, path, saveOptions),
    close: () => disks.close(),
  };
  return new Proxy(driver, {
    get(target, name) {
      if (Object.hasOwn(instead, name)) return instead[name as keyof Driver];
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? (member.bind(target) as unknown) : member;
    },
  });
}

/**
 * INVARIANTS:
 * - A VM has a note from before its first disk is opened until its last one is closed; so a daemon that comes up knows what
 *   a killed one may have left, and touches nothing that is another home's.
 * - Disks are opened and closed in the VM's turn (`#turns`), and closed only when its domain was looked for in that turn and
 *   is not there. A reset has its turn too: on Xen there is no domain for a moment.
 * - A domain is never started while a mapping of an earlier one is there: what is found under its name is closed first, and
 *   a mapping that is in use cannot be.
 */
class EncryptedDisks {
  readonly #driver: Driver;
  readonly #options: EncryptedDisksOptions;
  readonly #cryptsetup: Cryptsetup;
  readonly #turns = new KeyedQueue();
  readonly #starting = new Map<VmUuid, AbortController>();
  /** VMs whose end was seen, and whose disks are about to be closed. */
  readonly #ending = new Set<VmUuid>();
  #noted: Promise<Set<VmUuid>> | undefined;

  constructor(driver: Driver, options: EncryptedDisksOptions) {
    this.#driver = driver;
    this.#options = options;
    this.#cryptsetup = new Cryptsetup(options);
  }

  async diagnose(): Promise<Finding[]> {
    const findings = await this.#driver.diagnose();
    if (findings.some(({ level }) => level === 'error')) return findings;
    const subject = 'encrypted disks';
    try {
      return [...findings, { level: 'ok', subject, says: `${await this.#cryptsetup.version()} opens them` }];
    } catch (error) {
      const says = `VMs with such disks are refused: ${reasonOf(error, 'exec.failed')}`;
      const advice = isFault(error) ? error.hint : undefined;
      return [...findings, { level: 'note', subject, says, ...(advice === undefined ? {} : { advice }) }];
    }
  }

  async list(waiting?: Waiting): Promise<Domain[]> {
    const domains = await this.#driver.list(waiting);
    const there = new Set(domains.map(({ uuid }) => uuid));
    for (const uuid of await this.#notes()) if (!there.has(uuid)) this.#closeSoon(uuid);
    return domains;
  }

  async find(uuid: VmUuid, waiting?: Waiting): Promise<Domain | undefined> {
    const domain = await this.#driver.find(uuid, waiting);
    if (domain === undefined && (await this.#notes()).has(uuid)) this.#closeSoon(uuid);
    return domain;
  }

  async start(config: VmConfig, options: StartOptions): Promise<Domain> {
    const { uuid, name } = config;
    const disks = config.disks.filter(isEncrypted);
    if (disks.length === 0 && !(await this.#notes()).has(uuid)) return this.#driver.start(config, options);
    const giveUp = new AbortController();
    const signal = options.signal === undefined ? giveUp.signal : AbortSignal.any([options.signal, giveUp.signal]);
    return this.alone(uuid, async () => {
      const checkAborted = () => {
        if (signal.aborted) throw new Fault('aborted', { what: `The start of VM ${name}` }, { cause: signal.reason });
      };
      checkAborted();
      // It says what is there already.
      if ((await this.#driver.find(uuid, { signal })) !== undefined) return this.#driver.start(config, options);
      this.#starting.set(uuid, giveUp);
      try {
        const opened = await this.#open(config, disks);
        checkAborted();
        return await this.#driver.start(opened, { ...options, signal });
      } catch (error) {
        await this.#closeUnlessThere(uuid);
        throw error;
      } finally {
        this.#starting.delete(uuid);
      }
    });
  }

  async destroy(uuid: VmUuid, waiting?: Waiting): Promise<void> {
    this.#starting.get(uuid)?.abort();
    await this.#driver.destroy(uuid, waiting);
    if ((await this.#notes()).has(uuid)) await this.alone(uuid, () => this.#closeUnlessThere(uuid));
  }

  async save(...[uuid, path, options]: [VmUuid, string, SaveOptions]): ReturnType<Driver['save']> {
    const report = await this.#driver.save(uuid, path, options);
    const isOver = options.afterwards === 'stopped' && (await this.#notes()).has(uuid);
    if (isOver) await this.alone(uuid, () => this.#closeUnlessThere(uuid));
    return report;
  }

  async close(): Promise<void> {
    for (const starting of this.#starting.values()) starting.abort();
    await this.#turns.idle();
    await this.#driver.close();
  }

  /** Does something in the VM's turn, in which its disks are neither opened nor closed by others. */
  alone<T>(uuid: VmUuid, work: () => Promise<T>): Promise<T> {
    return this.#turns.run(uuid, work);
  }

  /** Opens the disks, and gives the config of a VM that has them as they are then. @throws Fault `vm.start_failed` */
  async #open(config: VmConfig, disks: readonly EncryptedDisk[]): Promise<VmConfig> {
    const { uuid, name: vm } = config;
    for (const disk of disks) {
      const why = whyNoKey(disk.encryption);
      if (why !== undefined) throw refused(vm, disk, why);
    }
    const folder = join(this.#options.folder, uuid);
    for (const target of await targetsIn(folder)) await this.#cryptsetup.close(nameOf(uuid, target));
    (await this.#notes()).add(uuid);
    for (const disk of disks) {
      try {
        await this.#openOne(vm, disk, { name: nameOf(uuid, disk.target), note: join(folder, disk.target) });
      } catch (error) {
        throw isFault(error, 'exec.failed', 'timeout')
          ? refused(vm, disk, reasonOf(error, 'exec.failed'), error)
          : error;
      }
    }
    const pathOf = ({ target }: DiskConfig) => this.#cryptsetup.pathOf(nameOf(uuid, target));
    const opened = ({ encryption: _, ...disk }: DiskConfig) => ({ ...disk, path: pathOf(disk) });
    return { ...config, disks: config.disks.map((disk) => (isEncrypted(disk) ? opened(disk) : disk)) };
  }

  /** @throws Fault `vm.start_failed` when a loop device has it, for a file has no lock then that would tell; `exec.failed` */
  async #openOne(vm: string, disk: EncryptedDisk, at: { readonly name: string; readonly note: string }): Promise<void> {
    await this.#cryptsetup.close(at.name); // One that a daemon left which had no time to note it.
    const loop = await loopDeviceOf(disk.path, this.#options.sysfsRoot);
    if (loop !== undefined && !(disk.isReadOnly && loop.isReadOnly)) {
      throw refused(vm, disk, `${disk.path} is in use as ${loop.name}, by another VM or program`);
    }
    await makePrivateFolder(dirname(at.note));
    await writeFile(at.note, '', { mode: 0o600 });
    await this.#cryptsetup.open(disk, at.name);
  }

  /** Closes the disks of a VM whose end was seen; nobody waits for it. What fails is tried again at the next look. */
  #closeSoon(uuid: VmUuid): void {
    if (this.#ending.has(uuid) || this.#turns.isBusy(uuid)) return;
    this.#ending.add(uuid);
    void this.alone(uuid, () => this.#closeUnlessThere(uuid)).finally(() => this.#ending.delete(uuid));
  }

  /** For the VM's turn. Never throws: what cannot be closed keeps its note. */
  async #closeUnlessThere(uuid: VmUuid): Promise<void> {
    const { log, isApart } = this.#options;
    const folder = join(this.#options.folder, uuid);
    if (isApart?.(uuid) === true) return;
    try {
      if ((await this.#driver.find(uuid)) !== undefined) return;
      for (const target of await targetsIn(folder)) await this.#cryptsetup.close(nameOf(uuid, target));
      await rm(folder, { recursive: true, force: true });
      (await this.#notes()).delete(uuid);
    } catch (error) {
      log.warn('an encrypted disk stays open; it is closed later', { uuid, error });
    }
  }

  /** Gives the VMs that have a note, also from before. @throws system errors; it is tried again then */
  #notes(): Promise<Set<VmUuid>> {
    const { folder, only } = this.#options;
    this.#noted ??= foldersIn(folder).then(
      (uuids) => new Set(uuids.filter((uuid) => only === undefined || uuid === only)),
      (error: unknown) => {
        this.#noted = undefined;
        throw error;
      },
    );
    return this.#noted;
  }
}

function isEncrypted(disk: DiskConfig): disk is EncryptedDisk {
  return disk.encryption !== undefined;
}

/** Names a disk on this host: for that VM and target, whichever daemon opened it. */
function nameOf(uuid: VmUuid, target: string): string {
  return `usher-${uuid}-${target}`;
}

function refused(vm: string, { target }: EncryptedDisk, why: string, cause?: unknown): Fault {
  const hint = isFault(cause) ? cause.hint : undefined;
  return new Fault(
    'vm.start_failed',
    { vm, what: `its encrypted disk ${target} cannot be opened: ${why}` },
    { hint, cause },
  );
}

/** Lists what a note says was opened. @throws system errors */
async function targetsIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });
}
