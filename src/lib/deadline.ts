/** Deadlines for outside waits, and retries with back-off. */
import { type Clock, sleep, systemClock } from './clock.ts';
import { Fault } from './fault.ts';

export interface DeadlineOptions {
  /** What is waited for, as the subject of a sentence: "The reply to device_add". */
  readonly what: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock | undefined;
}

/**
 * Waits for `work` no longer than the deadline: fault `timeout` after it, `aborted` when the signal comes first.
 * `work` gets a signal that is aborted in both cases, so that it can clean up.
 */
export function withDeadline<T>(options: DeadlineOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { what, timeoutMs, signal, clock = systemClock } = options;
  return new Promise((resolve, reject) => {
    const inner = new AbortController();
    const finish = (settle: () => void) => {
      cancel();
      signal?.removeEventListener('abort', onAbort);
      settle();
    };
    const giveUp = (fault: Fault) =>
      finish(() => {
        reject(fault);
        inner.abort(fault);
      });
    const onAbort = () => giveUp(new Fault('aborted', { what }, { cause: signal?.reason }));
    const cancel = clock.after(timeoutMs, () => giveUp(new Fault('timeout', { what, seconds: timeoutMs / 1000 })));
    if (signal?.aborted) return onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    work(inner.signal).then(
      (value) => finish(() => resolve(value)),
      (error: unknown) => finish(() => reject(error as Error)),
    );
  });
}

export interface BackoffOptions {
  readonly firstMs: number;
  readonly capMs: number;
  /** Share of the delay that is random, 0 to 1. */
  readonly jitter: number;
}

/** Gives the delay before try number `failures + 1`: doubles from `firstMs` up to `capMs`, less a random share. */
export function backoffMs(failures: number, options: BackoffOptions, random: () => number = Math.random): number {
  const full = Math.min(options.capMs, options.firstMs * 2 ** Math.min(Math.max(0, failures - 1), 30));
  return full * (1 - options.jitter * random());
}

/** Asks `probe` again and again until it gives something other than `undefined`; the deadline ends it with `timeout`. */
export function pollUntil<T>(
  options: DeadlineOptions & { readonly everyMs: number },
  probe: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const { clock = systemClock, everyMs } = options;
  return withDeadline(options, async (signal) => {
    for (;;) {
      const answer = await probe();
      if (answer !== undefined) return answer;
      await sleep(clock, everyMs, signal);
    }
  });
}
