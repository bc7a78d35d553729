/** The audit trail's words: who did what to what, with which outcome. Types only. */

/** Who acts, as the kernel says of the socket's peer; Usher itself acts as `usher`. */
export interface Actor {
  readonly uid: number;
  readonly pid: number;
  readonly user: string;
}

export type Outcome = 'ok' | 'failed' | 'denied' | 'unknown';

/** One row. An `intent` is written before a step, its `outcome` row after, pointing back to it. */
export interface AuditRow {
  readonly row: number;
  readonly at: number;
  readonly kind: 'intent' | 'outcome';
  /** The intent's row number, on an outcome. */
  readonly intent?: number;
  readonly actor: Actor;
  /** An operation (`vm.start`) or a step (`step.attach`). */
  readonly action: string;
  readonly vm?: string;
  readonly device?: string;
  /** Parameters of an intent; result or error of an outcome. JSON. */
  readonly details: Readonly<Record<string, unknown>>;
  readonly outcome?: Outcome;
  /** SHA-256 over the previous row's hash and this row, hex. */
  readonly hash: string;
}

/** Writes the trail. The intent is on disk when `intend` returns, unless it is covered. */
export interface AuditTrail {
  intend(entry: {
    readonly actor: Actor;
    readonly action: string;
    readonly vm?: string | undefined;
    readonly device?: string | undefined;
    readonly details?: Readonly<Record<string, unknown>> | undefined;
    /**
     * Set when nothing is done before a further intent is on disk, which flushes this one with it: then this one need not
     * be flushed by itself.
     */
    readonly isCovered?: boolean | undefined;
  }): number;
  conclude(intent: number, outcome: Outcome, details?: Readonly<Record<string, unknown>>): void;
}
