/**
 * The audit trail: who did what to what, in audit.db. Rows are only ever added, and each carries the hash of the one
 * before it, so that a row that is changed, removed or moved later is found. Not a log: no row may be lost.
 */
import { createHash } from 'node:crypto';
import type { AuditVerification } from '../api/views.ts';
import { canonicalJson } from '../lib/canonical-json.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { Fault, messageOf } from '../lib/fault.ts';
import { type Database, openDatabase, type SqlValue, type Statement } from '../lib/sqlite.ts';
import type { AuditRow, AuditTrail, Outcome } from '../model/audit.ts';
import { AUDIT_MIGRATIONS } from './audit-schema.ts';

export interface AuditFilter {
  /** Rows about a VM by any of these names. */
  readonly vm?: readonly string[];
  readonly device?: string;
  /** Rows from this time on, in milliseconds since 1970. */
  readonly since?: number;
  /** The newest so many rows. Default 1000. */
  readonly limit?: number;
}

/** A row as it is written: the hash is over its canonical JSON. */
type Entry = Omit<AuditRow, 'hash'>;
interface StoredRow {
  readonly row: number;
  readonly body: string;
  readonly hash: string;
}

const SELECT = 'SELECT row, body, hash FROM entry';
/** What stands for the hash before the first row. */
const NO_HASH = '0'.repeat(64);
/** Rows that are verified in one go, before others get their turn. */
const VERIFY_BATCH = 500;

/**
 * INVARIANTS: rows are numbered from 1 without a gap; a row's hash is SHA-256 over the hash before it, a line feed and
 * its body, the canonical JSON of all but the hash; head and row are read and written in one transaction, so that two
 * processes make one chain; a row is on the disk when the call that wrote it returns.
 */
export class AuditLog implements AuditTrail {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #statements: ReturnType<typeof prepareAll>;

  /** Opens the trail. @throws Fault as `openDatabase` */
  constructor(path: string, options: { readonly clock?: Clock } = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#database = openDatabase(path, { migrations: AUDIT_MIGRATIONS, synchronous: 'full' });
    this.#statements = prepareAll(this.#database);
  }

  /** Writes what is going to be done; gives the number of the row. @throws Fault `file.unwritable`, `store.busy` */
  intend({ actor, action, vm, device, details = {}, isCovered = false }: Parameters<AuditTrail['intend']>[0]): number {
    const write = isCovered ? this.#database.unflushed : this.#database.transaction;
    return write(() => {
      const { uid, pid, user } = actor;
      const row = this.#append({ kind: 'intent', actor: { uid, pid, user }, action, vm, device, details });
      this.#statements.open.run(row);
      return row;
    });
  }

  /**
   * Writes what became of an intent. An intent has one outcome: a second one is a bug.
   * @throws Fault `file.unwritable`, `store.busy`
   */
  conclude(intent: number, outcome: Outcome, details: Readonly<Record<string, unknown>> = {}): void {
    this.#database.transaction(() => {
      const stored = this.#statements.get.get(intent);
      if (stored === undefined || this.#statements.close.run(intent).changes === 0) {
        throw new RangeError(`audit row ${intent} is no intent that waits for its outcome`);
      }
      const { actor, action, vm, device } = toRow(stored);
      this.#append({ kind: 'outcome', intent, actor, action, vm, device, details, outcome });
    });
  }

  /** Lists the intents that have no outcome: whoever wrote them died on the way, or is still at it. */
  openIntents(): AuditRow[] {
    return this.#statements.listOpen.all().map(toRow);
  }

  /** Lists rows, oldest first. @throws Fault `audit.broken` when one cannot be read */
  list({ vm, device, since, limit = 1000 }: AuditFilter = {}): AuditRow[] {
    const conditions: [sql: string, value: SqlValue][] = [];
    if (vm !== undefined) conditions.push(['vm IN (SELECT value FROM json_each(?))', JSON.stringify(vm)]);
    if (device !== undefined) conditions.push(['device = ?', device]);
    if (since !== undefined) conditions.push(['at >= ?', since]);
    const where = conditions.map(([sql]) => sql).join(' AND ') || 'TRUE';
    const select = this.#database.prepare<StoredRow>(`${SELECT} WHERE ${where} ORDER BY row DESC LIMIT ?`);
    return select
      .all(...conditions.map(([, value]) => value), limit)
      .map(toRow)
      .reverse();
  }

  /** Gives the number and the hash of the newest row; 0 and zeros when there is none. */
  head(): { readonly row: number; readonly hash: string } {
    return this.#statements.head.get() ?? { row: 0, hash: NO_HASH };
  }

  /**
   * Checks the whole chain, and whether it still has the row whose hash is `head`. Others get their turn meanwhile.
   */
  async verify(head?: string): Promise<AuditVerification> {
    let last: Pick<StoredRow, 'row' | 'hash'> = { row: 0, hash: NO_HASH };
    let headRow: number | undefined;
    for (;;) {
      const batch = this.#statements.after.all(last.row, VERIFY_BATCH);
      for (const stored of batch) {
        const wrong = findWrong(stored, last);
        if (wrong !== undefined) return { rows: last.row, head: last.hash, isIntact: false, says: wrong };
        if (stored.hash === head?.toLowerCase()) headRow = stored.row;
        last = stored;
      }
      if (batch.length < VERIFY_BATCH) break;
      await new Promise((resolve) => setImmediate(resolve));
    }
    const isIntact = head === undefined || headRow !== undefined;
    return { rows: last.row, head: last.hash, isIntact, says: sayIntact(last.row, head, headRow) };
  }

  close(): void {
    this.#database.close();
  }

  #append(entry: { readonly [K in Exclude<keyof Entry, 'row' | 'at'>]?: Entry[K] | undefined }): number {
    const head = this.head();
    const row = head.row + 1;
    const body = canonicalJson({ ...entry, row, at: this.#clock.now() });
    this.#statements.append.run(row, body, chain(head.hash, body));
    return row;
  }
}

