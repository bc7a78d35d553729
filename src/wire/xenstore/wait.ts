/** Waits until nodes say something: watches what the question read, and asks again when it changes. */
import type { Clock } from '../../lib/clock.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { isFault } from '../../lib/fault.ts';
import type { Watch } from './watches.ts';

/** What a predicate may look at. */
export interface XenstoreView {
  read(path: string): Promise<string | undefined>;
  directory(path: string): Promise<string[] | undefined>;
}

export interface WaitForOptions {
  /** What is waited for, as the subject of a sentence: "The frontend of port 3". */
  readonly what: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** What it needs of a client. */
export interface Watching {
  read(path: string, waiting: { readonly signal: AbortSignal }): Promise<string | undefined>;
  directory(path: string, waiting: { readonly signal: AbortSignal }): Promise<string[] | undefined>;
  watch(
    path: string,
    listener: () => void,
    options: { readonly signal: AbortSignal; readonly depth: number },
  ): Promise<Watch>;
  onResync(listener: () => void): () => void;
}

/**
 * Asks `predicate` until it gives something other than `undefined`. The first time nothing is watched: often the answer is
 * there already.
 *
 * INVARIANTS:
 * - It sleeps only when all that the last question read had been watched before it was read: no change is missed.
 * - A lost connection is waited out: watches are there again before the next question.
 * - All watches are closed at the end, whatever it is.
 *
 * @throws Fault `timeout`, `aborted`; what `predicate` throws
 */
export function waitFor<T>(
  client: Watching,
  predicate: (view: XenstoreView) => Promise<T | undefined>,
  { clock, ...options }: WaitForOptions & { readonly clock: Clock },
): Promise<T> {
  return withDeadline({ ...options, clock }, async (signal) => {
    const bell = new Bell();
    const watches = new Map<string, Watch>();
    const forget = client.onResync(() => bell.ring());
    signal.addEventListener('abort', () => bell.ring(), { once: true });
    try {
      for (;;) {
        signal.throwIfAborted();
        bell.hush();
        const wanted = new Map<string, { path: string; depth: number }>();
        const note = (path: string, depth: number) => {
          const key = `${depth}${path}`;
          if (!watches.has(key)) wanted.set(key, { path, depth });
        };
        try {
          const answer = await predicate({
            read(path) {
              note(path, 0);
              return client.read(path, { signal });
            },
            directory(path) {
              note(path, 1);
              return client.directory(path, { signal });
            },
          });
          if (answer !== undefined) return answer;
          // All of them are waited for, so that each that is granted can be closed.
          const granted = await Promise.allSettled(
            [...wanted].map(async ([key, { path, depth }]) => {
              watches.set(key, await client.watch(path, () => bell.ring(), { signal, depth }));
            }),
          );
          for (const each of granted) if (each.status === 'rejected') throw each.reason;
        } catch (error) {
          if (!isFault(error, 'wire.closed', 'wire.broken')) throw error;
          await bell.rung;
          continue;
        }
        if (wanted.size === 0) await bell.rung;
      }
    } finally {
      forget();
      for (const watch of watches.values()) watch.close();
    }
  });
}

/** Remembers that something has happened. */
class Bell {
  #ring: () => void = () => undefined;
  rung: Promise<void> = Promise.resolve();

  hush(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.rung = promise;
    this.#ring = resolve;
  }

  ring(): void {
    this.#ring();
  }
}
