/**
 * The client of one xenstored: every request, watches that outlive the connection, transactions, waiting. It connects
 * again by itself; what happened meanwhile is unknown, which `onResync` tells. It knows nothing of VMs.
 */
import { type Clock, systemClock } from '../../lib/clock.ts';
import { Fault, messageOf } from '../../lib/fault.ts';
import { type Log, silentLog } from '../../lib/log.ts';
import { printable } from '../../lib/text.ts';
import { XenstoreLink, type XenstoreLinkOptions } from './link.ts';
import { Nodes } from './nodes.ts';
import type { RequestName } from './packets.ts';
import {
  type Decoded,
  decodeNumber,
  decodeOk,
  decodeString,
  decodeText,
  decodeTruth,
  decodeWords,
} from './payloads.ts';
import { checkDomid } from './permissions.ts';
import type { Question } from './requests.ts';
import type { XenstoreSession, XenstoreWaitOptions } from './session.ts';
import { type Transaction, type TransactionLimits, transact } from './transaction.ts';
import { type WaitForOptions, waitFor, type XenstoreView } from './wait.ts';
import { type Watch, Watches, type WatchOptions } from './watches.ts';

export interface XenstoreOptions extends Pick<XenstoreLinkOptions, 'openTimeoutMs' | 'backoff' | 'random'> {
  /** The unix socket, or the device `/dev/xen/xenbus`. Default: `/run/xenstored/socket` if it is there, else the device. */
  readonly path?: string | undefined;
  readonly clock?: Clock | undefined;
  readonly log?: Log | undefined;
  /** For each request that names none. Default: 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Gives up the first connection. */
  readonly signal?: AbortSignal | undefined;
  readonly transactions?: TransactionLimits | undefined;
}

/** For a transaction as a whole that names none. */
const TRANSACTION_TIMEOUT_MS = 30_000;

/**
 * A standing client. Requests fail at once with `wire.closed` while there is no connection.
 *
 * INVARIANTS:
 * - After a loss: first all watches are registered again (each fires), then `onState(true)`, then `onResync`.
 * - After `close` nothing is called any more.
 */
export class XenstoreClient extends Nodes {
  readonly #link: XenstoreLink;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #transactions: TransactionLimits | undefined;
  readonly #watches: Watches;
  readonly #resyncListeners = new Set<() => void>();
  readonly #stateListeners = new Set<(isConnected: boolean) => void>();
  #isConnected = true;

  private constructor(link: XenstoreLink, watches: Watches, options: XenstoreOptions) {
    super();
    this.#link = link;
    this.#watches = watches;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#transactions = options.transactions;
  }

  /**
   * Connects to xenstored, and stays connected until `close`.
   * @throws Fault `xenstore.unreachable` when nobody answers, `aborted`
   */
  static async connect(options: XenstoreOptions = {}): Promise<XenstoreClient> {
    const { signal, log = silentLog, clock = systemClock } = options;
    const watches = new Watches(log);
    let client: XenstoreClient | undefined;
    const link = await XenstoreLink.open(
      {
        ...options,
        clock,
        event: (event) => watches.dispatch(event),
        again: async (session) => {
          await watches.registerAgain(session);
          if (client !== undefined) client.#up();
        },
        down: (fault, wasUp) => {
          if (client !== undefined) client.#down(messageOf(fault), wasUp);
        },
      },
      signal,
    );
    client = new XenstoreClient(link, watches, options);
    return client;
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** How many requests were sent so far, by all connections. */
  get requestCount(): number {
    return this.#link.sentCount;
  }

  /**
   * Calls `listener` with the path of each change at or below `path`; `@introduceDomain` and `@releaseDomain` may be
   * watched too. It is called once at the beginning, maybe before this returns, after each reconnect, and may be called
   * for nothing: look again, conclude nothing from the call itself. @throws as reading does; `EACCES`, `E2BIG` (too many watches)
   */
  watch(path: string, listener: (changedPath: string) => void, options?: WatchOptions): Promise<Watch> {
    return this.#withSession((session) =>
      this.#watches.add(session, () => this.#link.session, path, listener, options),
    );
  }

