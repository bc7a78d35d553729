/**
 * A line to the daemon in dom0 over a virtio-serial port of the host: requests and answers without a process for each,
 * which costs the emulated host more than the request. In dom0 a socat joins the port with the daemon's socket.
 */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Host } from '../../lab/host.ts';
import { shellWord } from '../../lab/shell-word.ts';
import { withDeadline } from '../../src/lib/deadline.ts';
import { LineSplitter } from '../../src/lib/lines.ts';

/** The name of the port, in the model of the host. */
const PORT = 'daemon';
const MAX_LINE_BYTES = 16 * 1024 * 1024;

export interface DaemonAnswer {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly data: { readonly code: string; readonly message: string } };
  /** The line is over: the daemon has ended. */
  readonly closed?: string;
}

interface Waiter {
  readonly resolve: (answer: DaemonAnswer) => void;
  readonly reject: (error: Error) => void;
}

/** INVARIANTS: an answer goes to the request of its number, numbers are never used twice; what is left of a line before is ignored. */
export class DaemonLine {
  readonly #host: Host;
  readonly #waiting = new Map<number, Waiter>();
  #socket: Socket | undefined;
  #count = 0;
  /** Tells the end of this line from that of one before. */
  #name = '';

  constructor(host: Host) {
    this.#host = host;
  }

  /** Joins the port with the socket in dom0 at `path`, on which the daemon listens. */
  async open(path: string): Promise<void> {
    this.#socket?.destroy();
    const socket = createConnection(join(this.#host.folder, PORT));
    await once(socket, 'connect');
    this.#socket = socket;
    const splitter = new LineSplitter(MAX_LINE_BYTES);
    socket.on('data', (chunk: Buffer) => {
      for (const line of splitter.push(chunk)) this.#take(line.toString());
    });
    socket.on('error', () => undefined); // 'close' follows.
    socket.on('close', () => this.#end(socket));
    this.#name = `line-${++this.#count}`;
    // The line feeds part this line from what one before has left behind.
    await this.#host.check(
      `setsid bash -c 'exec 3<> /dev/virtio-ports/${PORT}; echo >&3; socat - ${shellWord(`UNIX-CONNECT:${path}`)} <&3 >&3
        printf "\\n{\\"closed\\":\\"${this.#name}\\"}\\n" >&3' < /dev/null > /dev/null 2>&1 &`,
    );
  }

  /** Sends a request and gives its answer. @throws Fault `timeout`; Error when the daemon ends before it has answered. */
  async ask(operation: string, params: object, timeoutMs: number): Promise<DaemonAnswer> {
    const id = ++this.#count;
    return await withDeadline({ what: `The answer to ${operation}`, timeoutMs }, (signal) => {
      const waiter = Promise.withResolvers<DaemonAnswer>();
      if (this.#socket === undefined) throw new Error(`${operation}: there is no line to the daemon`);
      this.#waiting.set(id, waiter);
      signal.addEventListener('abort', () => this.#waiting.delete(id), { once: true });
      this.#socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, method: operation, params })}\n`);
      return waiter.promise;
    });
  }

  close(): void {
    this.#socket?.destroy();
  }

  #take(line: string): void {
    const answer = parsed(line);
    if (answer?.closed === this.#name) this.#end(this.#socket);
    if (answer?.id === undefined) return; // Events, and what is left of a line before.
    this.#waiting.get(answer.id)?.resolve(answer);
    this.#waiting.delete(answer.id);
  }

  #end(socket: Socket | undefined): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    socket?.destroy();
    for (const { reject } of this.#waiting.values()) reject(new Error('the daemon ended without an answer'));
    this.#waiting.clear();
  }
}

function parsed(line: string): DaemonAnswer | undefined {
  try {
    return JSON.parse(line) as DaemonAnswer;
  } catch {
    return undefined;
  }
}
