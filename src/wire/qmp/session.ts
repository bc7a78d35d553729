/**
 * One QMP conversation over a stream: greeting, negotiation, requests with deadlines, events. It does not reconnect
 * (link.ts does) and knows nothing of VMs. Follows qemu docs/interop/qmp-spec; no out-of-band commands, no descriptors.
 */
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { asFault, Fault, isFault } from '../../lib/fault.ts';
import type { QmpArgsOf, QmpCommandName, QmpEvent, QmpReturnOf, QmpVersion } from './commands.ts';
import { brokenFault, closedFault, QmpError } from './error.ts';
import { EventHub } from './events.ts';
import { type QmpGreeting, type QmpMessage, QmpParser, type QmpParserLimits } from './parser.ts';
import { Requests } from './requests.ts';

export interface QmpSessionOptions {
  /** How faults name the other side; a socket path. */
  readonly peer: string;
  /** For greeting and negotiation together. */
  readonly openTimeoutMs?: number;
  /** For each command that names none. */
  readonly commandTimeoutMs?: number;
  /** Gives up the opening; has no effect on an open session. */
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock | undefined;
  readonly limits?: QmpParserLimits;
  /** The first listener. One that is added after the opening may miss what came with the negotiation's last bytes. */
  readonly onEvent?: (event: QmpEvent) => void;
}

export interface QmpWaitOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

type ExecuteRest<C extends QmpCommandName> =
  Record<never, never> extends QmpArgsOf<C>
    ? [args?: QmpArgsOf<C>, options?: QmpWaitOptions]
    : [args: QmpArgsOf<C>, options?: QmpWaitOptions];

const DEFAULT_OPEN_TIMEOUT_MS = 5_000;
const DEFAULT_COMMAND_TIMEOUT_MS = 10_000;
/** A peer that leaves this much unread does not read at all. */
const MAX_UNSENT_BYTES = 1024 * 1024;
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * An open conversation with one QEMU.
 *
 * INVARIANTS:
 * - Requests are written in the order of the calls. Each settles once: by its reply, its deadline, its signal, or the
 *   end of the session. A late reply is dropped; a reply to nothing that was asked ends the session.
 * - The session ends once, with one fault, for everybody who waits; nothing is delivered after that.
 * - `waitEvent` listens before it returns, so an event that precedes the reply of a command sent next is not missed.
 */
export class QmpSession {
  readonly peer: string;
  /** Resolves, never rejects, with the reason when the session ends. */
  readonly closed: Promise<Fault>;
  readonly #stream: Duplex;
  readonly #parser: QmpParser;
  readonly #clock: Clock;
  readonly #commandTimeoutMs: number;
  readonly #requests = new Requests();
  readonly #events = new EventHub();
  readonly #resolveClosed: (fault: Fault) => void;
  #onGreeting: { resolve(greeting: QmpGreeting): void; reject(error: Error): void } | undefined;
  #version: QmpVersion | undefined;
  #ended: Fault | undefined;

