/**
 * The one home of SQLite (node:sqlite): opens a database with its migrations, and gives statements and transactions
 * whose failures a person can read. Knows nothing of what is stored. Synchronous, as node:sqlite is.
 */
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { errnoOf, Fault, isFault, messageOf } from './fault.ts';

export type SqlValue = null | number | bigint | string | Uint8Array;

/** A prepared statement. `R` says what its rows are: a promise of the one who wrote the SQL, not a check. */
export interface Statement<R> {
  /** Gives the first row. */
  get(...values: SqlValue[]): R | undefined;
  all(...values: SqlValue[]): R[];
  /** Gives rows one by one: for what may not fit in memory. */
  iterate(...values: SqlValue[]): IterableIterator<R>;
  run(...values: SqlValue[]): { readonly changes: number; readonly lastId: number };
}

export interface Database {
  readonly path: string;
  prepare<R = never>(sql: string): Statement<R>;
  /**
   * Runs `work`, which must not wait, in a transaction that may write (BEGIN IMMEDIATE): all of it happens or nothing.
   * Inside another transaction it is a part of that one.
   */
  transaction<T>(work: () => T): T;
  /**
   * The same, but a power cut may take it (a crash of ours cannot): for what a later transaction, which is flushed with
   * all before it, makes good, or what is of no worth after a power cut.
   */
  unflushed<T>(work: () => T): T;
  close(): void;
}

export interface OpenOptions {
  /** SQL scripts; number n brings the database from form n to n + 1. One that was released is never changed. */
  readonly migrations: readonly string[];
  /** `full`: a commit is on the disk when it returns. `normal`: a power cut may take the last ones. */
  readonly synchronous: 'full' | 'normal';
  /** Refuses to write, and to make or migrate a database. */
  readonly isReadOnly?: boolean;
  /** How long to wait for another process that writes; we stand still meanwhile. Default 5000. */
  readonly busyTimeoutMs?: number;
}

// Result codes (sqlite.org/rescode.html); the low byte of an extended code is its kind.
const KIND = {
  busy: 5,
  locked: 6,
  readOnly: 8,
  io: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  notDatabase: 26,
} as const;
const UNIQUE: ReadonlySet<number> = new Set([2067, 1555]);

/**
 * Opens a database, made with mode 0600 in a folder of mode 0700 if it is not there, and brings it to the newest form.
 * Safe with several processes.
 * @throws Fault `store.newer`, `store.broken`, `store.busy`, `file.unwritable`, `file.unreadable`
 */
export function openDatabase(path: string, options: OpenOptions): Database {
  const { isReadOnly = false, busyTimeoutMs = 5000 } = options;
  if (!isReadOnly) makePrivateFile(path);
  else if (!existsSync(path)) throw new Fault('file.unreadable', { file: path, what: 'there is no such file' });
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, {
      readOnly: isReadOnly,
      timeout: busyTimeoutMs,
      enableForeignKeyConstraints: true,
    });
    prepareDatabase(database, path, options);
    return wrap(database, path, options);
  } catch (error) {
    database?.close();
    throw translate(error, path);
  }
}

/** Looks whether a database hangs together; gives what is wrong, `undefined` when nothing is or there is none. */
export function examineDatabase(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { readOnly: true });
    const { quick_check: says } = database.prepare('PRAGMA quick_check(1)').get() as { quick_check: string };
    return says === 'ok' ? undefined : says;
  } catch (error) {
    return messageOf(error);
  } finally {
    database?.close();
  }
}

/** Tells whether a statement failed because a row with that key is there already. */
export function isUniqueViolation(error: unknown): boolean {
  return UNIQUE.has(errcodeOf(error) ?? 0);
}

