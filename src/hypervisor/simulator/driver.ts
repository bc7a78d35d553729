/**
 * The simulator's driver: a client of a simulated world, which it reaches through a port and which outlives it. Its save
 * files and console logs are real files. What its methods mean is told in ../driver.ts and done in world.ts.
 */
import { randomUUID } from 'node:crypto';
import { access, appendFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makePrivateFolder, replaceFile } from '../../lib/atomic-file.ts';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { Fault, isFault, messageOf, reasonOf } from '../../lib/fault.ts';
import { openRegularFile, readRegularText } from '../../lib/regular-file.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { Attachment, UsbDevice, UsbSlot } from '../../model/usb.ts';
import type { DiskConfig, Trigger, VmConfig } from '../../model/vm.ts';
import type {
  ConsolePaths,
  Controller,
  DeviceSource,
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
import { removeSave, type SaveOwner, whyNoSaveTarget } from '../save-target.ts';
import {
  CHANGED_HINT,
  disksRefusal,
  ignoredDisksWarning,
  type SavedDisk,
  snapshotNameOf,
  stampDisks,
  whyDiskChanged,
  writableDisks,
} from '../saved-disks.ts';
import {
  formatSaveFile,
  parseSaveFile,
  readOwner,
  SAVE_FILE_MAGIC,
  SAVE_FILE_MAX_BYTES,
  type SavedGuest,
} from './save-file.ts';
import { WorldClient } from './world-client.ts';
import type { GuestMemory, ParamsOf, ResultOf, WorldMethod, WorldPort } from './world-port.ts';

export interface SimulatorOptions {
  /** The way into the world: `world.open()` or a `WorldClient`. The driver closes it. */
  readonly port: WorldPort;
  /** Where console logs are written, a folder for each VM; made when it is needed. */
  readonly folder: string;
  /** The clock of deadlines. */
  readonly clock?: Clock | undefined;
  /** Deadline of each method. Default 30 s. */
  readonly timeoutMs?: number | undefined;
}

export class SimulatorDriver implements Driver {
  readonly name = 'simulator';
  readonly #port: WorldPort;
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #timeoutMs: number;

  constructor(options: SimulatorOptions) {
    this.#port = options.port;
    this.#folder = options.folder;
    this.#clock = options.clock ?? systemClock;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
  }

  /** Makes a driver of the world that listens on `socket`; it need not listen yet. Console logs go beside the socket. */
  static connect(socket: string, more: Partial<Omit<SimulatorOptions, 'port'>> = {}): SimulatorDriver {
    return new SimulatorDriver({ folder: join(dirname(socket), 'consoles'), ...more, port: new WorldClient(socket) });
  }

  async diagnose(): Promise<Finding[]> {
    const subject = 'simulator';
    try {
      const { length } = await this.list();
      return [{ level: 'ok', subject, says: `the simulated world answers and has ${length} domains` }];
    } catch (error) {
      const advice = 'start it with `node dist/sim-world.cjs --socket PATH`, or take the simulator out of the settings';
      return [{ level: 'error', subject, says: messageOf(error), advice }];
    }
  }

  async list(waiting: Waiting = {}): Promise<Domain[]> {
    return [...(await this.#call('list', {}, waiting.signal))];
  }

  async find(uuid: VmUuid, waiting: Waiting = {}): Promise<Domain | undefined> {
    return (await this.#call('find', { uuid }, waiting.signal)) ?? undefined;
  }

  start(config: VmConfig, options: StartOptions): Promise<Domain> {
    return this.#within(`The start of VM ${config.name}`, options.signal, async (signal) => {
      await checkFiles(config);
      const { isPaused, restoreFrom } = options;
      const memory = restoreFrom === undefined ? undefined : await readMemory(restoreFrom, config, options);
      signal.throwIfAborted();
      const params = { config, isPaused, ...(memory === undefined ? {} : { memory }) };
      const domain = await this.#port.call('start', params, signal);
      if (signal.aborted) {
        // It was too late to stop it.
        await this.#port.call('destroy', { uuid: config.uuid });
        throw signal.reason;
      }
      await this.#writeLog(config.uuid, memory === undefined ? 'booted' : 'restored');
      return domain;
    });
  }

  async pause(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    await this.#call('pause', { uuid }, waiting.signal);
  }

  async unpause(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    await this.#call('unpause', { uuid }, waiting.signal);
  }

  async requestShutdown(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    await this.#call('requestShutdown', { uuid }, waiting.signal);
  }

  async reset(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    await this.#call('reset', { uuid }, waiting.signal);
  }

  async destroy(uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
    await this.#call('destroy', { uuid }, waiting.signal);
  }

  save(uuid: VmUuid, path: string, options: SaveOptions): Promise<SaveReport> {
    const { afterwards, isLive = afterwards === 'running' } = options;
    return this.#within(`The save to ${path}`, options.signal, async (signal) => {
      const plan = await this.#planSave(uuid, path, options, signal);
      const { config } = plan;
      const copy = () => this.#port.call('copyMemory', { uuid, file: path }, signal);
      let hasBegun = false;
      let stoodStillAt = 0;
      try {
        await replaceFile(path, async (file) => {
          signal.throwIfAborted();
          if (isLive) await copy();
          hasBegun = true;
          stoodStillAt = this.#clock.monotonic();
          const memory = await this.#port.call('beginSave', { uuid, file: path }, signal);
          if (!isLive) await copy();
          const content = formatSaveFile({ memory, disks: await describeDisks(plan) }, config, this.#clock.now());
          await file.writeFile(content);
          options.onProgress?.(content.length, content.length);
          await checkTarget(uuid, path);
          signal.throwIfAborted(); // After this the file is put in place.
        });
        if (afterwards === 'stopped') options.onWritten?.();
      } catch (error) {
        if (hasBegun) await this.#port.call('endSave', { uuid, afterwards: 'as before' }).catch(() => undefined);
        if (!isFault(error, 'file.unwritable')) throw error;
        throw saveFailed(uuid, path, reasonOf(error, 'file.unwritable'), error);
      }
      await this.#port.call('endSave', { uuid, afterwards });
      const pausedMs = plan.isRunning ? Math.round(this.#clock.monotonic() - stoodStillAt) : 0;
      const isUncovered = afterwards === 'running' && plan.snapshot === undefined && plan.writable.length > 0;
      const warnings = isUncovered ? [ignoredDisksWarning(config.name, plan.writable)] : [];
      return { pausedMs, isLive, warnings };
    });
  }

  checkSave(uuid: VmUuid, path: string, options: Parameters<Driver['checkSave']>[2]): Promise<void> {
    return this.#within(`The look at VM ${uuid}`, options.signal, async (signal) => {
      await this.#planSave(uuid, path, options, signal);
    });
  }

  /** A simulated guest writes to no disk: a snapshot of it is a name in the file, and goes with it. */
  discardSave(_uuid: VmUuid, path: string): Promise<void> {
    return removeSave(path);
  }

  attachDevice(uuid: VmUuid, slot: UsbSlot, device: UsbDevice, waiting: Waiting = {}): Promise<Attachment> {
    return this.#call('attachDevice', { uuid, slot, device }, waiting.signal);
  }

  async detachDevice(uuid: VmUuid, attachment: Attachment, waiting: Waiting = {}): Promise<void> {
    await this.#call('detachDevice', { uuid, attachment }, waiting.signal);
  }

  addController(uuid: VmUuid, waiting: Waiting = {}): Promise<Controller> {
    return this.#call('addController', { uuid }, waiting.signal);
  }

  describe(uuid: VmUuid, waiting: Waiting = {}): Promise<DomainDescription> {
    return this.#call('describe', { uuid }, waiting.signal);
  }

  async changeMedium(uuid: VmUuid, target: string, file: string | undefined, waiting: Waiting = {}): Promise<void> {
    if (file !== undefined) await checkMedium(file);
    await this.#call('changeMedium', { uuid, target, ...(file === undefined ? {} : { file }) }, waiting.signal);
  }

  async setMemoryTarget(uuid: VmUuid, memoryMiB: number, waiting: Waiting = {}): Promise<void> {
    await this.#call('setMemoryTarget', { uuid, memoryMiB }, waiting.signal);
  }

  async trigger(uuid: VmUuid, trigger: Trigger, waiting: Waiting = {}): Promise<void> {
    await this.#call('trigger', { uuid, trigger }, waiting.signal);
  }

  /** A simulated guest shows nothing. */
  async findVnc(uuid: VmUuid, waiting: Waiting = {}): Promise<VncPlace | undefined> {
    await this.#call('describe', { uuid }, waiting.signal);
    return undefined;
  }

  /** The log is written; nothing listens on the socket, for a simulated guest has nothing to say. */
  consoleOf(uuid: VmUuid): ConsolePaths {
    return { socket: join(this.#folder, uuid, 'console.sock'), log: join(this.#folder, uuid, 'console.log') };
  }

  onHint(listener: (hint: DriverHint) => void): () => void {
    return this.#port.onHint((hint) => {
      if (hint.about !== 'devices') listener(hint);
    });
  }

  /** Gives a source for each backend that the world has now. @throws `hypervisor.missing` */
  async sources(): Promise<readonly DeviceSource[]> {
    return (await this.#call('backends', {}, undefined)).map((backend) => this.sourceOf(backend));
  }

  /** Gives the devices of one of the world's backends: `dom0`, or a VM that lends its own. */
  sourceOf(backend: string): DeviceSource {
    return {
      backend,
      list: () => this.#call('devices', { backend }, undefined),
      watch: (onHint) =>
        this.#port.onHint((hint) => {
          if (hint.about === 'everything' || (hint.about === 'devices' && hint.backend === backend)) onHint();
        }),
    };
  }

  close(): Promise<void> {
    return this.#port.close();
  }

  async #planSave(
    uuid: VmUuid,
    path: string,
    { afterwards, disks }: Pick<SaveOptions, 'afterwards' | 'disks'>,
    signal: AbortSignal,
  ): Promise<SavePlan> {
    await checkTarget(uuid, path);
    const config = await this.#port.call('config', { uuid }, signal);
    const isRunning = (await this.#port.call('find', { uuid }, signal))?.run === 'running';
    const writable = writableDisks(config.disks);
    const plan = { config, writable, isRunning };
    if (afterwards === 'stopped' || disks === 'ignore' || writable.length === 0) return plan;
    const others = writable.filter(({ format }) => format !== 'qcow2');
    if (others.length > 0) throw disksRefusal(config.name, path, others, 'only qcow2 images can hold one');
    return { ...plan, snapshot: snapshotNameOf(randomUUID()) };
  }

  #call<M extends WorldMethod>(method: M, params: ParamsOf<M>, signal?: AbortSignal): Promise<ResultOf<M>> {
    const what = `The simulator's answer to "${method}"`;
    return this.#within(what, signal, (inner) => this.#port.call(method, params, inner));
  }

  /**
   * Runs `work` with a signal that comes with the caller's or at the deadline, and waits for it to end: unlike
   * `withDeadline` it never leaves while something is half done, which the port's promise to settle makes safe.
   */
  async #within<T>(
    what: string,
    outer: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const inner = new AbortController();
    const onAbort = () => inner.abort(new Fault('aborted', { what }, { cause: outer?.reason }));
    const seconds = this.#timeoutMs / 1000;
    const cancel = this.#clock.after(this.#timeoutMs, () => inner.abort(new Fault('timeout', { what, seconds })));
    if (outer?.aborted) onAbort();
    outer?.addEventListener('abort', onAbort, { once: true });
    try {
      return await work(inner.signal);
    } finally {
      cancel();
      outer?.removeEventListener('abort', onAbort);
    }
  }

  async #writeLog(uuid: VmUuid, what: string): Promise<void> {
    const { log } = this.consoleOf(uuid);
    const line = `${new Date(this.#clock.now()).toISOString()} the simulated guest has ${what}\n`;
    // A log that cannot be written is no reason to fail the start.
    await makePrivateFolder(join(this.#folder, uuid))
      .then(() => appendFile(log, line, { mode: 0o600 }))
      .catch(() => undefined);
  }
}

