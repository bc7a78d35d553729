/** The changes on trial of usher.db: each is undone unless it is confirmed in time, also by a daemon that comes up later. */
import type { Database, Statement } from '../lib/sqlite.ts';
import type { Undo } from '../model/assignment.ts';

/** A change that is undone unless it is confirmed; `until` in milliseconds since 1970. */
export interface StoredTrial {
  readonly id: number;
  readonly what: string;
  readonly undo: Undo;
  readonly until: number;
}

interface TrialRow {
  readonly id: number;
  readonly what: string;
  readonly undo: string;
  readonly until: number;
}

/** The store; nothing is held in memory. */
export class TrialTable {
  readonly #select: Statement<TrialRow>;
  readonly #insert: Statement<never>;
  readonly #delete: Statement<never>;

  constructor(database: Database) {
    this.#select = database.prepare('SELECT id, what, undo, until FROM trial ORDER BY id');
    this.#insert = database.prepare('INSERT INTO trial (what, undo, until) VALUES (?, ?, ?)');
    this.#delete = database.prepare('DELETE FROM trial WHERE id = ?');
  }

  /** Lists them, the oldest first. */
  list(): readonly StoredTrial[] {
    return this.#select.all().map(({ undo, ...row }) => ({ ...row, undo: JSON.parse(undo) as Undo }));
  }

  add({ what, undo, until }: Omit<StoredTrial, 'id'>): StoredTrial {
    return { id: this.#insert.run(what, JSON.stringify(undo), until).lastId, what, undo, until };
  }

  /** Forgets one; fine when it is gone. */
  remove(id: number): void {
    this.#delete.run(id);
  }
}