function prepareDatabase(database: DatabaseSync, path: string, options: OpenOptions): void {
  const { migrations, synchronous, isReadOnly = false, busyTimeoutMs = 5000 } = options;
  const formOf = () => (database.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;
  const check = () => {
    const found = formOf();
    if (found > migrations.length) {
      const hint = 'Use the newer Usher, or move the database away to begin anew.';
      throw new Fault('store.newer', { file: path, found, known: migrations.length }, { hint });
    }
    return found;
  };
  // The first switch to WAL takes a lock for which SQLite does not wait by itself.
  if (!isReadOnly) retryBusy(busyTimeoutMs, () => database.exec('PRAGMA journal_mode = WAL'));
  database.exec(`PRAGMA synchronous = ${synchronous}`);
  if (check() === migrations.length) return;
  if (isReadOnly) throw new Fault('store.broken', { file: path, what: 'it has an older form and must not be changed' });
  retryBusy(busyTimeoutMs, () => database.exec('BEGIN EXCLUSIVE'));
  try {
    // Read again: another process may have migrated it while we waited.
    for (const script of migrations.slice(check())) database.exec(script);
    database.exec(`PRAGMA user_version = ${migrations.length}`);
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

function wrap(database: DatabaseSync, path: string, { synchronous, busyTimeoutMs = 5000 }: OpenOptions): Database {
  const guard = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw translate(error, path);
    }
  };
  const transaction = <T>(work: () => T): T =>
    guard(() => {
      if (database.isTransaction) return work();
      retryBusy(busyTimeoutMs, () => database.exec('BEGIN IMMEDIATE'));
      try {
        const result = work();
        if (result instanceof Promise) throw new TypeError('a transaction must not wait');
        database.exec('COMMIT');
        return result;
      } catch (error) {
        // SQLite has rolled back by itself after a full disk.
        if (database.isTransaction) database.exec('ROLLBACK');
        throw error;
      }
    });
  return {
    path,
    prepare: (sql) =>
      wrapStatement(
        guard(() => database.prepare(sql)),
        guard,
      ),
    transaction,
    unflushed: (work) => {
      if (synchronous === 'normal' || database.isTransaction) return transaction(work);
      database.exec('PRAGMA synchronous = normal');
      try {
        return transaction(work);
      } finally {
        database.exec('PRAGMA synchronous = full');
      }
    },
    close: () => database.close(),
  };
}

function wrapStatement<R>(statement: StatementSync, guard: <T>(work: () => T) => T): Statement<R> {
  return {
    get: (...values) => guard(() => statement.get(...values) as R | undefined),
    all: (...values) => guard(() => statement.all(...values) as R[]),
    *iterate(...values) {
      const rows = guard(() => statement.iterate(...values));
      for (let row = guard(() => rows.next()); row.done !== true; row = guard(() => rows.next())) yield row.value as R;
    },
    run: (...values) =>
      guard(() => {
        const { changes, lastInsertRowid } = statement.run(...values);
        return { changes: Number(changes), lastId: Number(lastInsertRowid) };
      }),
  };
}

/**
 * Only a file that is not there is opened: to close a descriptor of a database that this process has open elsewhere
 * would drop its locks (sqlite.org/howtocorrupt.html, 2.2). The -wal and -shm files take over the mode.
 */
function makePrivateFile(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (errnoOf(error) === 'EEXIST' && existsSync(path)) return;
    throw new Fault('file.unwritable', { file: path, what: messageOf(error) }, { cause: error });
  }
}

function retryBusy<T>(timeoutMs: number, work: () => T): T {
  const end = performance.now() + timeoutMs;
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (kindOf(error) !== KIND.busy || performance.now() >= end) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

/** Makes a Fault of what a person can do something about; anything else stays what it was. */
function translate(error: unknown, path: string): unknown {
  if (isFault(error)) return error;
  const details = { file: path, what: messageOf(error) };
  switch (kindOf(error)) {
    case KIND.busy:
    case KIND.locked:
      return new Fault('store.busy', details, { cause: error });
    case KIND.corrupt:
    case KIND.notDatabase: {
      const hint = `Bring ${path} back from a backup, or move it and its -wal and -shm away to begin anew.`;
      return new Fault('store.broken', details, { cause: error, hint });
    }
    case KIND.readOnly:
    case KIND.io:
    case KIND.full:
    case KIND.cannotOpen:
      return new Fault('file.unwritable', details, { cause: error });
    default:
      return error;
  }
}

function kindOf(error: unknown): number | undefined {
  const code = errcodeOf(error);
  return code === undefined ? undefined : code & 0xff;
}

function errcodeOf(error: unknown): number | undefined {
  const code = (error as { readonly errcode?: unknown } | null)?.errcode;
  return typeof code === 'number' ? code : undefined;
}
