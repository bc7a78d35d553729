/** What each verb does to the driver and to the memory of the inventory. The states around it are monitor.ts's business. */
import type { Domain, SaveReport, StartOptions } from '../hypervisor/driver.ts';
import { withDeadline } from '../lib/deadline.ts';
import { Fault, isFault, messageOf } from '../lib/fault.ts';
import type { PowerState, VmConfig } from '../model/vm.ts';
import { isLiving, stateOf, type Verb } from './states.ts';
import { note, type VmContext } from './vm-context.ts';

export interface VerbArgs {
  /** start, restore: leave the domain paused. */
  readonly isPaused?: boolean | undefined;
  /** suspend, checkpoint: where to save; restore: from where, if not from where it was suspended to. Absolute. */
  readonly file?: string | undefined;
  /** restore: keep the save file. */
  readonly isKept?: boolean | undefined;
  /** suspend, checkpoint: let the guest run while its memory is copied. Default: the driver's choice (SaveOptions). */
  readonly isLive?: boolean | undefined;
  /** checkpoint: save though a disk gets no snapshot; restore: go on though a disk has changed, and revert none. */
  readonly disks?: 'ignore' | undefined;
  /** restart: end the domain instead of asking the guest. */
  readonly isForced?: boolean | undefined;
  /** shutdown, restart: how long the guest may take to power off; otherwise what the settings say. */
  readonly timeoutMs?: number | undefined;
}

/** One verb on its way. */
export interface VerbTurn {
  readonly verb: Verb;
  readonly args: VerbArgs;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number, ofBytes: number | undefined) => void;
  readonly warnings: string[];
  /** The state that the VM is left in when the verb fails from here on. */
  base: PowerState;
  /** The save file that was written or read. */
  file?: string;
  /** How long the guest stood still for its save, in milliseconds. */
  pausedMs?: number;
}

/** How often a domain is looked at while its end is awaited, should the hint of it be lost. */
const LOOK_MS = 2_000;

/** What is looked at before anything is touched, the devices of the VM too; what it throws refuses the verb. */
export const CHECKS: { readonly [V in Verb]?: (vm: VmContext, turn: VerbTurn) => Promise<void> } = {
  async suspend(vm, turn) {
    await vm.driver.checkSave(vm.uuid, neededFile(turn), { afterwards: 'stopped', signal: turn.signal });
  },

  async checkpoint(vm, turn) {
    const { signal, args } = turn;
    const { disks } = args;
    await vm.driver.checkSave(vm.uuid, neededFile(turn), { afterwards: 'running', disks, signal });
  },
};

