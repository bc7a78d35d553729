/**
 * The audit trail: who did what to what, in audit.db. Rows are only ever added, and each carries the hash of the one
 * before it, so that a row that is changed, removed or moved later is found. Not a log: no row may be lost.
 */
import type { AuditVerification } from '../api/views.ts';
import { canonicalJson } from '../lib/canonical-json.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { Fault, isFault, messageOf } from '../lib/fault.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { type Database, openDatabase, type SqlValue, type Statement } from '../lib/sqlite.ts';
import { listWords } from '../lib/text.ts';
import type { AuditRow, AuditState, AuditTrail, Conclusion, Intent, Outcome } from '../model/audit.ts';
import { ChainCheck, chain, FIRST_LINK, type Link, type Proof, type StoredRow } from './audit-chain.ts';
import { AUDIT_MIGRATIONS } from './audit-schema.ts';

export interface AuditFilter {
  /** Rows about a VM by any of these names. */
  readonly vm?: readonly string[];
  readonly device?: string;
  /** Rows from this time on, in milliseconds since 1970. */
  readonly since?: number;
  /** The oldest rows after this number, instead of the newest of all: for reading on. */
  readonly after?: number;
  /** So many rows. Default 1000. */
  readonly limit?: number;
}

export interface AuditLogOptions {
  readonly clock?: Clock;
  readonly log?: Log;
  /** How long to wait for another process that writes. Default 5000. */
  readonly busyTimeoutMs?: number;
  /** To look at it only. */
  readonly isReadOnly?: boolean;
}

/** A row as it is written: the hash is over its canonical JSON. */
type Entry = Omit<AuditRow, 'hash'>;
type Listener = (row: AuditRow) => void;
type Ending = Conclusion & { readonly details: Readonly<Record<string, unknown>>; readonly at: number };

const SELECT = 'SELECT row, body, hash FROM entry';
/** Rows that are verified in one go, before others get their turn. */
const VERIFY_BATCH = 500;
/** So often what is owed is tried again, when nothing else is begun meanwhile. */
const OWED_RETRY_MS = 10_000;

/**
 * INVARIANTS: rows are numbered from 1 without a gap; a row's hash is SHA-256 over the hash before it, a line feed and
 * its body, the canonical JSON of all but the hash; head and row are read and written in one transaction, so that two
 * processes make one chain; a row is on the disk when the call that wrote it returns. An outcome that could not be written
 * is owed: it is written before the next intent is, or that one is refused; and by itself when that can be done again.
 */
export class AuditLog implements AuditTrail {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #statements: ReturnType<typeof prepareAll>;
  readonly #listeners = new Set<Listener>();
  #owed: readonly Ending[] = [];
  #cancelRetry = () => {};

  /** Opens the trail. @throws Fault as `openDatabase` */
  constructor(path: string, { clock = systemClock, log = silentLog, ...options }: AuditLogOptions = {}) {
    this.#clock = clock;
    this.#log = log;
    this.#database = openDatabase(path, { migrations: AUDIT_MIGRATIONS, synchronous: 'full', ...options });
    this.#statements = prepareAll(this.#database);
  }

  /** Writes what is going to be done; gives the number of the row. @throws Fault `audit.unwritable` */
  intend(entry: Intent): number {
    const [row] = this.intendAll([entry]);
    if (row === undefined) throw new RangeError('an intent has no row');
    return row;
  }

