/** A port into a simulated world in a process of its own, over its unix socket; connects when needed, and again. */
import type { Socket } from 'node:net';
import { Fault, isFault, messageOf } from '../../lib/fault.ts';
import { LineSplitter } from '../../lib/lines.ts';
import { connectUnix } from '../../lib/unix-server.ts';
import { MAX_LINE_BYTES, type WorldMessage, type WorldRequest } from './world-messages.ts';
import type { ParamsOf, ResultOf, WorldHint, WorldMethod, WorldPort } from './world-port.ts';

const CONNECT_MS = 5_000;
const RECONNECT_MS = 100;
/** How long a call that is given up waits for its answer, which tells whether it was too late. */
const GRACE_MS = 1_000;

interface PendingCall {
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/**
 * INVARIANTS: there is one connection at a time; every call is in `#pending` until its answer, its grace or the loss of
 * the connection, each of which takes it out; while somebody listens for hints a lost connection is tried again, and
 * when it is back the hint `everything` tells that hints may be missing.
 */
export class WorldClient implements WorldPort {
  readonly #path: string;
  readonly #listeners = new Set<(hint: WorldHint) => void>();
  readonly #pending = new Map<number, PendingCall>();
  #connection: Promise<Socket> | undefined;
  #wasConnected = false;
  #isClosed = false;
  #retry: NodeJS.Timeout | undefined;
  #lastId = 0;

  constructor(path: string) {
    this.#path = path;
  }

  async call<M extends WorldMethod>(method: M, params: ParamsOf<M>, signal?: AbortSignal): Promise<ResultOf<M>> {
    signal?.throwIfAborted();
    const socket = await this.#connect();
    signal?.throwIfAborted();
    const id = ++this.#lastId;
    return await new Promise<ResultOf<M>>((resolve, reject) => {
      let grace: NodeJS.Timeout | undefined;
      const onAbort = () => {
        send(socket, { cancel: id });
        grace = setTimeout(() => settle(() => reject(signal?.reason as Error)), GRACE_MS);
      };
      const settle = (how: () => void) => {
        this.#pending.delete(id);
        clearTimeout(grace);
        signal?.removeEventListener('abort', onAbort);
        how();
      };
      this.#pending.set(id, {
        resolve: (result) => settle(() => resolve(result as ResultOf<M>)),
        reject: (error) => settle(() => reject(signal?.aborted ? (signal.reason as Error) : (error as Error))),
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      send(socket, { id, method, params } as WorldRequest);
    });
  }

  onHint(listener: (hint: WorldHint) => void): () => void {
    this.#listeners.add(listener);
    this.#stayConnected();
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#listeners.clear();
    clearTimeout(this.#retry);
    const socket = await this.#connection?.catch(() => undefined);
    if (socket === undefined || socket.destroyed) return;
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.destroy();
    await closed;
  }

  #connect(): Promise<Socket> {
    if (this.#isClosed) return Promise.reject(this.#missing('the way into it is closed'));
    this.#connection ??= this.#open().catch((error: unknown) => {
      this.#connection = undefined;
      throw this.#missing(String((isFault(error) && error.details['what']) || messageOf(error)), error);
    });
    return this.#connection;
  }

  async #open(): Promise<Socket> {
    const socket = await connectUnix(this.#path, { timeoutMs: CONNECT_MS });
    const lines = new LineSplitter(MAX_LINE_BYTES);
    socket.on('data', (chunk) => {
      try {
        for (const line of lines.push(chunk)) this.#take(JSON.parse(line.toString()) as WorldMessage);
      } catch (error) {
        socket.destroy(error instanceof Error ? error : undefined);
      }
    });
    socket.on('error', () => undefined); // `close` follows.
    socket.on('close', () => this.#lose());
    if (this.#wasConnected) this.#deliver({ about: 'everything' });
    this.#wasConnected = true;
    return socket;
  }

  #take(message: WorldMessage): void {
    if ('hint' in message) this.#deliver(message.hint);
    else if ('fault' in message) this.#pending.get(message.id)?.reject(Fault.fromWire(message.fault));
    else this.#pending.get(message.id)?.resolve(message.result);
  }

  #lose(): void {
    this.#connection = undefined;
    for (const call of [...this.#pending.values()]) call.reject(this.#missing('the connection was closed'));
    this.#deliver({ about: 'everything' });
    this.#retryLater();
  }

  #stayConnected(): void {
    if (!this.#isClosed && this.#listeners.size > 0) this.#connect().catch(() => this.#retryLater());
  }

  #retryLater(): void {
    clearTimeout(this.#retry);
    if (!this.#isClosed) this.#retry = setTimeout(() => this.#stayConnected(), RECONNECT_MS);
  }

  #deliver(hint: WorldHint): void {
    for (const listener of [...this.#listeners]) listener(hint);
  }

  #missing(what: string, cause?: unknown): Fault {
    const sentence = `the simulated world at ${this.#path} does not answer: ${what}`;
    return new Fault('hypervisor.missing', { what: sentence }, { cause });
  }
}

function send(socket: Socket, request: WorldRequest): void {
  socket.write(`${JSON.stringify(request)}\n`);
}
