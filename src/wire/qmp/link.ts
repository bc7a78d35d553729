/**
 * Keeps a session to one QMP socket: connects, and after a loss connects again with back-off until it is stopped or the
 * peer is gone for good. It replays nothing: whoever uses it observes anew at each `up`.
 */
import { type Clock, systemClock } from '../../lib/clock.ts';
import { type BackoffOptions, backoffMs } from '../../lib/deadline.ts';
import { asFault, Fault } from '../../lib/fault.ts';
import type { QmpEvent } from './commands.ts';
import { isPeerGone } from './error.ts';
import { connectQmp, type QmpSession, type QmpSessionOptions } from './session.ts';

export interface QmpLinkOptions {
  readonly path: string;
  /** A session is open; nothing is known of what happened since the last one. */
  up(session: QmpSession): void;
  /** The session that was up has ended, or (`session` is then `undefined`) a try to open one failed. Another follows. */
  down?(fault: Fault, session: QmpSession | undefined): void;
  /** The peer is gone: the last call, no other try follows. After a session, `down` came before. */
  gone?(fault: Fault): void;
  /** Hears every event of every session, also those that come before `up` has returned. */
  event?(event: QmpEvent): void;
  /**
   * Tells whether a failed try is the last; `failures` counts those since the last session, from 1. Without it a
   * missing or deaf socket is the end, which is wrong while QEMU is still being started.
   */
  isGone?(fault: Fault, failures: number): boolean;
  readonly backoff?: BackoffOptions;
  readonly session?: Pick<QmpSessionOptions, 'openTimeoutMs' | 'commandTimeoutMs' | 'limits'>;
  readonly clock?: Clock;
  readonly random?: () => number;
}

const DEFAULT_BACKOFF: BackoffOptions = { firstMs: 50, capMs: 5_000, jitter: 0.5 };
/** A session that lived shorter counts as a failure, or a peer that hangs up at once would be tried in a tight loop. */
const SETTLED_MS = 1_000;

/**
 * A standing connection.
 *
 * INVARIANTS:
 * - At most one connection attempt, session or back-off timer exists at a time; with an idle session there is no timer.
 * - `up` and the `down` with its session alternate; after `gone` or `stop` no callback is called.
 * - `up` or `down` throwing ends the link with `gone`; `event` throwing ends only the session.
 */
export class QmpLink {
  readonly #options: QmpLinkOptions;
  readonly #clock: Clock;
  readonly #stopping = new AbortController();
  #session: QmpSession | undefined;
  #cancelRetry: (() => void) | undefined;
  #failures = 0;

  /** Begins to connect at once. */
  constructor(options: QmpLinkOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    void this.#try();
  }

  /** The open session, if there is one. */
  get session(): QmpSession | undefined {
    return this.#session?.isOpen ? this.#session : undefined;
  }

  /** Tells whether it was stopped or the peer is gone. */
  get isOver(): boolean {
    return this.#stopping.signal.aborted;
  }

  /** Ends it without further callbacks; the session, if there is one, is closed. */
  stop(): void {
    this.#stopping.abort(new Fault('aborted', { what: `The connection to ${this.#options.path}` }));
    this.#cancelRetry?.();
    this.#session?.close();
    this.#session = undefined;
  }

  /** Tries now instead of at the end of the back-off: for one who knows that the peer is back. */
  retryNow(): void {
    if (this.#cancelRetry === undefined || this.isOver) return;
    this.#cancelRetry();
    void this.#try();
  }

  async #try(): Promise<void> {
    this.#cancelRetry = undefined;
    try {
      const session = await this.#open();
      if (session !== undefined) await this.#use(session);
    } catch (error) {
      // Only our user's callbacks throw here.
      this.#finish(asFault(error));
    }
  }

  async #open(): Promise<QmpSession | undefined> {
    const { path, session, isGone = isPeerGone, down } = this.#options;
    const { signal } = this.#stopping;
    try {
      return await connectQmp(path, {
        ...session,
        clock: this.#clock,
        signal,
        onEvent: (event) => this.#options.event?.(event),
      });
    } catch (error) {
      if (signal.aborted) return undefined;
      const fault = asFault(error);
      this.#failures++;
      down?.(fault, undefined);
      if (isGone(fault, this.#failures)) this.#finish(fault);
      else this.#retryLater();
      return undefined;
    }
  }

  async #use(session: QmpSession): Promise<void> {
    if (this.isOver) return session.close();
    this.#session = session;
    const began = this.#clock.monotonic();
    this.#options.up(session);
    const fault = await session.closed;
    if (this.isOver) return;
    this.#session = undefined;
    this.#failures = this.#clock.monotonic() - began < SETTLED_MS ? this.#failures + 1 : 0;
    this.#options.down?.(fault, session);
    if (this.#failures === 0) void this.#try();
    else this.#retryLater();
  }

  #retryLater(): void {
    if (this.isOver) return;
    const { backoff = DEFAULT_BACKOFF, random } = this.#options;
    this.#cancelRetry = this.#clock.after(backoffMs(this.#failures, backoff, random), () => void this.#try());
  }

  #finish(fault: Fault): void {
    if (this.isOver) return;
    this.stop();
    this.#options.gone?.(fault);
  }
}
