/** What this host does with a device at the moment, told to people when the device is asked for. Types only. */
import type { InputKind } from './input-claims.ts';

/**
 * `boot disk`: the running system is on it. `held`: a layer of the kernel has it open (device mapper, RAID, a loop device,
 * ZFS), mounted or not.
 */
export type UseKind = 'boot disk' | 'mounted' | 'swap' | 'held' | 'network' | 'keyboard' | 'pointer';

/**
 * Why a device is kept back though somebody wants it: what the host does with it, or that it may be somebody's hand.
 * `last …`: the host has it, and nothing else of the kind. `missed …`: a VM has it, and the host nothing of the kind.
 */
export type ObjectionKind = UseKind | 'input' | `${'last' | 'missed'} ${InputKind}`;

export interface Objection {
  readonly kind: ObjectionKind;
  /** The half of a sentence, safe to print. */
  readonly says: string;
}

export interface HostUse {
  readonly kind: UseKind;
  /** The half of a sentence, safe to print: `sdb1 is mounted at /media/stick`. */
  readonly detail: string;
}
