/** The audit trail's words: who did what to what, with which outcome. Types only. */

/** Who acts, as the kernel says of the socket's peer; Usher itself acts as `usher`. */
export interface Actor {
  readonly uid: number;
  readonly pid: number;
  readonly user: string;
  /** The groups that it was in when it connected. For rights; not in the trail. */
  readonly groups?: readonly number[];
}

export type Outcome = 'ok' | 'failed' | 'denied' | 'unknown';

/** What decided that Usher does something by itself. */
export interface Because {
  /** Who or what: `hold`, `assignment`, `rule`, `guard`, `others`, `nothing`; `autostart`. */
  readonly by: string;
  /** The reason, as half a sentence. */
  readonly says: string;
  /** The number of the assignment. */
  readonly assignment?: number;
  /** The name of the rule, or what it is called without one, and where it stands: `policy.yaml:17`. */
  readonly rule?: string;
  readonly at?: string;
}

/** What is the case with the subject, for people and programs that read the trail: `{ state: 'running' }`. */
export type AuditState = Readonly<Record<string, unknown>>;

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
  readonly because?: Because;
  /** What was the case before it began, on an intent. */
  readonly before?: AuditState;
  /** What is the case after it has ended, on an outcome. */
  readonly after?: AuditState;
  readonly outcome?: Outcome;
  /** SHA-256 over the previous row's hash and this row, hex. */
  readonly hash: string;
}

/** What is going to be done, before it has a row. */
export interface Intent {
  readonly actor: Actor;
  readonly action: string;
  readonly vm?: string | undefined;
  readonly device?: string | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly because?: Because | undefined;
  readonly before?: AuditState | undefined;
  /**
   * Set when nothing is done before a further intent is on disk, which flushes this one with it: then this one need not
   * be flushed by itself.
   */
  readonly isCovered?: boolean | undefined;
}

/** What became of an intent, before it has a row. */
export interface Conclusion {
  /** The intent's row number. */
  readonly intent: number;
  readonly outcome: Outcome;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly after?: AuditState | undefined;
}

/** Writes the trail, at once. */
export interface AuditTrail {
  /** The intent is on the disk when this returns, unless it is covered. @throws Fault `audit.unwritable`: then nothing may be done */
  intend(entry: Intent): number;
  /** Never fails for a disk that is full: then the outcome is owed, and written before the next intent is. */
  conclude(
    intent: number,
    outcome: Outcome,
    details?: Readonly<Record<string, unknown>>,
    after?: AuditState | undefined,
  ): void;
}

/** Writes the trail for many who act side by side: what is asked for together goes to the disk together. */
export interface GroupedTrail {
  /** The intent is on the disk when this resolves. @throws Fault `audit.unwritable`: then nothing may be done */
  intend(entry: Intent): Promise<number>;
  /** The outcome is on the disk when this resolves, or owed. */
  conclude(conclusion: Conclusion): Promise<void>;
}
