/** A driver of one domain that does what a test says, and a monitor around it. For the tests of this room only. */
import { rm } from 'node:fs/promises';
import type { Death, Domain, Driver, SaveOptions, SaveReport, StartOptions, Waiting } from '../../hypervisor/driver.ts';
import { ManualClock } from '../../lib/clock.ts';
import { Fault } from '../../lib/fault.ts';
import { silentLog } from '../../lib/log.ts';
import { parseUuid } from '../../model/ids.ts';
import type { VmConfig } from '../../model/vm.ts';
import { Monitor, type StateChange } from '../monitor.ts';
import type { DeathNotice, MonitorTiming, PowerMemory } from '../vm-context.ts';

export const UUID = parseUuid('0b7b6e35-6d3c-4b5e-9a6c-0a4e4a1f0c11');
export const BOOT = 'boot-now';
type Method =
  | 'find'
  | 'start'
  | 'pause'
  | 'unpause'
  | 'requestShutdown'
  | 'reset'
  | 'destroy'
  | 'save'
  | 'checkSave'
  | 'discardSave';

/** Calls that change no domain: not worth a line among `calls`. */
const LOOKS: ReadonlySet<Method> = new Set<Method>(['find', 'checkSave', 'discardSave']);

/** A call that stands still until the test lets it go. */
interface Hold {
  release(): void;
}

const CONFIG: VmConfig = {
  uuid: UUID,
  name: 'work',
  driver: 'simulator',
  memoryMiB: 64,
  vcpus: 1,
  disks: [],
  startup: { do: 'started' },
  onCrash: 'destroy',
  onHalt: 'destroy',
  onReboot: 'restart',
  usbControllers: [],
};

const unused = (): never => {
  throw new Error('the monitor has no business here');
};

export class ScriptedDriver implements Driver {
  readonly name = 'simulator';
  readonly calls: string[] = [];
  domain: Domain | undefined;
  /** Paths of whole save files. */
  readonly saves = new Set<string>();
  canSaveLive = true;
  /** What the guest does when its power button is pressed. */
  onPowerButton: () => void = () => this.die({ reason: 'halt' });
  /** At this point, counted from 1, before or after an effect, calls stop for ever: the daemon is killed there. */
  killAt = Number.POSITIVE_INFINITY;
  points = 0;
  readonly #holds = new Map<Method, { readonly until: Promise<void>; readonly isDeaf: boolean }[]>();
  readonly #failures = new Map<Method, Error[]>();

  readonly diagnose = unused;
  readonly list = unused;
  readonly attachDevice = unused;
  readonly detachDevice = unused;
  readonly changeMedium = unused;
  readonly setMemoryTarget = unused;
  readonly trigger = unused;
  readonly findVnc = unused;
  readonly consoleOf = unused;
  readonly onHint = unused;
  readonly close = unused;

  /** Has the next call of the method wait; one that is deaf does not care for its signal, before or after. */
  hold(method: Method, isDeaf = false): Hold {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#holds.set(method, [...(this.#holds.get(method) ?? []), { until: promise, isDeaf }]);
    return { release: resolve };
  }

  /** Has the next call of the method fail. */
  fail(method: Method, error: Error): void {
    this.#failures.set(method, [...(this.#failures.get(method) ?? []), error]);
  }

  /** Has the next call of the method fail as a hypervisor does. */
  failOnce(method: Method): void {
    this.fail(method, new Fault('hypervisor.failed', { what: 'it has its reasons' }));
  }

  /** Has nothing wait or fail any more. */
  heal(): void {
    this.#holds.clear();
    this.#failures.clear();
  }

  run(run: 'running' | 'paused' | 'saving'): void {
    this.domain = { uuid: UUID, name: 'work', handle: 1, run, controllers: [], attachments: [] };
  }

  die(death: Death): void {
    if (this.domain !== undefined) this.domain = { ...this.domain, run: 'dead', death };
  }

  vanish(): void {
    this.domain = undefined;
  }

  async find(_uuid: string, waiting: Waiting = {}): Promise<Domain | undefined> {
    await this.#step('find', waiting.signal);
    return this.domain;
  }

  async start(_config: VmConfig, options: StartOptions): Promise<Domain> {
    await this.#step('start', options.signal);
    if (this.domain !== undefined) throw new Fault('vm.exists', { key: 'uuid', value: UUID });
    if (options.restoreFrom !== undefined && !this.saves.has(options.restoreFrom)) {
      throw new Fault('vm.save_invalid', { file: options.restoreFrom, what: 'it is not there' });
    }
    this.run(options.isPaused ? 'paused' : 'running');
    await this.#point();
    return this.#living();
  }

