/** What the verbs and the handling of deaths get to work on: one VM's ends of driver, memory and clock. Types mostly. */
import type { DeathReason, Driver } from '../hypervisor/driver.ts';
import type { Clock } from '../lib/clock.ts';
import { Fault } from '../lib/fault.ts';
import type { VmUuid } from '../model/ids.ts';
import type { DeathAction, PowerState, VmConfig, VmRecord } from '../model/vm.ts';
import type { Bell } from './bell.ts';
import type { RestartMeter } from './restart-meter.ts';
import type { Turn } from './turns.ts';

/** What the inventory remembers for the monitor; it is written as a whole. */
export type PowerMemory = Pick<VmRecord, 'wanted' | 'wantedBoot' | 'suspendFile'>;

/** The inventory's end: both calls are durable when they return. */
export interface PowerRecord {
  read(): PowerMemory;
  write(memory: PowerMemory): void;
}

export interface MonitorTiming {
  /** How long the guest's power button may take to be pressed. */
  readonly shutdownAckMs: number;
  /** How long the guest may take to power off after that. */
  readonly shutdownTimeoutMs: number;
  /** The least time from one start to the next when the VM is started again by itself. */
  readonly minRestartIntervalMs: number;
  /** So many restarts by itself within the window, and no more. */
  readonly maxRestarts: number;
  readonly restartWindowMs: number;
  /** How long a destroy may take. */
  readonly destroyMs: number;
  /** How long what destroy interrupts may take to give up before destroy goes on without it. */
  readonly giveUpMs: number;
}

export const DEFAULT_TIMING: MonitorTiming = {
  shutdownAckMs: 30_000,
  shutdownTimeoutMs: 120_000,
  minRestartIntervalMs: 2_000,
  maxRestarts: 5,
  restartWindowMs: 300_000,
  destroyMs: 30_000,
  giveUpMs: 5_000,
};

export interface DeathNotice {
  readonly reason: DeathReason;
  readonly action: DeathAction;
  readonly detail?: string | undefined;
}

/** The config as it is now, and what was odd about reading it. */
export interface LoadedConfig {
  readonly config: VmConfig;
  readonly warnings: readonly string[];
}

export interface VmContext {
  readonly uuid: VmUuid;
  readonly name: string;
  readonly driver: Driver;
  readonly clock: Clock;
  readonly timing: MonitorTiming;
  readonly record: PowerRecord;
  readonly bootId: string;
  readonly loadConfig: () => Promise<LoadedConfig>;
  /** Rings at each observation. */
  readonly bell: Bell;
  readonly meter: RestartMeter;
  readonly enter: (state: PowerState, why: string) => void;
  readonly warn: (message: string) => void;
  readonly onDeath: (notice: DeathNotice) => void;
}

/**
 * Gives the ends as far as a turn may reach them: once it is left behind, each use throws, so that a call that hung and
 * ends late changes nothing. Take none of the ends out of it over an await. @throws Fault `aborted`, from each use
 */
export function reachOf(vm: VmContext, turn: Turn): VmContext {
  const { uuid, name, clock, timing, bootId, bell } = vm;
  const ends = () => {
    if (turn.isLeft) throw new Fault('aborted', { what: `The work on VM ${name}` });
    return vm;
  };
  return {
    ...{ uuid, name, clock, timing, bootId, bell },
    get driver() {
      return ends().driver;
    },
    get record() {
      return ends().record;
    },
    get meter() {
      return ends().meter;
    },
    loadConfig: () => ends().loadConfig(),
    enter: (state, why) => ends().enter(state, why),
    warn: (message) => ends().warn(message),
    onDeath: (notice) => ends().onDeath(notice),
  };
}

/** Notes what is wanted from now on, as of this boot of the host. */
export function note(vm: VmContext, wanted: PowerMemory['wanted'], suspendFile?: string): void {
  const memory = { wanted, wantedBoot: vm.bootId };
  vm.record.write(suspendFile === undefined ? memory : { ...memory, suspendFile });
}