  /**
   * Does `work` in a transaction: all of it takes effect, or nothing. When somebody else changed what it has seen, it is
   * done again from its beginning. `timeoutMs` (default 30 s) is for all of it.
   * @throws XenstoreError `EAGAIN` when others came in between too often, and what `work` throws
   */
  transaction<T>(work: (transaction: Transaction) => Promise<T>, waiting: XenstoreWaitOptions = {}): Promise<T> {
    const { timeoutMs = TRANSACTION_TIMEOUT_MS, signal } = waiting;
    return this.#withSession((session) =>
      transact(session, work, { clock: this.#clock, timeoutMs, signal }, this.#transactions),
    );
  }

  /**
   * Asks `predicate` until it gives something other than `undefined`: at once, and whenever what it has read changes. A
   * lost connection is waited out. @throws Fault `timeout`, `aborted`; what `predicate` throws
   */
  waitFor<T>(predicate: (view: XenstoreView) => Promise<T | undefined>, options: WaitForOptions): Promise<T> {
    const { signal = this.#link.closing } = options;
    return waitFor(this, predicate, {
      ...options,
      signal: AbortSignal.any([signal, this.#link.closing]),
      clock: this.#clock,
    });
  }

  /** Calls `listener` after each reconnect: whatever was known may have changed. The function it returns ends that. */
  onResync(listener: () => void): () => void {
    this.#resyncListeners.add(listener);
    return () => this.#resyncListeners.delete(listener);
  }

  /** Calls `listener` whenever the connection is lost, and when it is back. The function it returns ends that. */
  onState(listener: (isConnected: boolean) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  /** Gives a domain's home, `/local/domain/5`, whether there is such a domain or not. */
  getDomainPath(domid: number, waiting?: XenstoreWaitOptions): Promise<string> {
    return this.#askDomain('GET_DOMAIN_PATH', [domid], decodeString, waiting);
  }

  /** Tells whether xenstored is in communication with the domain. */
  isDomainIntroduced(domid: number, waiting?: XenstoreWaitOptions): Promise<boolean> {
    return this.#askDomain('IS_DOMAIN_INTRODUCED', [domid], decodeTruth, waiting);
  }

  /** Has xenstored communicate with a new domain, by the page and the event channel that it left for that. Dom0 only. */
  async introduce(domid: number, page: bigint, eventChannel: number, waiting?: XenstoreWaitOptions): Promise<void> {
    const text = `${checkDomid(domid)}\0${page}\0${eventChannel}\0`;
    await this.ask<true>({ name: 'INTRODUCE', text, decode: decodeOk }, waiting);
  }

  /** Has xenstored forget a domain. Dom0 only. */
  async release(domid: number, waiting?: XenstoreWaitOptions): Promise<void> {
    await this.#askDomain('RELEASE', [domid], decodeOk, waiting);
  }

  /** Has `@releaseDomain` told again for a domain that was shut down and goes on. Dom0 only. */
  async resume(domid: number, waiting?: XenstoreWaitOptions): Promise<void> {
    await this.#askDomain('RESUME', [domid], decodeOk, waiting);
  }

  /** Gives a domain the rights of another: a stubdomain those of its guest. Dom0 only. */
  async setTarget(domid: number, target: number, waiting?: XenstoreWaitOptions): Promise<void> {
    await this.#askDomain('SET_TARGET', [domid, target], decodeOk, waiting);
  }

  /** Ends all watches and transactions of this client, without a word to their owners. */
  async resetWatches(waiting?: XenstoreWaitOptions): Promise<void> {
    await this.ask<true>({ name: 'RESET_WATCHES', text: '\0', decode: decodeOk }, waiting);
    this.#watches.clear();
  }

  /** Sends a command to the daemon itself: `check`, `log`… They differ from daemon to daemon. Gives what it says. */
  async control(words: readonly string[], waiting?: XenstoreWaitOptions): Promise<string> {
    return this.ask({ name: 'CONTROL', text: fields(words), decode: decodeText }, waiting);
  }

  /** Gives the features of the daemon, or those that a domain may see, as bits (xs_wire.h). `ENOSYS` before Xen 4.18. */
  getFeature(domid?: number, waiting?: XenstoreWaitOptions): Promise<number> {
    return this.#askDomain('GET_FEATURE', domid === undefined ? [] : [domid], decodeNumber, waiting);
  }

  /** Sets the features that a domain may see; before it is introduced. Dom0 only. */
  async setFeature(domid: number, features: number, waiting?: XenstoreWaitOptions): Promise<void> {
    const text = fields([`${checkDomid(domid)}`, `${features}`]);
    await this.ask<true>({ name: 'SET_FEATURE', text, decode: decodeOk }, waiting);
  }

  /** Gives the names of the quotas that the daemon knows. */
  getQuotaNames(waiting?: XenstoreWaitOptions): Promise<string[]> {
    return this.ask({ name: 'GET_QUOTA', decode: decodeWords }, waiting);
  }

  /** Gives a quota, of one domain or the one that holds for new domains. */
  async getQuota(name: string, domid?: number, waiting?: XenstoreWaitOptions): Promise<number> {
    const text = fields(domid === undefined ? [name] : [`${checkDomid(domid)}`, name]);
    return this.ask({ name: 'GET_QUOTA', text, decode: decodeNumber }, waiting);
  }

  /** Sets a quota, of one domain or the one that holds for new domains. Dom0 only. */
  async setQuota(name: string, value: number, domid?: number, waiting?: XenstoreWaitOptions): Promise<void> {
    const words = domid === undefined ? [name, `${value}`] : [`${checkDomid(domid)}`, name, `${value}`];
    await this.ask<true>({ name: 'SET_QUOTA', text: fields(words), decode: decodeOk }, waiting);
  }

  /** Ends it for good. What is under way fails with `wire.closed`; watches end with the connection. */
  close(): void {
    this.#resyncListeners.clear();
    this.#stateListeners.clear();
    this.#watches.clear();
    this.#link.close();
    this.#isConnected = false;
  }

  protected ask<T>(question: Question<T>, waiting?: XenstoreWaitOptions): Promise<T> {
    return this.#withSession((session) => session.request(question, waiting));
  }

  protected async settledDirectory(path: string, waiting?: XenstoreWaitOptions): Promise<string[] | undefined> {
    return this.transaction(async (transaction) => {
      const names = await transaction.directory(path, waiting);
      await transaction.discard();
      return names;
    }, waiting);
  }

  async #askDomain<T>(
    name: RequestName,
    domids: readonly number[],
    decode: (body: Buffer) => Decoded<T>,
    waiting?: XenstoreWaitOptions,
  ): Promise<T> {
    return this.ask({ name, text: fields(domids.map((domid) => `${checkDomid(domid)}`)), decode }, waiting);
  }

  #withSession<T>(use: (session: XenstoreSession) => Promise<T>): Promise<T> {
    let session: XenstoreSession;
    try {
      session = this.#link.session;
    } catch (fault) {
      return Promise.reject(fault as Error);
    }
    return use(session);
  }

  #down(reason: string, wasUp: boolean): void {
    this.#log.warn(wasUp ? 'the connection to xenstored is lost' : 'xenstored is still not there', { reason });
    this.#setConnected(false);
  }

  #up(): void {
    this.#log.info('xenstored is there again');
    this.#setConnected(true);
    for (const listener of this.#resyncListeners) this.#call(listener);
  }

  #setConnected(isConnected: boolean): void {
    if (this.#isConnected === isConnected) return;
    this.#isConnected = isConnected;
    for (const listener of this.#stateListeners) this.#call(() => listener(isConnected));
  }

  #call(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      this.#log.error('a listener to xenstore failed', { error });
    }
  }
}

/** @throws Fault `params.invalid` for what is no field: a NUL in it, or other than ASCII */
function fields(words: readonly string[]): string {
  for (const word of words) {
    if (/^[\x20-\x7e]*$/.test(word)) continue;
    throw new Fault('params.invalid', { field: 'words', what: `"${printable(word, 80)}" is not plain ASCII` });
  }
  return words.map((word) => `${word}\0`).join('');
}