  private constructor(stream: Duplex, options: QmpSessionOptions) {
    this.peer = options.peer;
    this.#stream = stream;
    this.#parser = new QmpParser(options.limits);
    this.#clock = options.clock ?? systemClock;
    this.#commandTimeoutMs = options.commandTimeoutMs ?? DEFAULT_COMMAND_TIMEOUT_MS;
    const { promise, resolve } = Promise.withResolvers<Fault>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    if (options.onEvent !== undefined) this.#events.listen(options.onEvent);
    stream.on('data', (chunk: Buffer) => this.#read(chunk));
    stream.on('error', (error) => this.#end(closedFault(this.peer, error)));
    stream.on('end', () => this.#end(this.#hungUp()));
    stream.on('close', () => this.#end(this.#hungUp()));
  }

  /**
   * Waits for the greeting on a stream that is connected or about to be, and negotiates. On failure the stream is
   * destroyed. @throws Fault `timeout` (with a hint: the socket may be busy), `wire.closed`, `wire.broken`, `aborted`.
   */
  static async open(stream: Duplex, options: QmpSessionOptions): Promise<QmpSession> {
    const session = new QmpSession(stream, options);
    try {
      await session.#negotiate(options);
      return session;
    } catch (error) {
      session.#end(asFault(error));
      throw error;
    }
  }

  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  /** The version that the greeting told. */
  get version(): QmpVersion {
    return this.#version ?? { qemu: { major: 0, minor: 0, micro: 0 }, package: '' };
  }

  /** How many commands wait for their reply. */
  get inFlight(): number {
    return this.#requests.size;
  }

  /**
   * Sends a command and gives its reply. Several may be under way; QEMU works them off in their order.
   * @throws QmpError when QEMU refuses; Fault `timeout` (the session stays usable), `aborted`, `wire.closed`,
   * `wire.broken`, `params.invalid`. After `timeout` and `aborted` the command may still take effect.
   */
  execute<C extends QmpCommandName>(command: C, ...rest: ExecuteRest<C>): Promise<QmpReturnOf<C>> {
    const [args, { timeoutMs = this.#commandTimeoutMs, signal } = {}] = rest;
    const what = `The reply of ${this.peer} to ${command}`;
    return withDeadline({ what, timeoutMs, signal, clock: this.#clock }, (given) =>
      this.#request(command, args, given),
    ) as Promise<QmpReturnOf<C>>;
  }

  /**
   * Sends a command whose reply only says that it has begun, and gives the event that ends it: `device_del` with
   * DEVICE_DELETED, `migrate` with MIGRATION. One deadline for both; the event may precede the reply.
   * @throws as `execute` does.
   */
  async executeUntil<C extends QmpCommandName>(
    command: C,
    args: QmpArgsOf<C>,
    matches: (event: QmpEvent) => boolean,
    options: QmpWaitOptions = {},
  ): Promise<QmpEvent> {
    const { timeoutMs = this.#commandTimeoutMs, signal } = options;
    const what = `The completion of ${command} by ${this.peer}`;
    const { event, forget } = this.#events.expect(matches);
    try {
      return await withDeadline({ what, timeoutMs, signal, clock: this.#clock }, async (given) => {
        await this.#request(command, args, given);
        return event;
      });
    } finally {
      forget();
    }
  }

  /**
   * Gives the first event from now on that matches. It listens at once: call it, then send the command, then await it.
   * A rejection that nobody awaits does no harm. @throws Fault `timeout`, `aborted`, `wire.closed`, `wire.broken`.
   */
  waitEvent(matches: (event: QmpEvent) => boolean, options: QmpWaitOptions = {}): Promise<QmpEvent> {
    const { timeoutMs = this.#commandTimeoutMs, signal } = options;
    const what = `The event from ${this.peer}`;
    const { event, forget } = this.#events.expect(matches);
    const waiting = withDeadline({ what, timeoutMs, signal, clock: this.#clock }, () => event).finally(forget);
    waiting.catch(() => {});
    return waiting;
  }

  /** Calls `listener` with each event, in order; the function it returns ends that. A listener that throws ends the session. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    return this.#events.listen(listener);
  }

  /** Ends the conversation; QEMU goes on. What is in flight fails with `wire.closed`. */
  close(): void {
    this.#end(new Fault('wire.closed', { peer: this.peer, what: 'we no longer need it' }));
  }

  async #negotiate({ openTimeoutMs = DEFAULT_OPEN_TIMEOUT_MS, signal }: QmpSessionOptions): Promise<void> {
    const clock = this.#clock;
    const began = clock.monotonic();
    const greeting = Promise.withResolvers<QmpGreeting>();
    greeting.promise.catch(() => {});
    this.#onGreeting = greeting;
    try {
      const what = `The greeting of ${this.peer}`;
      this.#version = (
        await withDeadline({ what, timeoutMs: openTimeoutMs, signal, clock }, () => greeting.promise)
      ).version;
    } catch (error) {
      if (!isFault(error, 'timeout')) throw error;
      const hint = 'QEMU serves one QMP client at a time: another client may hold this socket.';
      throw new Fault('timeout', error.details, { hint, cause: error });
    }
    const timeoutMs = Math.max(1, openTimeoutMs - (clock.monotonic() - began));
    try {
      await this.execute('qmp_capabilities', {}, { timeoutMs, signal });
    } catch (error) {
      throw error instanceof QmpError
        ? brokenFault(this.peer, `it refuses qmp_capabilities: ${error.desc}`, error)
        : error;
    }
  }

  #request(command: QmpCommandName, args: unknown, signal: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) return reject(this.#ended);
      const { id, line } = this.#requests.add({ command, resolve, reject }, args);
      signal.addEventListener('abort', () => this.#requests.forget(id), { once: true });
      this.#stream.write(`${line}\n`);
      const unsent = this.#stream.writableLength;
      if (unsent > MAX_UNSENT_BYTES)
        this.#end(brokenFault(this.peer, `it does not read: ${unsent} bytes wait to be sent`));
    });
  }

  #read(chunk: Buffer): void {
    for (const message of this.#parser.push(chunk)) {
      if (this.#ended !== undefined) return;
      const violation = this.#take(message);
      if (violation !== undefined) this.#end(brokenFault(this.peer, violation));
    }
    if (this.#parser.broken !== undefined) this.#end(brokenFault(this.peer, this.#parser.broken));
  }

  /** Gives what is wrong with the message at this place, as a part of a sentence. */
  #take(message: QmpMessage): string | undefined {
    const onGreeting = this.#onGreeting;
    if (message.kind === 'greeting') {
      if (onGreeting === undefined) return 'it greets twice';
      onGreeting.resolve(message);
      this.#onGreeting = undefined;
      return undefined;
    }
    if (onGreeting !== undefined) return 'it does not begin with a greeting';
    if (message.kind !== 'event') return this.#requests.settle(message);
    this.#dispatch(message);
    return undefined;
  }

  #dispatch(event: QmpEvent): void {
    try {
      this.#events.dispatch(event);
    } catch (error) {
      // A listener's bug: contained to this session, and loud.
      this.#end(asFault(error));
    }
  }

  #end(fault: Fault): void {
    if (this.#ended !== undefined) return;
    this.#ended = fault;
    this.#stream.destroy();
    this.#onGreeting?.reject(fault);
    this.#requests.end(fault);
    this.#events.end(fault);
    this.#resolveClosed(fault);
  }

  #hungUp(): Fault {
    const where = this.#parser.isMidMessage
      ? ' in the middle of a message'
      : this.#onGreeting === undefined
        ? ''
        : ' without a greeting';
    return new Fault('wire.closed', { peer: this.peer, what: `it hung up${where}` });
  }
}

/**
 * Connects to QEMU's QMP socket and opens a session. @throws as `QmpSession.open` does; `wire.closed` has the system's
 * error as its cause (see `isPeerGone`); `socket.path_long`.
 */
export async function connectQmp(
  path: string,
  options: Omit<QmpSessionOptions, 'peer'> & { readonly peer?: string } = {},
): Promise<QmpSession> {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH_BYTES) throw new Fault('socket.path_long', { path, bytes });
  return QmpSession.open(connect({ path }), { peer: path, ...options });
}
