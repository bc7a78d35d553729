/** What a xenstored brings to the conformance suite, which is in conformance.ts. */
import type { Duplex } from 'node:stream';

/** What a daemon has beyond what all have; where it has not, the suite looks at its refusal. */
export interface Abilities {
  /** How a directory larger than a packet is told: in parts, in one packet that is too long, or not at all. */
  readonly largeDirectories: 'in parts' | 'in one' | 'refused';
  /** GET_FEATURE, from Xen 4.18 or so on. */
  readonly features: boolean;
  /** GET_QUOTA and SET_QUOTA. */
  readonly quotas: boolean;
  /** The longest payload; the protocol says 4096. */
  readonly payloadBytes: number;
  /** The longest value, if payloads may be longer. */
  readonly valueBytes: number;
  /** RESET_WATCHES. */
  readonly resetWatches: boolean;
  /** The longest path that it takes; xs_wire.h says 3072, the daemons 2048 below a domain's home. */
  readonly pathBytes: number;
  /** A domain that is not there as the owner of a node. */
  readonly ownerMayBeGone: boolean;
  /** Nodes go with the domain that owns them. */
  readonly removesNodesOfDomains: boolean;
}

/** What the C daemon of Xen 4.17 can. */
export const C_XENSTORED_4_17: Abilities = {
  largeDirectories: 'in parts',
  features: false,
  quotas: false,
  payloadBytes: 4096,
  valueBytes: 4096,
  resetWatches: true,
  pathBytes: 2048,
  ownerMayBeGone: false,
  removesNodesOfDomains: true,
};

/** What the OCaml daemon of Xen 4.17 can. */
export const OXENSTORED_4_17: Abilities = {
  ...C_XENSTORED_4_17,
  largeDirectories: 'in one',
  valueBytes: 2048,
  ownerMayBeGone: true,
};

/** Domains that exist as far as the daemon can tell, at the test's command. Numbers from 1 to 63. */
export interface Domains {
  /** Makes a domain that can be introduced. */
  make(domid: number): Promise<void>;
  /** Gives the stream by which an introduced domain talks to the daemon. */
  connect(domid: number): Duplex;
  /** Has a domain shut down, or be destroyed. */
  end(domid: number, options: { readonly isGone: boolean }): Promise<void>;
}

/** One daemon, used by all tests of the suite one after the other; it need not be empty, and others may use it too. */
export interface XenstoreRig {
  /** By what our client reaches it, with dom0's rights: a socket, or the kernel's device. */
  readonly path: string;
  /** Its socket. */
  readonly socket: string;
  readonly can: Abilities;
  /** Tests of what other domains may do are left out without. */
  readonly domains?: Domains;
  close(): Promise<void>;
}