  async pause(_uuid: string, waiting: Waiting = {}): Promise<void> {
    await this.#step('pause', waiting.signal);
    this.domain = { ...this.#living(), run: 'paused' };
    await this.#point();
  }

  async unpause(_uuid: string, waiting: Waiting = {}): Promise<void> {
    await this.#step('unpause', waiting.signal);
    this.domain = { ...this.#living(), run: 'running' };
    await this.#point();
  }

  async requestShutdown(_uuid: string, waiting: Waiting = {}): Promise<void> {
    await this.#step('requestShutdown', waiting.signal);
    this.#living();
    this.onPowerButton();
    await this.#point();
  }

  async reset(_uuid: string, waiting: Waiting = {}): Promise<void> {
    await this.#step('reset', waiting.signal);
    this.#living();
  }

  async destroy(_uuid: string, waiting: Waiting = {}): Promise<void> {
    await this.#step('destroy', waiting.signal);
    this.domain = undefined;
    await this.#point();
  }

  async save(_uuid: string, path: string, options: SaveOptions): Promise<SaveReport> {
    await this.#step('save', options.signal);
    this.#living();
    options.onProgress?.(100, 100);
    this.saves.add(path);
    await this.#point();
    options.onWritten?.();
    await this.#point();
    if (options.afterwards === 'stopped') this.domain = undefined;
    await this.#point();
    return { pausedMs: 1_250, isLive: this.canSaveLive && options.isLive === true, warnings: [] };
  }

  async checkSave(_uuid: string, _path: string, { signal }: Waiting): Promise<void> {
    await this.#step('checkSave', signal);
    this.#living();
  }

  async discardSave(_uuid: string, path: string): Promise<void> {
    await this.#step('discardSave', undefined);
    this.saves.delete(path);
    await rm(path, { force: true });
  }

  async #step(method: Method, signal: AbortSignal | undefined): Promise<void> {
    await this.#point();
    if (!LOOKS.has(method)) this.calls.push(method);
    const held = this.#holds.get(method)?.shift();
    if (held?.isDeaf) return await held.until;
    if (held !== undefined) await Promise.race([held.until, aborted(signal)]);
    const failure = this.#failures.get(method)?.shift();
    if (failure !== undefined) throw failure;
    signal?.throwIfAborted();
  }

  async #point(): Promise<void> {
    this.points++;
    if (this.points >= this.killAt) await new Promise(() => undefined);
  }

  #living(): Domain {
    if (this.domain === undefined || this.domain.run === 'dead') throw new Fault('vm.no_domain', { vm: 'work' });
    return this.domain;
  }
}

export interface Rig {
  readonly monitor: Monitor;
  readonly driver: ScriptedDriver;
  readonly clock: ManualClock;
  readonly changes: StateChange[];
  readonly deaths: DeathNotice[];
  readonly warnings: string[];
  memory: PowerMemory;
  config: VmConfig;
  /** How often the config was read. */
  reads: number;
}

export const TIMING: MonitorTiming = {
  shutdownAckMs: 1_000,
  shutdownTimeoutMs: 10_000,
  minRestartIntervalMs: 2_000,
  maxRestarts: 3,
  restartWindowMs: 60_000,
  destroyMs: 20_000,
  giveUpMs: 5_000,
};

/** Makes a monitor of a halted VM; `driver` is that of an earlier rig when a daemon is to come after another. */
export function makeRig(
  config: Partial<VmConfig> = {},
  memory: Partial<PowerMemory> = {},
  driver = new ScriptedDriver(),
) {
  const clock = new ManualClock();
  const changes: StateChange[] = [];
  const deaths: DeathNotice[] = [];
  const warnings: string[] = [];
  const monitor = new Monitor({
    uuid: UUID,
    name: 'work',
    driver,
    clock,
    log: {
      ...silentLog,
      error: (message, fields) => {
        warnings.push(`BUG: ${message} ${String(fields?.['error'])}`);
      },
    },
    bootId: BOOT,
    timing: TIMING,
    record: {
      read: () => rig.memory,
      write: (next) => {
        rig.memory = next;
      },
    },
    loadConfig: async () => {
      rig.reads++;
      return { config: rig.config, warnings: [] };
    },
    onState: (change) => changes.push(change),
    onDeath: (notice) => deaths.push(notice),
    onWarning: (message) => warnings.push(message),
  });
  const rig: Rig = {
    monitor,
    driver,
    clock,
    changes,
    deaths,
    warnings,
    memory: { wanted: 'halted', wantedBoot: BOOT, ...memory },
    config: { ...CONFIG, ...config },
    reads: 0,
  };
  return rig;
}

/** Makes a monitor of a VM that runs. */
export async function makeRunningRig(config: Partial<VmConfig> = {}): Promise<Rig> {
  const rig = makeRig(config);
  await rig.monitor.perform('start');
  rig.changes.length = 0;
  rig.driver.calls.length = 0;
  return rig;
}

/** Tells the monitor what is so, and lets what follows from it happen as far as no time passes. */
export async function observe(rig: Rig): Promise<void> {
  rig.monitor.observe(rig.driver.domain);
  await settle();
}

/** Lets promises settle. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve));
}

function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener('abort', () => reject(new Fault('aborted', { what: 'The call' })), { once: true });
  });
}
