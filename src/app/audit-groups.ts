/**
 * Intents and outcomes of many steps at once, each kind with one flush for all that were asked for in one turn of the loop:
 * a flush costs the same for one row as for a hundred. What the rows are is in audit.ts.
 */
import { isFault } from '../lib/fault.ts';
import type { Conclusion, GroupedTrail, Intent } from '../model/audit.ts';
import type { AuditLog } from './audit.ts';

/**
 * INVARIANTS: nothing is told to be written before the transaction that wrote it has been flushed; rows of a kind are in
 * the order in which they were asked for; one that cannot be written by a bug takes no other with it.
 */
export class AuditGroups implements GroupedTrail {
  readonly #intents: Group<Intent, number>;
  readonly #outcomes: Group<Conclusion, undefined>;

  constructor(trail: Pick<AuditLog, 'intendAll' | 'concludeAll'>) {
    // The steps of a plan are begun in one go: when that is over, all their intents are here, and the drivers wait for them.
    this.#intents = new Group((entries) => trail.intendAll(entries), queueMicrotask);
    // Drivers answer one by one: those whose answers are there by now go together, and nobody is waited for.
    this.#outcomes = new Group((conclusions) => {
      trail.concludeAll(conclusions);
      return conclusions.map(() => undefined);
    }, setImmediate);
  }

  intend(entry: Intent): Promise<number> {
    return this.#intents.ask(entry);
  }

  async conclude(conclusion: Conclusion): Promise<void> {
    await this.#outcomes.ask(conclusion);
  }
}

interface Asked<T, R> {
  readonly item: T;
  readonly resolve: (result: R) => void;
  readonly reject: (error: unknown) => void;
}

/** What waits to be written together. */
class Group<T, R> {
  readonly #write: (items: readonly T[]) => readonly R[];
  readonly #later: (write: () => void) => unknown;
  #asked: Asked<T, R>[] = [];

  /** `write` gives a result for each item, or throws having written none; `later` says when. */
  constructor(write: (items: readonly T[]) => readonly R[], later: (write: () => void) => unknown) {
    this.#write = write;
    this.#later = later;
  }

  ask(item: T): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ item, resolve, reject });
      if (this.#asked.length > 1) return;
      this.#later(() => {
        const asked = this.#asked;
        this.#asked = [];
        this.#answer(asked);
      });
    });
  }

  #answer(asked: readonly Asked<T, R>[]): void {
    let results: readonly R[];
    try {
      results = this.#write(asked.map(({ item }) => item));
    } catch (error) {
      // A disk that is full is so for all of them; a bug is one's own.
      if (asked.length > 1 && !isFault(error)) for (const one of asked) this.#answer([one]);
      else for (const { reject } of asked) reject(error);
      return;
    }
    for (const [i, { resolve }] of asked.entries()) resolve(results[i] as R);
  }
}
