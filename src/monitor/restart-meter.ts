/** Measures how often a VM was started again by itself: a least interval and a cap, so that no crash loop goes on. */
import type { Clock } from '../lib/clock.ts';

export interface RestartLimits {
  readonly minRestartIntervalMs: number;
  readonly maxRestarts: number;
  readonly restartWindowMs: number;
}

export class RestartMeter {
  readonly #clock: Clock;
  readonly #limits: RestartLimits;
  #restarts: readonly number[] = [];
  #lastStart = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, limits: RestartLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Notes that the VM is started now, by whomever. */
  noteStart(): void {
    this.#lastStart = this.#clock.monotonic();
  }

  /** Notes that it is started again by itself now. */
  noteRestart(): void {
    this.#restarts = [...this.#restarts, this.#clock.monotonic()];
  }

  /** Forgets the restarts: a person has taken it in hand. */
  clear(): void {
    this.#restarts = [];
  }

  /** Gives how long to wait before the next restart, in milliseconds; `undefined` when there were too many. */
  nextWaitMs(): number | undefined {
    const now = this.#clock.monotonic();
    this.#restarts = this.#restarts.filter((at) => now - at < this.#limits.restartWindowMs);
    if (this.#restarts.length >= this.#limits.maxRestarts) return undefined;
    return Math.max(0, this.#lastStart + this.#limits.minRestartIntervalMs - now);
  }
}