function prepareAll(database: Database) {
  const statement = (sql: string): Statement<StoredRow> => database.prepare(sql);
  return {
    append: statement('INSERT INTO entry (row, body, hash) VALUES (?, ?, ?)'),
    open: statement('INSERT INTO open_intent (row) VALUES (?)'),
    close: statement('DELETE FROM open_intent WHERE row = ?'),
    get: statement(`${SELECT} WHERE row = ?`),
    head: statement(`${SELECT} ORDER BY row DESC LIMIT 1`),
    after: statement(`${SELECT} WHERE row > ? ORDER BY row LIMIT ?`),
    listOpen: statement(`${SELECT} WHERE row IN (SELECT row FROM open_intent) ORDER BY row`),
  };
}

function chain(before: string, body: string): string {
  return createHash('sha256').update(before).update('\n').update(body).digest('hex');
}

function toRow({ row, body, hash }: StoredRow): AuditRow {
  try {
    return { ...(JSON.parse(body) as Entry), hash };
  } catch (error) {
    const hint = 'See: usher audit verify';
    throw new Fault('audit.broken', { row, what: messageOf(error) }, { cause: error, hint });
  }
}

/** Says what is wrong with a row that comes after `last`. */
function findWrong({ row, body, hash }: StoredRow, last: Pick<StoredRow, 'row' | 'hash'>): string | undefined {
  if (row !== last.row + 1) {
    const missing = row === last.row + 2 ? `Row ${last.row + 1} is` : `Rows ${last.row + 1} to ${row - 1} are`;
    return `${missing} missing.`;
  }
  if (hash === chain(last.hash, body)) return undefined;
  const own = rowOf(body);
  if (own !== row) return `Row ${row} holds what was row ${own ?? 'of another trail'}: rows were moved.`;
  if (row === 1) return 'Row 1 was changed after it was written.';
  return `Row ${row} was changed after it was written, or row ${row - 1} was and its own hash made anew.`;
}

function rowOf(body: string): number | undefined {
  try {
    const { row } = JSON.parse(body) as { row?: unknown };
    return typeof row === 'number' ? row : undefined;
  } catch {
    return undefined;
  }
}

function sayIntact(rows: number, head: string | undefined, headRow: number | undefined): string {
  const chained = rows === 1 ? 'The only row is intact' : `All ${rows} rows hang together`;
  if (head === undefined) {
    return `${chained}. Rows cut off at the end cannot be seen from the trail alone: keep this head elsewhere, and give it to a later check.`;
  }
  if (headRow !== undefined)
    return `${chained}, and the head you gave is row ${headRow}: up to there none was cut off.`;
  return `${chained}, but none has the head you gave: rows were cut off at the end, or this is another trail.`;
}
