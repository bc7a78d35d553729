/**
 * The events: what happened, numbered, kept for a while in events.db so that a listener resumes over a restart of the
 * daemon without loss. For programs that follow along; who did what is in the audit trail.
 */
import { bootId as readBootId } from '../lib/boot-id.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { Fault } from '../lib/fault.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { type Database, openDatabase } from '../lib/sqlite.ts';
import type { EventBody, EventKind, UsherEvent } from '../model/event.ts';

export interface EventLogOptions {
  readonly clock?: Clock;
  readonly log?: Log;
  /** How many events are kept. Default 10 000. */
  readonly keep?: number;
  readonly bootId?: string;
}

type Listener = (event: UsherEvent) => void;
/** An event that has no number yet. */
type Draft = Omit<UsherEvent, 'seq'>;

interface EventRow {
  readonly seq: number;
  readonly at: number;
  readonly kind: string;
  readonly body: string;
}

const MIGRATIONS: readonly string[] = [
  `CREATE TABLE event (
     seq INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never used again
     at INTEGER NOT NULL,
     kind TEXT NOT NULL,
     body TEXT NOT NULL -- JSON
   ) STRICT;
   INSERT INTO sqlite_sequence (name, seq) VALUES ('event', 0);
   CREATE TABLE note (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;`,
];

const DEFAULT_KEEP = 10_000;
/** Pruning is done when so many more than are kept have come: not at each event. */
const PRUNE_SLACK = 500;
/** More than can be written between two checkpoints of SQLite, and thus be lost by a power cut. */
const NUMBERS_SKIPPED = 1_000_000;

/**
 * INVARIANTS: events leave in the order of `publish`, each after it was written, those of one turn of the loop in one
 * transaction; numbers grow by one, but for a skip after the host went down with the log open: what was written last may
 * be lost then, and no number may mean two events; a listener that subscribes with a number gets every later event once.
 */
export class EventLog {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #keep: number;
  readonly #statements: ReturnType<typeof prepareAll>;
  readonly #subscriptions = new Set<{ readonly listener: Listener; readonly after: number }>();
  #waiting: Draft[] = [];
  /** Written, and on their way to the listeners. */
  #leaving: UsherEvent[] = [];
  #isFlushDue = false;
  #sincePrune = 0;

  /** Opens the log. @throws Fault as `openDatabase` */
  constructor(path: string, options: EventLogOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#keep = options.keep ?? DEFAULT_KEEP;
    this.#database = openDatabase(path, { migrations: MIGRATIONS, synchronous: 'normal' });
    this.#statements = prepareAll(this.#database);
    this.#begin(options.bootId ?? readBootId());
  }

  /** Takes an event; it is written and leaves at the end of this turn of the loop. */
  publish<K extends EventKind>(kind: K, body: EventBody[K]): void {
    this.#waiting.push({ at: this.#clock.now(), kind, body } as Draft);
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    setImmediate(() => {
      this.#isFlushDue = false;
      this.#flush();
    });
  }

  /** The number of the newest event; 0 when there was none yet. */
  get head(): number {
    this.#flush();
    return this.#statements.head.get()?.seq ?? 0;
  }

  /**
   * Gives the events after number `seq`; 0 stands for all that are kept.
   * @throws Fault `events.gone` when some of them are no longer kept, or when there never was that number
   */
  since(seq: number): UsherEvent[] {
    this.#flush();
    const head = this.#statements.head.get()?.seq ?? 0;
    const first = this.#statements.first.get()?.seq ?? head + 1;
    if (seq !== 0 && (seq < first - 1 || seq > head)) {
      const hint = 'Look at the state as it is now, then follow from 0 or without a number.';
      throw new Fault('events.gone', { first, since: seq }, { hint });
    }
    return this.#statements.after.all(seq).map(toEvent);
  }

  /** Gives the events about a device, `backend:busid`, that are kept, from a time on (milliseconds since 1970). */
  about(device: string, since = 0): UsherEvent[] {
    this.#flush();
    return this.#statements.about.all(device, since).map(toEvent);
  }