/** Every verb once. Each resolves when the state that the table promises is reached. */
export const EXECUTORS: { readonly [V in Verb]: (vm: VmContext, turn: VerbTurn) => Promise<void> } = {
  start(vm, turn) {
    vm.meter.clear();
    return turn.base === 'suspended' ? bringBack(vm, turn) : bringUp(vm, turn);
  },

  restore: bringBack,

  pause: (vm, { signal }) => vm.driver.pause(vm.uuid, { signal }),

  unpause: (vm, { signal }) => vm.driver.unpause(vm.uuid, { signal }),

  reset: (vm, { signal }) => vm.driver.reset(vm.uuid, { signal }),

  async suspend(vm, turn) {
    const file = neededFile(turn);
    const { signal, onProgress, args } = turn;
    const { isLive } = args;
    const before = vm.record.read();
    let isWritten = false;
    const onWritten = () => {
      note(vm, 'suspended', file);
      isWritten = true;
    };
    try {
      const options = { afterwards: 'stopped', isLive, signal, onProgress, onWritten } as const;
      tellOfSave(vm, turn, await vm.driver.save(vm.uuid, file, options));
    } catch (error) {
      // Once the file is whole, a domain that does not run is what is left of it, as at adoption.
      const isOver = isWritten && (await vm.driver.find(vm.uuid))?.run !== 'running';
      if (!isOver) {
        vm.record.write(before);
        throw error;
      }
    }
    if (!isWritten) onWritten();
    await vm.driver.destroy(vm.uuid);
  },

  async checkpoint(vm, turn) {
    const file = neededFile(turn);
    const { signal, onProgress, args } = turn;
    const { isLive, disks } = args;
    const options = { afterwards: 'running', isLive, disks, signal, onProgress } as const;
    tellOfSave(vm, turn, await vm.driver.save(vm.uuid, file, options));
  },

  async shutdown(vm, turn) {
    const before = vm.record.read();
    note(vm, 'halted');
    try {
      await powerOff(vm, turn);
    } catch (error) {
      vm.record.write(before);
      throw error;
    }
  },

  async restart(vm, turn) {
    vm.meter.clear();
    if (turn.base === 'running') {
      if (turn.args.isForced) await vm.driver.destroy(vm.uuid, { signal: turn.signal });
      else await powerOff(vm, turn);
      turn.base = 'halted';
    }
    vm.enter('starting', turn.verb);
    await bringUp(vm, turn);
  },

  async destroy(vm, { signal }) {
    const { uuid, name, clock, timing } = vm;
    const before = vm.record.read();
    note(vm, 'halted');
    try {
      const deadline = { what: `The end of VM ${name}`, timeoutMs: timing.destroyMs, signal, clock };
      await withDeadline(deadline, (signal) => vm.driver.destroy(uuid, { signal }));
    } catch (error) {
      // After a timeout the end may come yet: then it was wanted.
      if (!isFault(error, 'timeout')) vm.record.write(before);
      throw error;
    }
    vm.meter.clear();
  },
};

/** What bringing a VM up needs of a turn; a restart by itself has no verb. */
export type BringUpTurn = Pick<VerbTurn, 'args' | 'signal' | 'onProgress' | 'warnings'>;

/** Starts the VM from its config as it is now. When it fails, no domain is left. @throws what `Driver.start` throws */
export async function bringUp(vm: VmContext, turn: BringUpTurn): Promise<void> {
  // The wish comes first: a daemon that dies in the middle finds it and no domain, and goes by onCrash.
  note(vm, 'running');
  try {
    await createDomain(vm, turn, { isPaused: turn.args.isPaused ?? false });
  } catch (error) {
    note(vm, 'halted');
    throw error;
  }
}

/** Restores the VM from its save file. When the domain cannot be created, VM and file are as before. */
async function bringBack(vm: VmContext, turn: VerbTurn): Promise<void> {
  const before = vm.record.read();
  const file = turn.args.file ?? before.suspendFile;
  if (file === undefined) {
    throw new Fault('params.invalid', { field: 'file', what: 'a VM that is not suspended needs a save file' });
  }
  turn.file = file;
  // No death policy may ever boot what was to be restored: until the domain is whole, nobody wants it running.
  note(vm, 'restored', before.suspendFile);
  try {
    await createDomain(vm, turn, { isPaused: true, restoreFrom: file, disks: turn.args.disks });
  } catch (error) {
    vm.record.write(before);
    throw error;
  }
  turn.base = 'paused';
  // The save is forgotten before the guest's first instruction: its memory must never meet disks that have changed.
  note(vm, 'running');
  if (!turn.args.isPaused) await vm.driver.unpause(vm.uuid, { signal: turn.signal });
  if (before.suspendFile !== undefined && before.suspendFile !== file) {
    turn.warnings.push(`VM ${vm.name} was suspended to ${before.suspendFile}; that file stays and is no longer used.`);
  }
  if (turn.args.isKept) return;
  if (turn.args.isPaused) {
    turn.warnings.push(`The save file ${file} stays, for the guest does not run yet; remove it when it does.`);
  } else await removeSave(vm, file, turn);
}