/** Checks that what a hypervisor would open is there. */
async function checkFiles(config: VmConfig): Promise<void> {
  for (const path of [config.kernel, config.initrd, ...config.disks.map((disk) => disk.path)]) {
    if (path === undefined) continue;
    await access(path).catch((error: unknown) => {
      throw new Fault('vm.start_failed', { vm: config.name, what: messageOf(error) }, { cause: error });
    });
  }
}

async function checkMedium(file: string): Promise<void> {
  await access(file).catch((error: unknown) => {
    throw new Fault('hypervisor.failed', { what: messageOf(error) }, { cause: error });
  });
}

interface SavePlan {
  readonly config: VmConfig;
  readonly writable: readonly DiskConfig[];
  readonly isRunning: boolean;
  /** What each of the writable disks gets. */
  readonly snapshot?: string;
}

async function describeDisks({ writable, snapshot }: SavePlan): Promise<SavedDisk[]> {
  return snapshot === undefined ? await stampDisks(writable) : writable.map(({ target }) => ({ target, snapshot }));
}

async function checkTarget(uuid: VmUuid, path: string): Promise<void> {
  const why = await whyNoSaveTarget(path, SAVE_FILE_MAGIC, { uuid, ownerOf });
  if (why !== undefined) throw saveFailed(uuid, path, why);
}

