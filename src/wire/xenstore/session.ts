/**
 * One conversation with xenstored over a stream: requests with deadlines, pipelined and matched by number, and events of
 * watches between them. It does not reconnect (link.ts does) and knows neither watches nor transactions.
 */
import type { Duplex } from 'node:stream';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { asFault, Fault } from '../../lib/fault.ts';
import { brokenFault, closedFault, isXenstoreError } from './error.ts';
import { Outbox } from './outbox.ts';
import { MAX_PAYLOAD_BYTES, MAX_REPLY_BYTES, PACKET_TYPES, type Packet } from './packets.ts';
import { PacketParser } from './parser.ts';
import { checkPath } from './paths.ts';
import { decodeString, decodeWatchEvent, type WatchEvent, WRONG_FORM } from './payloads.ts';
import { abandon, type Message, type Question, type Request, Requests } from './requests.ts';

export interface XenstoreSessionOptions {
  /** How faults name the other side; a socket path. */
  readonly peer: string;
  /** For each request that names none. */
  readonly timeoutMs?: number | undefined;
  /** For the first answer. */
  readonly openTimeoutMs?: number | undefined;
  /** So many requests are sent without an answer; the others wait here. Default: 16. */
  readonly maxUnderWay?: number | undefined;
  /** Gives up the opening; has no effect on an open session. */
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock | undefined;
  readonly onEvent?: (event: WatchEvent) => void;
}

export interface XenstoreWaitOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_OPEN_TIMEOUT_MS = 5_000;
const DEFAULT_MAX_UNDER_WAY = 16;

/**
 * An open conversation with one xenstored.
 *
 * INVARIANTS:
 * - Requests leave in the order of the calls. Each settles once: by its reply, its deadline, its signal, or the end of
 *   the session. A late reply is dropped; a reply to nothing that was asked ends the session.
 * - It ends when every request that may be under way has been given up: then nothing can be sent any more.
 * - The session ends once, with one fault, for everybody who waits; nothing is delivered after that.
 * - One timer at most, none while nobody waits.
 */
export class XenstoreSession {
  readonly peer: string;
  /** Resolves, never rejects, with the reason when the session ends. */
  readonly closed: Promise<Fault>;
  readonly #stream: Duplex;
  readonly #outbox: Outbox;
  readonly #parser = new PacketParser(MAX_REPLY_BYTES);
  readonly #requests = new Requests();
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #maxUnderWay: number;
  readonly #onEvent: ((event: WatchEvent) => void) | undefined;
  readonly #resolveClosed: (fault: Fault) => void;
  #cancelTimer: (() => void) | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #sentCount = 0;
  #ended: Fault | undefined;