  /**
   * Writes what is going to be done, all or nothing, with one flush, which is left out when all are covered; gives the
   * numbers of the rows. @throws Fault `audit.unwritable`
   */
  intendAll(entries: readonly Intent[]): number[] {
    const write = entries.every(({ isCovered }) => isCovered) ? this.#database.unflushed : this.#database.transaction;
    try {
      const { ended, begun } = write(() => ({
        ended: this.#end(this.#owed),
        begun: entries.map((e) => this.#begin(e)),
      }));
      this.#owed = [];
      this.#tell([...ended, ...begun]);
      return begun.map(({ row }) => row);
    } catch (error) {
      if (!isUnwritable(error)) throw error;
      const operation = listWords([...new Set(entries.map(({ action }) => action))], 'and');
      const hint =
        'Nothing is done that cannot be audited. Make room on the disk; usher doctor says how much there is.';
      throw new Fault('audit.unwritable', { operation, what: messageOf(error) }, { cause: error, hint });
    }
  }

  /** Writes what became of an intent; when that cannot be done now, it is owed. A second outcome of an intent is a bug. */
  conclude(
    intent: number,
    outcome: Outcome,
    details: Readonly<Record<string, unknown>> = {},
    after?: AuditState | undefined,
  ): void {
    this.concludeAll([{ intent, outcome, details, after }]);
  }

  /** Writes what became of intents with one flush; when that cannot be done now, all of it is owed. */
  concludeAll(conclusions: readonly Conclusion[]): void {
    const closed = new Set(this.#owed.map(({ intent }) => intent));
    for (const { intent } of conclusions) {
      if (closed.has(intent) || this.#statements.isOpen.get(intent) === undefined) {
        throw new RangeError(`audit row ${intent} is no intent that waits for its outcome`);
      }
      closed.add(intent);
    }
    const at = this.#clock.now();
    const endings = conclusions.map(({ details = {}, ...rest }) => ({ ...rest, details, at }));
    const error = this.#writeOrOwe([...this.#owed, ...endings]);
    if (error !== undefined) {
      const intents = conclusions.map(({ intent }) => intent);
      this.#log.error('outcomes cannot be written into the audit trail yet', { intents, error });
    }
  }

  /** Writes outcomes, or gives why that cannot be done now: then they are owed, and tried again later. */
  #writeOrOwe(endings: readonly Ending[]): unknown {
    this.#cancelRetry();
    try {
      const rows = this.#database.transaction(() => this.#end(endings));
      this.#owed = [];
      this.#tell(rows);
      return undefined;
    } catch (error) {
      if (!isUnwritable(error)) throw error;
      this.#owed = endings;
      this.#cancelRetry = this.#clock.after(OWED_RETRY_MS, () => this.#retryOwed());
      return error;
    }
  }

  #retryOwed(): void {
    try {
      if (this.#owed.length > 0) this.#writeOrOwe(this.#owed);
    } catch (error) {
      this.#log.error('an outcome cannot be written into the audit trail', { error });
    }
  }

  /** How many outcomes could not be written so far. */
  get owed(): number {
    return this.#owed.length;
  }

  /** Calls the listener with every row that this process writes from now on; the function it returns ends that. */
  onRow(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Lists the intents that have no outcome: whoever wrote them died on the way, or is still at it. */
  openIntents(): AuditRow[] {
    return this.#statements.listOpen.all().map(toRow);
  }

  /** Lists rows, oldest first. @throws Fault `audit.broken` when one cannot be read */
  list({ vm, device, since, after, limit = 1000 }: AuditFilter = {}): AuditRow[] {
    const conditions: [sql: string, value: SqlValue][] = [];
    if (vm !== undefined) conditions.push(['vm IN (SELECT value FROM json_each(?))', JSON.stringify(vm)]);
    if (device !== undefined) conditions.push(['device = ?', device]);
    if (since !== undefined) conditions.push(['at >= ?', since]);
    if (after !== undefined) conditions.push(['row > ?', after]);
    const where = conditions.map(([sql]) => sql).join(' AND ') || 'TRUE';
    const order = after === undefined ? 'DESC' : 'ASC';
    const select = this.#database.prepare<StoredRow>(`${SELECT} WHERE ${where} ORDER BY row ${order} LIMIT ?`);
    const rows = select.all(...conditions.map(([, value]) => value), limit).map(toRow);
    return after === undefined ? rows.reverse() : rows;
  }

  /** Gives the number and the hash of the newest row; 0 and zeros when there is none. */
  head(): Link {
    const { row, hash } = this.#statements.head.get() ?? FIRST_LINK;
    return { row, hash };
  }

  /** Checks the whole chain, and whether it still is what is known of it from outside. Others get their turn meanwhile. */
  async verify(proof: Proof = {}): Promise<AuditVerification> {
    const check = new ChainCheck(proof);
    for (;;) {
      const batch = this.#statements.after.all(check.last.row, VERIFY_BATCH);
      if (!batch.every((stored) => check.take(stored)) || batch.length < VERIFY_BATCH) return check.verdict();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  close(): void {
    this.#cancelRetry();
    try {
      if (this.#owed.length > 0) this.#database.transaction(() => this.#end(this.#owed));
    } catch (error) {
      this.#log.error('outcomes are missing in the audit trail', { rows: this.#owed.length, error });
    }
    this.#database.close();
  }

  /** Writes outcomes; legal in a transaction. */
  #end(endings: readonly Ending[]): AuditRow[] {
    return endings.flatMap(({ intent, outcome, details, after, at }) => {
      const stored = this.#statements.get.get(intent);
      // Another process may have closed it: what a daemon leaves open, the next one closes.
      if (stored === undefined || this.#statements.close.run(intent).changes === 0) return [];
      const { actor, action, vm, device } = toRow(stored);
      return [this.#append({ kind: 'outcome', intent, actor, action, vm, device, details, after, outcome, at })];
    });
  }

  /** Writes an intent; legal in a transaction. */
  #begin({ actor, action, vm, device, details = {}, because, before }: Intent): AuditRow {
    const { uid, pid, user } = actor;
    const told = { actor: { uid, pid, user }, action, vm, device, details, because, before };
    const begun = this.#append({ kind: 'intent', ...told, at: this.#clock.now() });
    this.#statements.open.run(begun.row);
    return begun;
  }

  #append(entry: { readonly [K in Exclude<keyof Entry, 'row'>]?: Entry[K] | undefined }): AuditRow {
    const head = this.head();
    const row = head.row + 1;
    const body = canonicalJson({ ...entry, row });
    const hash = chain(head.hash, body);
    this.#statements.append.run(row, body, hash);
    return { ...entry, row, hash } as AuditRow;
  }

  #tell(rows: readonly AuditRow[]): void {
    for (const row of rows) {
      for (const listener of this.#listeners) {
        try {
          listener(row);
        } catch (error) {
          this.#log.error('a listener failed to take a row', { row: row.row, error });
        }
      }
    }
  }
}

function prepareAll(database: Database) {
  const statement = (sql: string): Statement<StoredRow> => database.prepare(sql);
  return {
    append: statement('INSERT INTO entry (row, body, hash) VALUES (?, ?, ?)'),
    open: statement('INSERT INTO open_intent (row) VALUES (?)'),
    isOpen: statement('SELECT row FROM open_intent WHERE row = ?'),
    close: statement('DELETE FROM open_intent WHERE row = ?'),
    get: statement(`${SELECT} WHERE row = ?`),
    head: statement(`${SELECT} ORDER BY row DESC LIMIT 1`),
    after: statement(`${SELECT} WHERE row > ? ORDER BY row LIMIT ?`),
    listOpen: statement(`${SELECT} WHERE row IN (SELECT row FROM open_intent) ORDER BY row`),
  };
}

/** A full disk, one that may not be written, another process that does not let go: it may be over later. */
function isUnwritable(error: unknown): boolean {
  return isFault(error, 'file.unwritable', 'store.busy');
}

function toRow({ row, body, hash }: StoredRow): AuditRow {
  try {
    return { ...(JSON.parse(body) as Entry), hash };
  } catch (error) {
    const hint = 'See: usher audit verify';
    throw new Fault('audit.broken', { row, what: messageOf(error) }, { cause: error, hint });
  }
}