async function ownerOf(path: string): Promise<SaveOwner | undefined> {
  return readOwner(await readRegularText(path, SAVE_FILE_MAX_BYTES));
}

/** Reads a save file and checks that the VM can go on from it. @throws Fault `vm.save_invalid` */
async function readMemory(path: string, config: VmConfig, options: StartOptions): Promise<GuestMemory> {
  const saved = await readSaveFile(path, config);
  if (options.disks === 'ignore') return saved.memory;
  const what = await whyDiskChanged(saved.disks, config.disks);
  if (what === undefined) return saved.memory;
  throw new Fault('vm.save_invalid', { file: path, what }, { hint: CHANGED_HINT });
}

async function readSaveFile(path: string, config: VmConfig): Promise<SavedGuest> {
  const buffer = Buffer.alloc(SAVE_FILE_MAX_BYTES);
  try {
    const file = await openRegularFile(path);
    try {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      return parseSaveFile(buffer.toString('utf8', 0, bytesRead), path, config);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isFault(error, 'vm.save_invalid')) throw error;
    throw new Fault('vm.save_invalid', { file: path, what: reasonOf(error, 'file.unreadable') }, { cause: error });
  }
}

function saveFailed(uuid: VmUuid, path: string, what: string, cause?: unknown): Fault {
  return new Fault('vm.save_failed', { vm: uuid, file: path, what }, { cause });
}