async function createDomain(
  vm: VmContext,
  turn: BringUpTurn,
  how: Pick<StartOptions, 'isPaused' | 'restoreFrom' | 'disks'>,
) {
  const { signal, onProgress } = turn;
  const left = await vm.driver.find(vm.uuid, { signal });
  if (isLiving(left)) {
    throw new Fault('vm.state', { verb: 'start', vm: vm.name, state: stateOf(left), expected: 'halted' });
  }
  if (left !== undefined) await vm.driver.destroy(vm.uuid, { signal });
  const config = await readConfig(vm, turn);
  signal.throwIfAborted();
  vm.meter.noteStart();
  const onWarning = (sentence: string) => turn.warnings.push(sentence);
  await vm.driver.start(config, { ...how, signal, onProgress, onWarning });
}

async function readConfig(vm: VmContext, turn: BringUpTurn): Promise<VmConfig> {
  const { config, warnings } = await vm.loadConfig();
  turn.warnings.push(...warnings);
  return config;
}

/** Asks the guest to power off and clears what is left of it. This owns the death, whatever its reason. */
async function powerOff(vm: VmContext, turn: VerbTurn): Promise<void> {
  await requestPowerOff(vm, turn);
  const remains = await untilDead(vm, turn);
  const reason = remains?.death?.reason ?? 'halt';
  if (reason === 'crash') turn.warnings.push(`VM ${vm.name} crashed while it was shutting down.`);
  await vm.driver.destroy(vm.uuid);
}

async function requestPowerOff(vm: VmContext, turn: VerbTurn): Promise<void> {
  const { clock, timing, name } = vm;
  const what = `The shutdown request to VM ${name}`;
  try {
    await withDeadline({ what, timeoutMs: timing.shutdownAckMs, signal: turn.signal, clock }, (signal) =>
      vm.driver.requestShutdown(vm.uuid, { signal }),
    );
  } catch (error) {
    // It died by itself a moment ago: that is what was asked for.
    if (!isFault(error, 'vm.no_domain')) throw error;
  }
}

async function untilDead(vm: VmContext, turn: VerbTurn): Promise<Domain | undefined> {
  const timeoutMs = turn.args.timeoutMs ?? vm.timing.shutdownTimeoutMs;
  const deadline = { what: `The shutdown of VM ${vm.name}`, timeoutMs, signal: turn.signal, clock: vm.clock };
  try {
    return await withDeadline(deadline, async (signal) => {
      for (;;) {
        const rings = vm.bell.rings;
        const domain = await vm.driver.find(vm.uuid, { signal }).catch(() => 'unknown' as const);
        if (domain !== 'unknown' && !isLiving(domain)) return domain;
        await vm.bell.wait(rings, vm.clock, LOOK_MS, signal);
      }
    });
  } catch (error) {
    if (!isFault(error, 'timeout')) throw error;
    const hint = 'It goes on running. Destroy it to end it at once, or give it more time.';
    throw new Fault('vm.shutdown_timeout', { vm: vm.name, seconds: timeoutMs / 1000 }, { hint, cause: error });
  }
}

function neededFile(turn: VerbTurn): string {
  const { file } = turn.args;
  if (file === undefined) throw new Fault('params.invalid', { field: 'file', what: `"${turn.verb}" needs a file` });
  turn.file = file;
  return file;
}

async function removeSave(vm: VmContext, file: string, turn: VerbTurn): Promise<void> {
  try {
    await vm.driver.discardSave(vm.uuid, file);
  } catch (error) {
    turn.warnings.push(`The save file ${file}, or what belongs to it, could not be removed: ${messageOf(error)}`);
  }
}

/** Takes over what a save was like; who asked for a live one and got none is told how long the guest stood still. */
function tellOfSave({ name }: VmContext, turn: VerbTurn, { pausedMs, isLive, warnings }: SaveReport): void {
  turn.pausedMs = pausedMs;
  turn.warnings.push(...warnings);
  if (turn.args.isLive !== true || isLive) return;
  const seconds = (pausedMs / 1000).toFixed(1);
  turn.warnings.push(`VM ${name} stood still for ${seconds} s: here a guest cannot run while its memory is copied.`);
}
