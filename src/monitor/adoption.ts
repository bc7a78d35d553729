/** What a daemon that comes up makes of a domain (or none) and of what its predecessor noted. Pure. */
import type { Domain } from '../hypervisor/driver.ts';
import type { PowerState } from '../model/vm.ts';
import { isLiving, stateOf } from './states.ts';
import type { PowerMemory } from './vm-context.ts';

export interface Adoption {
  /** The state to begin with. */
  readonly state: PowerState;
  /** What remains to be done: go by the death policy, or clear the remains, leaving the VM in that state. */
  readonly todo?: 'handle-death' | 'clear-remains';
  readonly leaving?: PowerState;
  /** What the memory is corrected to, as of this boot. */
  readonly wanted?: PowerMemory['wanted'];
  readonly warning?: string;
}

/**
 * Judges what is found. The verbs note things in such an order that a daemon killed at any point of any of them is
 * understood here:
 * - a save that is noted is whole, and its domain is ended unless it runs (restore had begun, the guest goes on);
 * - a save that is not noted did not happen: its domain goes on;
 * - a restore that is noted had not come to a whole domain: unless one lives, the VM is as it was before, and is never
 *   booted instead;
 * - a VM that was wanted running on this boot and has no domain vanished while nobody looked.
 */
export function judgeAdoption(domain: Domain | undefined, memory: PowerMemory, bootId: string): Adoption {
  const { wanted, suspendFile } = memory;
  if (wanted === 'restored') return judgeCutOffRestore(domain, suspendFile);
  if (domain?.run !== 'running' && wanted === 'suspended' && suspendFile !== undefined) {
    return domain === undefined
      ? { state: 'suspended' }
      : { state: 'suspending', todo: 'clear-remains', leaving: 'suspended' };
  }
  if (isLiving(domain)) {
    const state = stateOf(domain);
    if (suspendFile === undefined) return wanted === 'running' ? { state } : { state, wanted: 'running' };
    const warning = `The save file ${suspendFile} was left, and is of no use: the VM has gone on since.`;
    return { state, wanted: 'running', warning };
  }
  if (domain !== undefined) {
    return wanted === 'halted'
      ? { state: 'stopping', todo: 'clear-remains', leaving: 'halted' }
      : { state: 'halted', todo: 'handle-death' };
  }
  if (suspendFile !== undefined) return { state: 'suspended', wanted: 'suspended' };
  if (wanted === 'running' && memory.wantedBoot === bootId) return { state: 'halted', todo: 'handle-death' };
  return { state: 'halted' };
}

/** A restored guest has not run an instruction while `restored` is noted, so its save is as good as ever. */
function judgeCutOffRestore(domain: Domain | undefined, suspendFile: string | undefined): Adoption {
  if (isLiving(domain)) {
    const state = stateOf(domain);
    const left = suspendFile === undefined ? '' : ` The save file ${suspendFile} was left.`;
    return { state, wanted: 'running', warning: `The restore was cut off near its end: the VM is ${state}.${left}` };
  }
  const before = suspendFile === undefined ? 'halted' : 'suspended';
  const rest = { wanted: before, warning: `The restore was cut off: the VM is ${before}, as it was before.` } as const;
  if (domain === undefined) return { state: before, ...rest };
  const state = suspendFile === undefined ? 'stopping' : 'suspending';
  return { state, todo: 'clear-remains', leaving: before, ...rest };
}
