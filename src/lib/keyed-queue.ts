/** Runs jobs of one key one after the other and jobs of different keys side by side. */

/**
 * INVARIANTS: at most one job of a key runs; jobs of a key run in the order of `run`; a job that throws does not stop
 * the ones behind it; a job must not await another job of its own key (it would wait for itself).
 */
export class KeyedQueue {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Runs `job` when all earlier jobs of `key` have ended, and gives its result. */
  run<T>(key: string, job: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const result = before === undefined ? job() : before.then(job, job);
    const tail = result.then(noop, noop).then(() => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    });
    this.#tails.set(key, tail);
    return result;
  }

  /** Tells whether a job of `key` runs or waits. */
  isBusy(key: string): boolean {
    return this.#tails.has(key);
  }

  /** Resolves when nothing runs or waits any more, also what was added meanwhile. */
  async idle(): Promise<void> {
    while (this.#tails.size > 0) await Promise.all(this.#tails.values());
  }
}

function noop(): void {}
