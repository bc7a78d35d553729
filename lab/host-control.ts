/**
 * Runs shell scripts in the guest that plays a host, over its virtio-serial port. The other end is host/agent; several
 * scripts may run side by side.
 */
import { createConnection, type Socket } from 'node:net';
import { withDeadline } from '../src/lib/deadline.ts';
import { Fault } from '../src/lib/fault.ts';
import { LineSplitter } from '../src/lib/lines.ts';

export interface RunOptions {
  /** Default: 30 s. The guest kills the script at this time. */
  readonly timeoutMs?: number;
}

export interface RunResult {
  readonly status: number;
  /** Standard output and standard error as they came. */
  readonly output: string;
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** What an answer may take beyond the script: two emulated processors may be busy. */
const GRACE_MS = 10_000;
const MAX_LINE_BYTES = 32 * 1024 * 1024;

/** One connection to the agent; the port takes one at a time. */
export class HostControl {
  readonly #socket: Socket;
  readonly #path: string;
  readonly #splitter = new LineSplitter(MAX_LINE_BYTES);
  readonly #waiting = new Map<string, { resolve(result: RunResult): void; reject(error: Error): void }>();
  #count = 0;

  private constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#path = path;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', () => undefined); // 'close' follows.
    socket.on('close', () => this.#end());
  }

  /** Connects to the Unix socket of the port; the agent need not run yet. @throws Fault `wire.closed`. */
  static connect(path: string): Promise<HostControl> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path);
      socket.once('connect', () => resolve(new HostControl(socket, path)));
      socket.once('error', (error) =>
        reject(new Fault('wire.closed', { peer: path, what: error.message }, { cause: error })),
      );
    });
  }

  /**
   * Runs a bash script as root to its end and gives its status, 137 when it was killed for its time. It ends when its
   * output is closed: what shall stay needs `setsid` and its output somewhere else. @throws Fault `timeout`, `wire.closed`.
   */
  run(script: string, { timeoutMs = DEFAULT_TIMEOUT_MS }: RunOptions = {}): Promise<RunResult> {
    const tag = `t${this.#count++}`;
    const what = `The host guest's answer to "${script.slice(0, 100)}"`;
    return withDeadline({ what, timeoutMs: timeoutMs + GRACE_MS }, (signal) => {
      if (this.#socket.destroyed) throw this.#closed();
      const result = Promise.withResolvers<RunResult>();
      this.#waiting.set(tag, result);
      signal.addEventListener('abort', () => this.#waiting.delete(tag), { once: true });
      this.#socket.write(`${tag} ${Math.ceil(timeoutMs / 1000)} ${Buffer.from(script).toString('base64')}\n`);
      return result.promise;
    });
  }

  /** Ends the connection; what runs goes on. */
  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    for (const line of this.#splitter.push(chunk)) {
      const [tag = '', status, output = ''] = line.toString('latin1').split(' ');
      this.#waiting.get(tag)?.resolve({ status: Number(status), output: Buffer.from(output, 'base64').toString() });
      this.#waiting.delete(tag);
    }
  }

  #end(): void {
    for (const { reject } of this.#waiting.values()) reject(this.#closed());
    this.#waiting.clear();
  }

  #closed(): Fault {
    return new Fault('wire.closed', { peer: this.#path, what: 'the host guest has ended' });
  }
}
