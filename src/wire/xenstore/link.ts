/**
 * Keeps a session to one xenstored: connects, and after a loss connects again with back-off until it is closed. What must
 * be set up in each session is up to its user.
 */
import type { Clock } from '../../lib/clock.ts';
import { type BackoffOptions, backoffMs } from '../../lib/deadline.ts';
import { Fault, isFault, reasonOf } from '../../lib/fault.ts';
import { closedFault } from './error.ts';
import type { WatchEvent } from './payloads.ts';
import { XenstoreSession } from './session.ts';
import { defaultPath, openTransport } from './transport.ts';

export interface XenstoreLinkOptions {
  /** Default: see `defaultPath`, asked at each try. */
  readonly path?: string | undefined;
  readonly clock: Clock;
  readonly timeoutMs?: number | undefined;
  readonly openTimeoutMs?: number | undefined;
  readonly backoff?: BackoffOptions | undefined;
  readonly random?: (() => number) | undefined;
  /** Sets up a session after a loss; it counts as lost again when this fails. Not called for the first. */
  readonly again: (session: XenstoreSession) => Promise<void>;
  /** The session has ended, or (`wasUp` false) a try to open another has failed. Another follows. */
  readonly down: (fault: Fault, wasUp: boolean) => void;
  readonly event: (event: WatchEvent) => void;
}

const DEFAULT_BACKOFF: BackoffOptions = { firstMs: 50, capMs: 2_000, jitter: 0.5 };
const DEFAULT_OPEN_TIMEOUT_MS = 5_000;
/** A session that lived shorter counts as a failure, or a peer that hangs up at once would be tried in a tight loop. */
const SETTLED_MS = 1_000;

/**
 * A standing connection.
 *
 * INVARIANTS:
 * - At most one connection attempt, session or back-off timer exists at a time.
 * - A session is given out from the moment it is open, so that `again` can use it; after `close` there is none, and
 *   nothing is called any more.
 */
export class XenstoreLink {
  readonly #options: XenstoreLinkOptions;
  readonly #closing = new AbortController();
  #session: XenstoreSession | undefined;
  #triedInVain: Fault | undefined;
  #cancelRetry: (() => void) | undefined;
  #failures = 0;
  #formerSent = 0;

  private constructor(options: XenstoreLinkOptions) {
    this.#options = options;
  }

  /** Opens the first session, once. @throws Fault `xenstore.unreachable`, `aborted` */
  static async open(options: XenstoreLinkOptions, signal?: AbortSignal): Promise<XenstoreLink> {
    const link = new XenstoreLink(options);
    const path = link.#path;
    try {
      link.#session = await link.#connect(path, signal);
    } catch (error) {
      if (isFault(error, 'aborted')) throw error;
      const what = reasonOf(closedFault(path, error), 'wire.closed');
      const hint = 'Is this dom0 of a Xen host, and is xenstored running?';
      throw new Fault('xenstore.unreachable', { path, what }, { hint, cause: error });
    }
    void link.#stay(link.#session);
    return link;
  }

  /** The open session. @throws Fault `wire.closed`, or `wire.broken`: why there is none */
  get session(): XenstoreSession {
    const session = this.#session;
    if (session?.isOpen) return session;
    // A try that failed since is nearer to the truth than the end of the last session.
    throw (
      this.#triedInVain ?? session?.endedBy ?? new Fault('wire.closed', { peer: this.#path, what: 'it is not open' })
    );
  }

  /** How many requests were sent, in all sessions. */
  get sentCount(): number {
    return this.#formerSent + (this.#session?.sentCount ?? 0);
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Is aborted by `close`. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Ends it; what is under way fails with `wire.closed`. */
  close(): void {
    if (this.isClosed) return;
    const fault = new Fault('wire.closed', { peer: this.#path, what: 'we no longer need it' });
    this.#triedInVain = fault;
    this.#closing.abort(fault);
    this.#cancelRetry?.();
    this.#session?.close();
  }

  get #path(): string {
    return this.#options.path ?? defaultPath();
  }

  async #connect(path: string, signal?: AbortSignal): Promise<XenstoreSession> {
    const { clock, timeoutMs, openTimeoutMs = DEFAULT_OPEN_TIMEOUT_MS, event: onEvent } = this.#options;
    const { stream, maxUnderWay } = await openTransport(path, { timeoutMs: openTimeoutMs, signal });
    const waiting = { timeoutMs, openTimeoutMs, signal, clock };
    return XenstoreSession.open(stream, { peer: path, maxUnderWay, onEvent, ...waiting });
  }

  async #stay(session: XenstoreSession): Promise<void> {
    const { clock } = this.#options;
    const began = clock.monotonic();
    const fault = await session.closed;
    if (this.isClosed) return;
    this.#failures = clock.monotonic() - began < SETTLED_MS ? this.#failures + 1 : 0;
    this.#options.down(fault, true);
    if (this.#failures === 0) void this.#retry();
    else this.#retryLater();
  }

  async #retry(): Promise<void> {
    this.#cancelRetry = undefined;
    const path = this.#path;
    let session: XenstoreSession;
    try {
      session = await this.#connect(path, this.closing);
      this.#formerSent = this.sentCount;
      this.#session = session;
      this.#triedInVain = undefined;
      await this.#options.again(session);
    } catch (error) {
      if (this.isClosed) return;
      this.#session?.close();
      const fault = isFault(error, 'wire.broken') ? error : closedFault(path, error);
      this.#triedInVain = fault;
      this.#failures++;
      this.#options.down(fault, false);
      this.#retryLater();
      return;
    }
    if (this.isClosed) session.close();
    else void this.#stay(session);
  }

  #retryLater(): void {
    if (this.isClosed) return;
    const { backoff = DEFAULT_BACKOFF, random, clock } = this.#options;
    this.#cancelRetry = clock.after(backoffMs(this.#failures, backoff, random), () => void this.#retry());
  }
}