  /**
   * Calls the listener with every event from now on, and first with those after number `since` if it is given, until the
   * function it returns is called. @throws Fault `events.gone`
   */
  subscribe(listener: Listener, since?: number): () => void {
    let missed = since === undefined ? [] : this.since(since);
    while (missed.length > 0) {
      for (const event of missed) listener(event);
      missed = this.since(missed.at(-1)?.seq ?? 0); // What the listener itself brought about.
    }
    // All up to here was heard from the store, or is not asked for, even if it is still leaving to others.
    const subscription = { listener, after: this.head };
    this.#subscriptions.add(subscription);
    return () => this.#subscriptions.delete(subscription);
  }

  /** Writes what waits, and lets go. */
  close(): void {
    this.#flush();
    try {
      this.#statements.note.run('open', '');
    } catch (error) {
      this.#log.error('It cannot be noted that the events are whole', { error }); // Others still have to let go.
    }
    this.#database.close();
    this.#waiting = [];
  }

  #begin(bootId: string): void {
    this.#database.transaction(() => {
      const openedIn = this.#statements.readNote.get('open')?.value;
      if (openedIn !== undefined && openedIn !== '' && openedIn !== bootId) {
        this.#statements.skip.run(NUMBERS_SKIPPED);
      }
      this.#statements.note.run('open', bootId);
    });
    // From here on the note is on the disk, or else a power cut could take it with the events that it vouches for.
    this.#statements.checkpoint.get();
  }

  #flush(): void {
    if (this.#waiting.length === 0) return;
    const drafts = this.#waiting;
    let events: UsherEvent[];
    try {
      events = this.#database.transaction(() => this.#write(drafts));
    } catch (error) {
      // A full disk must not fail what the events tell of. They leave with the next one, but for the oldest of too many.
      this.#waiting = drafts.slice(-this.#keep);
      this.#log.error('Events cannot be written', { error, waiting: this.#waiting.length });
      return;
    }
    this.#waiting = [];
    const isUnderWay = this.#leaving.length > 0;
    this.#leaving.push(...events);
    // A listener may ask for the head, and so bring us here again: what it finds waits behind what is leaving.
    if (isUnderWay) return;
    for (const event of this.#leaving) this.#deliver(event);
    this.#leaving = [];
  }

  #write(drafts: readonly Draft[]): UsherEvent[] {
    const events = drafts.map((draft) => {
      const seq = this.#statements.insert.run(draft.at, draft.kind, JSON.stringify(draft.body)).lastId;
      return { seq, ...draft } as UsherEvent;
    });
    this.#sincePrune += events.length;
    if (this.#sincePrune >= PRUNE_SLACK) {
      this.#statements.prune.run(this.#keep);
      this.#sincePrune = 0;
    }
    return events;
  }

  #deliver(event: UsherEvent): void {
    for (const { listener, after } of this.#subscriptions) {
      try {
        if (event.seq > after) listener(event);
      } catch (error) {
        this.#log.error('A listener failed to take an event', { error, seq: event.seq });
      }
    }
  }
}

function prepareAll(database: Database) {
  return {
    insert: database.prepare('INSERT INTO event (at, kind, body) VALUES (?, ?, ?)'),
    after: database.prepare<EventRow>('SELECT * FROM event WHERE seq > ? ORDER BY seq'),
    about: database.prepare<EventRow>(
      "SELECT * FROM event WHERE json_extract(body, '$.device') = ? AND at >= ? ORDER BY seq",
    ),
    first: database.prepare<{ seq: number }>('SELECT seq FROM event ORDER BY seq LIMIT 1'),
    // Not the newest row: it may have been pruned.
    head: database.prepare<{ seq: number }>("SELECT seq FROM sqlite_sequence WHERE name = 'event'"),
    skip: database.prepare("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'event'"),
    prune: database.prepare(
      'DELETE FROM event WHERE seq <= (SELECT seq FROM event ORDER BY seq DESC LIMIT 1 OFFSET ?)',
    ),
    checkpoint: database.prepare('PRAGMA wal_checkpoint(FULL)'),
    readNote: database.prepare<{ value: string }>('SELECT value FROM note WHERE key = ?'),
    note: database.prepare('INSERT OR REPLACE INTO note (key, value) VALUES (?, ?)'),
  };
}

function toEvent({ seq, at, kind, body }: EventRow): UsherEvent {
  return { seq, at, kind, body: JSON.parse(body) } as UsherEvent;
}