  private constructor(stream: Duplex, options: XenstoreSessionOptions) {
    this.peer = options.peer;
    this.#stream = stream;
    this.#outbox = new Outbox(stream);
    this.#clock = options.clock ?? systemClock;
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#maxUnderWay = options.maxUnderWay ?? DEFAULT_MAX_UNDER_WAY;
    this.#onEvent = options.onEvent;
    const { promise, resolve } = Promise.withResolvers<Fault>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    stream.on('data', (chunk: Buffer) => this.#read(chunk));
    stream.on('error', (error) => this.#end(closedFault(this.peer, error)));
    stream.on('end', () => this.#end(this.#hungUp()));
    stream.on('close', () => this.#end(this.#hungUp()));
  }

  /**
   * Begins a conversation on a stream that is connected or about to be, and waits for a first answer: a kernel accepts
   * connections in the name of a daemon that is stuck. On failure the stream is destroyed.
   * @throws Fault `timeout`, `wire.closed`, `wire.broken`, `aborted`.
   */
  static async open(stream: Duplex, options: XenstoreSessionOptions): Promise<XenstoreSession> {
    const session = new XenstoreSession(stream, options);
    const { openTimeoutMs = DEFAULT_OPEN_TIMEOUT_MS, signal } = options;
    try {
      // Every client may ask this, it costs nothing, and it changes nothing.
      const hello: Question<string> = { name: 'GET_DOMAIN_PATH', text: '0\0', decode: decodeString };
      await session.request(hello, { timeoutMs: openTimeoutMs, signal });
    } catch (error) {
      if (!isXenstoreError(error)) {
        session.#end(asFault(error));
        throw error;
      }
    }
    return session;
  }

  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  /** Why it ended; `undefined` while it is open. */
  get endedBy(): Fault | undefined {
    return this.#ended;
  }

  /** How many requests were sent. */
  get sentCount(): number {
    return this.#sentCount;
  }

  /**
   * Asks, and gives the answer. Many may be under way.
   * @throws XenstoreError when xenstored refuses; Fault `timeout` (the session stays usable), `aborted`, `wire.closed`,
   * `wire.broken`, `params.invalid`. After `timeout` and `aborted` the request may still take effect.
   */
  request<T>(question: Question<T>, { timeoutMs = this.#timeoutMs, signal }: XenstoreWaitOptions = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#ended !== undefined) return reject(this.#ended);
      checkQuestion(question);
      const deadline = this.#clock.monotonic() + timeoutMs;
      let release: (() => void) | undefined;
      if (signal !== undefined) {
        const what = this.#replyTo(question);
        const aborted = () => new Fault('aborted', { what }, { cause: signal.reason });
        if (signal.aborted) return reject(aborted());
        const onAbort = () => abandon(request, aborted());
        signal.addEventListener('abort', onAbort, { once: true });
        release = () => signal.removeEventListener('abort', onAbort);
      }
      const request: Request = {
        question,
        timeoutMs,
        deadline,
        isAbandoned: false,
        resolve: resolve as (value: unknown) => void,
        reject,
        release,
      };
      this.#requests.add(request);
      if (deadline < this.#timerAt) this.#setTimer(deadline);
      this.#send();
    });
  }

  /** Ends the conversation. What is under way fails with `wire.closed`. */
  close(): void {
    this.#end(new Fault('wire.closed', { peer: this.peer, what: 'we no longer need it' }));
  }

  #send(): void {
    while (this.#requests.underWay < this.#maxUnderWay) {
      const next = this.#requests.next();
      if (next === undefined) return;
      const { question } = next.request;
      this.#outbox.add(PACKET_TYPES[question.name], next.id, question);
      this.#sentCount++;
    }
  }

  #read(chunk: Buffer): void {
    for (const packet of this.#parser.push(chunk)) {
      if (this.#ended !== undefined) return;
      const violation = packet.type === PACKET_TYPES.WATCH_EVENT ? this.#tell(packet) : this.#requests.settle(packet);
      if (violation !== undefined) this.#end(brokenFault(this.peer, violation));
    }
    if (this.#parser.broken !== undefined) this.#end(brokenFault(this.peer, this.#parser.broken));
    if (this.#ended !== undefined) return;
    this.#send();
    if (this.#requests.isIdle) this.#setTimer(Number.POSITIVE_INFINITY);
  }

  /** Gives what is wrong with the event, as a part of a sentence. */
  #tell({ body }: Packet): string | undefined {
    const event = decodeWatchEvent(body);
    if (event === WRONG_FORM) return 'an event of a watch has the wrong form';
    try {
      this.#onEvent?.(event);
    } catch (error) {
      // A listener's bug: contained to this session, and loud.
      this.#end(asFault(error));
    }
    return undefined;
  }

  #setTimer(at: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAt = at;
    if (at === Number.POSITIVE_INFINITY) return;
    this.#cancelTimer = this.#clock.after(Math.max(0, at - this.#clock.monotonic()), () => this.#expire());
  }

  #expire(): void {
    this.#cancelTimer = undefined;
    // A timer of the system may fire a fraction of a millisecond early.
    const { expired, nextDeadline } = this.#requests.expire(this.#clock.monotonic() + 1);
    this.#setTimer(nextDeadline);
    for (const request of expired) {
      const { question, timeoutMs } = request;
      abandon(request, new Fault('timeout', { what: this.#replyTo(question), seconds: timeoutMs / 1000 }));
    }
    if (this.#requests.givenUp < this.#maxUnderWay) return;
    this.#end(new Fault('wire.closed', { peer: this.peer, what: 'it answers nothing any more' }));
  }

  #end(fault: Fault): void {
    if (this.#ended !== undefined) return;
    this.#ended = fault;
    this.#setTimer(Number.POSITIVE_INFINITY);
    this.#stream.destroy();
    this.#requests.end(fault);
    this.#resolveClosed(fault);
  }

  #hungUp(): Fault {
    const where = this.#parser.isMidPacket ? ' in the middle of a packet' : '';
    return new Fault('wire.closed', { peer: this.peer, what: `it hung up${where}` });
  }

  #replyTo({ name, path }: Message): string {
    return `The reply of ${this.peer} to ${name}${path === undefined ? '' : ` of ${path}`}`;
  }
}

/** Refuses what xenstored would hang up on. @throws Fault `params.invalid` */
function checkQuestion({ path, allowsSpecial = false, text = '', value = '' }: Message): void {
  let size = text.length + (typeof value === 'string' ? Buffer.byteLength(value) : value.length);
  if (path !== undefined) {
    checkPath(path, allowsSpecial);
    size += path.length + 1;
  }
  if (size <= MAX_PAYLOAD_BYTES) return;
  const what = `with it the request has ${size} bytes, and ${MAX_PAYLOAD_BYTES} are allowed`;
  throw new Fault('params.invalid', { field: 'value', what });
}
