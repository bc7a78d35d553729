/** The open questions of usher.db, held in memory too: every pass of the planner asks for them. */
import type { Database, Statement } from '../lib/sqlite.ts';
import type { Question } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';

interface QuestionRow {
  readonly backend: string;
  readonly busid: string;
  readonly generation: string;
  readonly vms: string;
  readonly asked_at: number;
  readonly expires_at: number;
}

/** INVARIANTS: what is in memory is what the rows say, until another process writes; then `forget` is called. */
export class QuestionTable {
  readonly #select: Statement<QuestionRow>;
  readonly #put: Statement<never>;
  readonly #delete: Statement<never>;
  #questions: readonly Question[] | undefined;

  constructor(database: Database) {
    this.#select = database.prepare('SELECT * FROM question ORDER BY backend, busid');
    this.#put = database.prepare(
      'INSERT OR REPLACE INTO question (backend, busid, generation, vms, asked_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)',
    );
    this.#delete = database.prepare('DELETE FROM question WHERE backend = ? AND busid = ? AND generation = ?');
  }

  list(): readonly Question[] {
    this.#questions ??= this.#select.all().map(toQuestion);
    return this.#questions;
  }

  /** Writes a question in the place of any other about that device. */
  put({ backend, busid, generation, vms, askedAt, expiresAt }: Question): void {
    this.#put.run(backend, busid, generation, vms.join(' '), askedAt, expiresAt);
    this.forget();
  }

  /** Removes a question if it is still about that plug of the device; tells whether it was there. */
  drop({ backend, busid, generation }: Pick<Question, 'backend' | 'busid' | 'generation'>): boolean {
    this.forget();
    return this.#delete.run(backend, busid, generation).changes > 0;
  }

  /** Reads everything anew when it is next asked for. */
  forget(): void {
    this.#questions = undefined;
  }
}

function toQuestion({ backend, busid, generation, vms, asked_at, expires_at }: QuestionRow): Question {
  return {
    ...{ backend, busid, generation, askedAt: asked_at, expiresAt: expires_at },
    vms: vms.split(' ') as VmUuid[],
  };
}
