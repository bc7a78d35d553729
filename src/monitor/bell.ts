/** A bell that rings when something may have happened: lets a waiter look again without missing a ring. */
import type { Clock } from '../lib/clock.ts';

/** INVARIANTS: a ring after `rings` was read is never missed; a wait leaves no timer and no listener behind. */
export class Bell {
  readonly #waiting = new Set<() => void>();
  #rings = 0;

  /** How often it has rung. Read it before looking, and hand it to `wait`. */
  get rings(): number {
    return this.#rings;
  }

  ring(): void {
    this.#rings++;
    for (const wake of [...this.#waiting]) wake();
  }

  /** Resolves at a ring later than number `since`, or after `timeoutMs`; rejects when the signal is aborted. */
  wait(since: number, clock: Clock, timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      if (this.#rings !== since) return resolve();
      const finish = (settle: () => void) => {
        cancel();
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', onAbort);
        settle();
      };
      const wake = () => finish(resolve);
      const onAbort = () => finish(() => reject(signal.reason as Error));
      const cancel = clock.after(timeoutMs, wake);
      this.#waiting.add(wake);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}
