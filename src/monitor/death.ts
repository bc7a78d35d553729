/** What is done about a death that nobody commanded: onHalt, onReboot, onCrash, and where a crash loop ends. */
import type { Death, DeathReason, Domain } from '../hypervisor/driver.ts';
import { sleep } from '../lib/clock.ts';
import { messageOf } from '../lib/fault.ts';
import type { DeathAction, VmConfig } from '../model/vm.ts';
import { bringUp } from './verbs.ts';
import { note, type VmContext } from './vm-context.ts';

type PolicyKey = 'onHalt' | 'onReboot' | 'onCrash';

/** A domain that is gone without a word is as bad as a crash; one that somebody else saved has halted, to us. */
const POLICY: Readonly<Record<DeathReason, PolicyKey>> = {
  halt: 'onHalt',
  reboot: 'onReboot',
  crash: 'onCrash',
  suspend: 'onHalt',
  vanished: 'onCrash',
};

/**
 * Does what the VM's config, as it is now, says about the death; `remains` is the dead domain, if one is left. Runs in
 * the VM's turn. @throws the signal's reason when it is given up; else it always comes to a state of rest.
 */
export async function handleDeath(vm: VmContext, remains: Domain | undefined, signal: AbortSignal): Promise<void> {
  const { reason, detail, savedTo }: Death = remains?.death ?? { reason: 'vanished' };
  if (savedTo !== undefined) return endSuspend(vm, savedTo, signal);
  const key = POLICY[reason];
  const action = await chooseAction(vm, key);
  const why = `${reason}, ${key}=${action}`;
  vm.onDeath({ reason, action, detail });
  try {
    if (action === 'restart') await startAgain(vm, remains, why, signal);
    else if (action === 'destroy') await clear(vm, remains, why, signal);
    else vm.enter(key === 'onCrash' ? 'crashed' : 'halted', why);
  } catch (error) {
    signal.throwIfAborted();
    vm.warn(`What was left of VM ${vm.name} could not be cleared: ${messageOf(error)}`);
    vm.enter('crashed', why);
  }
}

/** Brings a suspend to its end that a former daemon had written but not noted: nothing of the guest is lost. */
async function endSuspend(vm: VmContext, file: string, signal: AbortSignal): Promise<void> {
  note(vm, 'suspended', file);
  vm.enter('suspending', 'its save is whole');
  await vm.driver.destroy(vm.uuid, { signal });
  vm.enter('suspended', 'its save is whole');
}

async function chooseAction(vm: VmContext, key: PolicyKey): Promise<DeathAction> {
  try {
    const config: VmConfig = (await vm.loadConfig()).config;
    return config[key];
  } catch (error) {
    vm.warn(`VM ${vm.name} died and is left as it is, for its config cannot be read: ${messageOf(error)}`);
    return 'preserve';
  }
}

async function clear(vm: VmContext, remains: Domain | undefined, why: string, signal: AbortSignal): Promise<void> {
  if (remains !== undefined) {
    vm.enter('stopping', why);
    await vm.driver.destroy(vm.uuid, { signal });
  }
  note(vm, 'halted');
  vm.enter('halted', why);
}

/** Starts the VM again, and again when that fails, until the meter says that it is enough. */
async function startAgain(vm: VmContext, remains: Domain | undefined, why: string, signal: AbortSignal): Promise<void> {
  for (let left = remains; ; left = undefined) {
    const waitMs = vm.meter.nextWaitMs();
    if (waitMs === undefined) return giveUp(vm, why);
    if (left !== undefined) {
      vm.enter('stopping', why);
      await vm.driver.destroy(vm.uuid, { signal });
    }
    vm.enter('starting', why);
    if (waitMs > 0) await sleep(vm.clock, waitMs, signal);
    signal.throwIfAborted();
    vm.meter.noteRestart();
    const warnings: string[] = [];
    try {
      await bringUp(vm, { args: {}, signal, warnings, onProgress: () => undefined });
      for (const warning of warnings) vm.warn(warning);
      return vm.enter('running', why);
    } catch (error) {
      signal.throwIfAborted();
      vm.warn(`VM ${vm.name} could not be started again: ${messageOf(error)}`);
    }
  }
}

/** Leaves the VM alone. What is left of its last domain stays for inspection until it is started or destroyed. */
function giveUp(vm: VmContext, why: string): void {
  const { maxRestarts, restartWindowMs } = vm.timing;
  note(vm, 'halted');
  vm.enter('crashed', `${why}, too often`);
  vm.warn(
    `VM ${vm.name} was started again ${maxRestarts} times within ${restartWindowMs / 1000} s and died each time: ` +
      'it is left alone now. Read its log, then start it.',
  );
}
