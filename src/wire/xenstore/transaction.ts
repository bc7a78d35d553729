/** Transactions: work that takes effect as a whole or not at all, and is repeated when somebody else came in between. */
import { type Clock, sleep } from '../../lib/clock.ts';
import { type BackoffOptions, backoffMs, withDeadline } from '../../lib/deadline.ts';
import { Fault } from '../../lib/fault.ts';
import { isXenstoreError } from './error.ts';
import { Nodes } from './nodes.ts';
import { decodeNumber, decodeOk } from './payloads.ts';
import type { Question } from './requests.ts';
import type { XenstoreSession, XenstoreWaitOptions } from './session.ts';

export interface TransactionLimits {
  /** So often the work is done before xenstored's EAGAIN is passed on. */
  readonly maxTries?: number | undefined;
  readonly backoff?: BackoffOptions | undefined;
}

const DEFAULT_MAX_TRIES = 20;
/** Others hold a conflict for less than a millisecond as a rule. */
const DEFAULT_BACKOFF: BackoffOptions = { firstMs: 1, capMs: 200, jitter: 0.5 };

/** The store as one transaction sees it. Of no use once the work has ended. */
export class Transaction extends Nodes {
  readonly #session: XenstoreSession;
  readonly #id: number;
  #isOver = false;

  constructor(session: XenstoreSession, id: number) {
    super();
    this.#session = session;
    this.#id = id;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Ends it without effect; what the work then gives is given all the same. For work that only reads. */
  async discard(): Promise<void> {
    await this.#end('F');
  }

  /** Has all of it take effect. @throws XenstoreError `EAGAIN` when somebody else changed what it has seen */
  async commit(): Promise<void> {
    await this.#end('T');
  }

  protected ask<T>(question: Question<T>, waiting?: XenstoreWaitOptions): Promise<T> {
    if (this.#isOver) return Promise.reject(new Error(`${question.name} in a transaction that is over`));
    return this.#session.request({ ...question, transactionId: this.#id }, waiting);
  }

  async #end(how: 'T' | 'F'): Promise<void> {
    const ended = this.ask<true>({ name: 'TRANSACTION_END', text: `${how}\0`, decode: decodeOk });
    this.#isOver = true;
    await ended;
  }

  protected async settledDirectory(path: string, waiting?: XenstoreWaitOptions): Promise<string[] | undefined> {
    const names = await this.readParts(path, waiting);
    if (names === 'changed') throw new Fault('internal', { what: `${path} changes within a transaction` });
    return names;
  }
}

/**
 * Does `work` in a transaction, again from its beginning whenever xenstored answers EAGAIN, with back-off; `work` must
 * bear that. When it throws, the transaction is discarded and the error passed on. `timeoutMs` is for all of it.
 * @throws XenstoreError (`EAGAIN` after the last try), what `work` throws, and the faults of the connection.
 */
export function transact<T>(
  session: XenstoreSession,
  work: (transaction: Transaction) => Promise<T>,
  parts: { readonly clock: Clock; readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
  { maxTries = DEFAULT_MAX_TRIES, backoff = DEFAULT_BACKOFF }: TransactionLimits = {},
): Promise<T> {
  const { clock } = parts;
  return withDeadline({ what: `A transaction at ${session.peer}`, ...parts }, async (signal) => {
    for (let tries = 1; ; tries++) {
      try {
        return await attempt(session, work, signal);
      } catch (error) {
        if (!isXenstoreError(error, 'EAGAIN') || tries >= maxTries) throw error;
      }
      await sleep(clock, backoffMs(tries, backoff), signal);
    }
  });
}

/** The requests have no signal of their own, and the deadlines of any request: nobody waits for them when it comes. */
async function attempt<T>(
  session: XenstoreSession,
  work: (transaction: Transaction) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const transaction = new Transaction(session, await session.request(startQuestion(session)));
  const discard = () => void transaction.discard().catch(() => undefined);
  if (signal.aborted) {
    discard();
    signal.throwIfAborted();
  }
  signal.addEventListener('abort', discard, { once: true });
  try {
    const value = await work(transaction);
    signal.throwIfAborted();
    if (!transaction.isOver) await transaction.commit();
    return value;
  } catch (error) {
    if (!signal.aborted) discard();
    throw error;
  } finally {
    signal.removeEventListener('abort', discard);
  }
}

/** A transaction whose number came too late for anybody is discarded, or xenstored would keep it. */
function startQuestion(session: XenstoreSession): Question<number> {
  return {
    name: 'TRANSACTION_START',
    text: '\0',
    decode: decodeNumber,
    onLate: (id) => void new Transaction(session, id).discard().catch(() => undefined),
  };
}
