/** Looks at subjects (VMs, backends) when asked to, each by itself, with a deadline. Knows nothing of what it sees. */
import type { Clock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import { asFault, type Fault } from '../lib/fault.ts';

export type Sight<V> = { readonly value: V } | { readonly fault: Fault };

export interface LooksOptions<K, V> {
  /** What is looked at, as the subject of a sentence. */
  readonly what: (subject: K) => string;
  readonly look: (subject: K, signal: AbortSignal) => Promise<V>;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Called with each sight, before the requests that it answers resolve. */
  readonly onSight: (subject: K, sight: Sight<V>) => void;
}

interface Asked {
  /** The look that goes on. */
  readonly now: Promise<void>;
  /** The one after it, when it has been asked for. */
  next?: Promise<void>;
}

/**
 * INVARIANTS: of a subject there is one look at a time; requests during a look share exactly one look after it, so that
 * the sight which answers a request is never older than the request; no subject waits for another.
 */
export class Looks<K, V> {
  readonly #options: LooksOptions<K, V>;
  readonly #asked = new Map<K, Asked>();
  readonly #closing = new AbortController();

  constructor(options: LooksOptions<K, V>) {
    this.#options = options;
  }

  /** Whether anything is being looked at. */
  get isBusy(): boolean {
    return this.#asked.size > 0;
  }

  /** Looks at the subject; resolves when a look that began after this call is over, whatever it saw. Never rejects. */
  request(subject: K): Promise<void> {
    const asked = this.#asked.get(subject);
    if (asked === undefined) return this.#begin(subject);
    asked.next ??= asked.now.then(() => this.#begin(subject));
    return asked.next;
  }

  /** Gives up what goes on and looks no more. */
  close(): void {
    this.#closing.abort();
  }

  #begin(subject: K): Promise<void> {
    const now = this.#look(subject).then(() => {
      // A next look, if any, begins in the callback that was chained to this promise first.
      if (this.#asked.get(subject)?.next === undefined) this.#asked.delete(subject);
    });
    this.#asked.set(subject, { now });
    return now;
  }

  async #look(subject: K): Promise<void> {
    const { what, look, timeoutMs, clock, onSight } = this.#options;
    const { signal } = this.#closing;
    let sight: Sight<V>;
    try {
      const limits = { what: what(subject), timeoutMs, signal, clock };
      sight = { value: await withDeadline(limits, (inner) => look(subject, inner)) };
    } catch (error) {
      sight = { fault: asFault(error) };
    }
    if (!signal.aborted) onSight(subject, sight);
  }
}
