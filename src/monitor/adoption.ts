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
 * - a VM that was wanted running on this boot and has no domain vanished while nobody looked.
 */
export function judgeAdoption(domain: Domain | undefined, memory: PowerMemory, bootId: string): Adoption {
  const { wanted, suspendFile } = memory;
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
