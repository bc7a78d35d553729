/**
 * Listens to a guest's serial console and types on it, by the Unix socket of a QEMU chardev, or only listens, by the
 * log file of one. Knows lines and time; of what the guest says it knows the answer to `sh`.
 */
import { open } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { sleep, systemClock } from '../src/lib/clock.ts';
import { pollUntil, withDeadline } from '../src/lib/deadline.ts';
import { errnoOf, Fault, isFault } from '../src/lib/fault.ts';
import { LineSplitter } from '../src/lib/lines.ts';
import { printable } from '../src/lib/text.ts';

export interface ConsoleLine {
  readonly text: string;
  /** When its end arrived here, in milliseconds of `performance.now()`. */
  readonly at: number;
  /** Its number on this console, from 0. */
  readonly index: number;
}

export interface WaitOptions {
  readonly timeoutMs: number;
  /** Lines before this number do not count: `console.position`, or `line.index + 1`. Default: every line counts. */
  readonly since?: number;
}

export interface ShellAnswer {
  readonly status: number;
  readonly lines: readonly string[];
}

/** A command's output need not end with a line feed. */
const SHELL_END = /^(.*)USHER-GUEST exit (\d+)$/;
const MAX_LINE_BYTES = 64 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
const RETRY_MS = 10;
const FOLLOW_MS = 20;
/** How many lines an error shows. */
const SHOWN_LINES = 12;

/** The console of one guest: all its lines since the connection, and waits for those to come. */
export class GuestConsole {
  readonly lines: ConsoleLine[] = [];
  readonly #name: string;
  readonly #splitter = new LineSplitter(MAX_LINE_BYTES);
  readonly #waiting = new Set<() => void>();
  #stream: Duplex | undefined;
  #isClosed = false;

  private constructor(name: string) {
    this.#name = name;
  }

  /** Connects to the Unix socket at `path`, waiting for it to appear. @throws Fault `timeout`. */
  static async connect(path: string, timeoutMs = CONNECT_TIMEOUT_MS): Promise<GuestConsole> {
    const guest = new GuestConsole(path);
    const what = `The connection to the console ${path}`;
    guest.#attach(await pollUntil({ what, timeoutMs, everyMs: RETRY_MS }, () => connectOnce(path)));
    return guest;
  }

  /** Talks over a stream that is open already, such as a pseudo-terminal; `name` is for errors. */
  static over(stream: Duplex, name: string): GuestConsole {
    const guest = new GuestConsole(name);
    guest.#attach(stream);
    return guest;
  }

  /** Follows a log file that may not exist yet; nothing can be typed. */
  static follow(path: string): GuestConsole {
    const guest = new GuestConsole(path);
    void guest.#follow(path);
    return guest;
  }

  /** The number that the next line will have: what `since` takes. */
  get position(): number {
    return this.lines.length;
  }

  /** Tells whether the other end is gone, or `close` was called. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Gives the first line that matches. @throws Fault `timeout` or `wire.closed`, showing the last lines. */
  async waitFor(pattern: RegExp, { timeoutMs, since = 0 }: WaitOptions): Promise<ConsoleLine> {
    let next = since;
    try {
      return await withDeadline({ what: `A console line like ${pattern}`, timeoutMs }, async (signal) => {
        for (;;) {
          for (; next < this.lines.length; next++) {
            const line = this.lines[next];
            if (line !== undefined && pattern.test(line.text)) return line;
          }
          if (this.#isClosed)
            throw new Fault('wire.closed', { peer: this.#name, what: `no line like ${pattern} came` });
          await this.#change(signal);
        }
      });
    } catch (error) {
      if (isFault(error)) error.message += ` The console's last lines:\n${this.tail()}`;
      throw error;
    }
  }

  /** Types a line, of 4000 bytes at most. Gives the position before it, for waiting on what follows. @throws Fault `wire.closed`. */
  command(text: string): number {
    const position = this.position;
    if (this.#stream === undefined || this.#isClosed)
      throw new Fault('wire.closed', { peer: this.#name, what: `"${text}" could not be typed` });
    this.#stream.write(`${text}\n`);
    return position;
  }

  /** Types a line and waits for the guest's answer to it. */
  ask(text: string, answer: RegExp, timeoutMs: number): Promise<ConsoleLine> {
    return this.waitFor(answer, { timeoutMs, since: this.command(text) });
  }

  /** Has the guest's shell run a command; other lines that come meanwhile are left out of its output. */
  async shell(command: string, timeoutMs: number): Promise<ShellAnswer> {
    const since = this.command(`sh ${command}`);
    const end = await this.waitFor(SHELL_END, { timeoutMs, since });
    const [, unended = '', status] = SHELL_END.exec(end.text) ?? [];
    const lines = [...this.lines.slice(since, end.index).map(({ text }) => text), ...(unended === '' ? [] : [unended])];
    return { status: Number(status), lines: lines.filter((text) => !text.startsWith('USHER-GUEST ')) };
  }

  /** Gives the last lines as text, safe to print. */
  tail(count = SHOWN_LINES): string {
    return this.lines
      .slice(-count)
      .map(({ text }) => `  | ${printable(text, 200)}`)
      .join('\n');
  }

  /** Leaves the console; the guest goes on. */
  close(): void {
    this.#stream?.destroy();
    this.#close();
  }

  #attach(stream: Duplex): void {
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    stream.on('error', () => undefined); // 'close' follows, and waits tell.
    stream.on('close', () => this.#close());
  }

  #take(chunk: Buffer): void {
    const at = performance.now();
    for (const line of this.#splitter.push(chunk))
      this.lines.push({ text: line.toString().replace(/\r+$/, ''), at, index: this.lines.length });
    this.#wake();
  }

  #close(): void {
    this.#isClosed = true;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.add(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  async #follow(path: string): Promise<void> {
    for (let offset = 0; !this.#isClosed; ) {
      const chunk = await readFrom(path, offset);
      offset += chunk.length;
      if (chunk.length > 0) this.#take(chunk);
      else await sleep(systemClock, FOLLOW_MS);
    }
  }
}

/** Connects, or gives undefined while nobody listens. */
function connectOnce(path: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', (error) => {
      if (['ENOENT', 'ECONNREFUSED'].includes(errnoOf(error) ?? '')) resolve(undefined);
      else reject(new Fault('wire.closed', { peer: path, what: error.message }, { cause: error }));
    });
  });
}

async function readFrom(path: string, offset: number): Promise<Buffer> {
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return Buffer.alloc(0);
  try {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(MAX_LINE_BYTES), position: offset });
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
