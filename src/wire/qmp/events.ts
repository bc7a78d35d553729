/** Hands the events of one session to its listeners and to those who wait for a certain one. No I/O, no time. */
import type { Fault } from '../../lib/fault.ts';
import type { QmpEvent } from './commands.ts';

export interface Expectation {
  /** Resolves with the first event that matches; rejects when the session ends. Need not be awaited. */
  readonly event: Promise<QmpEvent>;
  /** Stops expecting; `event` then never settles. */
  forget(): void;
}

interface Waiting {
  matches(event: QmpEvent): boolean;
  resolve(event: QmpEvent): void;
  reject(error: Error): void;
}

/**
 * INVARIANTS:
 * - An expectation sees each event once, in order, and is settled by at most one.
 * - After `end` nothing is delivered, and new expectations are rejected at once.
 */
export class EventHub {
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #waiting = new Set<Waiting>();
  #ended: Fault | undefined;

  /** How many wait for an event. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Calls `listener` with each event; the function it returns ends that. */
  listen(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Begins to look for an event. */
  expect(matches: (event: QmpEvent) => boolean): Expectation {
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>();
    promise.catch(() => {});
    const waiting: Waiting = { matches, resolve, reject };
    if (this.#ended === undefined) this.#waiting.add(waiting);
    else reject(this.#ended);
    return { event: promise, forget: () => this.#waiting.delete(waiting) };
  }

  /** Delivers an event. @throws what a listener throws; an expectation whose predicate throws is rejected with that. */
  dispatch(event: QmpEvent): void {
    for (const waiting of this.#waiting) {
      try {
        if (!waiting.matches(event)) continue;
        waiting.resolve(event);
      } catch (error) {
        waiting.reject(error as Error);
      }
      this.#waiting.delete(waiting);
    }
    for (const listener of this.#listeners) {
      if (this.#ended === undefined) listener(event);
    }
  }

  end(fault: Fault): void {
    this.#ended = fault;
    for (const { reject } of this.#waiting) reject(fault);
    this.#waiting.clear();
    this.#listeners.clear();
  }
}
