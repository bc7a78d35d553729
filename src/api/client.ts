/** The client half of the RPC: asks a daemon on its unix socket. Small, for every command of the CLI loads it. */
import { connect, type Socket } from 'node:net';
import { errnoOf, Fault, isFault, messageOf } from '../lib/fault.ts';
import { LineSplitter } from '../lib/lines.ts';
import type { OperationName, Params, Results } from './operations.ts';
import { PROTOCOL } from './views.ts';

const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

interface Answer {
  readonly id?: number;
  readonly method?: 'progress' | 'event';
  readonly params?: { readonly request: number };
  readonly result?: unknown;
  readonly error?: { readonly message: string; readonly data?: unknown };
}

interface Waiter {
  readonly resolve: (result: unknown) => void;
  readonly reject: (fault: Fault) => void;
  readonly onNotice: ((params: object) => void) | undefined;
}

/** What commands need of a connection: to ask, and to hear of its end. */
export type Daemon = Pick<Client, 'call' | 'closed'>;

/** A connection to the daemon; requests may be under way side by side. */
export class Client {
  readonly #socket: Socket;
  readonly #path: string;
  readonly #lines = new LineSplitter(MAX_ANSWER_BYTES);
  readonly #waiters = new Map<number, Waiter>();
  #nextId = 1;

  private constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#path = path;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (error) => this.#fail(new Fault('wire.closed', { peer: path, what: messageOf(error) })));
    socket.on('close', () => this.#fail(new Fault('wire.closed', { peer: path, what: 'the daemon hung up' })));
  }

  /**
   * Connects and says hello in the same breath as the first request. @throws Fault `daemon.unreachable`; a daemon that
   * speaks another protocol answers the first request with `rpc.version`.
   */
  static async connect(path: string, name: string): Promise<Client> {
    const socket = connect({ path });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (error) => reject(unreachable(path, error)));
    });
    socket.removeAllListeners('error');
    const client = new Client(socket, path);
    client.call('hello', { client: name, protocol: PROTOCOL }).catch((error: unknown) => client.#fail(error as Fault));
    return client;
  }

  /** Connects to the first of several on which a daemon answers. @throws Fault as `connect`, of the first that it is worth to tell of */
  static async connectToAny([path, ...others]: readonly [string, ...string[]], name: string): Promise<Client> {
    try {
      return await Client.connect(path, name);
    } catch (error) {
      const [next, ...rest] = others;
      if (next === undefined || !isFault(error, 'daemon.unreachable')) throw error;
      return await Client.connectToAny([next, ...rest], name).catch((other: unknown) => {
        throw isFault(other, 'daemon.unreachable') ? error : other;
      });
    }
  }

  /** Performs an operation. `onNotice` sees its progress and its events. @throws Fault what the daemon answers */
  call<O extends OperationName>(
    operation: O,
    params: Params<O>,
    onNotice?: (params: object) => void,
  ): Promise<Results[O]> {
    if (this.#socket.destroyed) {
      return Promise.reject(new Fault('wire.closed', { peer: this.#path, what: 'it was closed before' }));
    }
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiters.set(id, { resolve: resolve as (result: unknown) => void, reject, onNotice });
      this.#socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, method: operation, params })}\n`);
    });
  }

  /** Resolves when the daemon hangs up. */
  closed(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed) resolve();
      else this.#socket.once('close', () => resolve());
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    try {
      for (const line of this.#lines.push(chunk)) this.#answer(JSON.parse(line.toString()) as Answer);
    } catch (error) {
      this.#fail(new Fault('wire.broken', { peer: this.#path, protocol: 'JSON-RPC', what: messageOf(error) }));
      this.#socket.destroy();
    }
  }

  #answer(answer: Answer): void {
    if (answer.method !== undefined) {
      if (answer.params !== undefined) this.#waiters.get(answer.params.request)?.onNotice?.(answer.params);
      return;
    }
    const waiter = this.#waiters.get(answer.id ?? -1);
    if (waiter === undefined) return;
    if (waiter.onNotice === undefined || answer.error !== undefined) this.#waiters.delete(answer.id ?? -1);
    if (answer.error === undefined) waiter.resolve(answer.result);
    else waiter.reject(Fault.fromWire(answer.error.data ?? answer.error));
  }

  #fail(fault: Fault): void {
    const waiters = [...this.#waiters.values()];
    this.#waiters.clear();
    for (const { reject } of waiters) reject(fault);
  }
}

function unreachable(path: string, error: Error): Fault {
  if (errnoOf(error) === 'EACCES') {
    const hint = 'Become root, join the group "usher" (to look) or "usher-admin", or be named in the setting "access".';
    const details = {
      user: process.getuid?.() ?? -1,
      operation: `open ${path}`,
      what: 'the socket does not let it in',
    };
    return new Fault('denied', details, { hint, cause: error });
  }
  const hint = 'Start the daemon: "usherd" in a terminal, or "usher service install" once for all.';
  return new Fault('daemon.unreachable', { socket: path }, { hint, cause: error });
}
