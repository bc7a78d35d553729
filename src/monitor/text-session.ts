/** One connection's talk in the text dialect: lines in, answers out in the same order. */
import type { Socket } from 'node:net';
import { asFault, Fault, isFault } from '../lib/fault.ts';
import { LineSplitter } from '../lib/lines.ts';
import { helpLines } from './commands.ts';
import { formatNotificationLine } from './notifications.ts';
import type { SessionOptions } from './session-options.ts';
import { Subscription } from './subscription.ts';
import { formatError, formatOk, parseCommand } from './text-dialect.ts';

/** The longest line: a command with a path, and room to spare. */
export const MAX_LINE_BYTES = 8 * 1024;
/** So many unanswered lines, and no more are read until some are answered. */
const MAX_WAITING_LINES = 64;
/** How long a line may stay unfinished. */
const HALF_LINE_MS = 30_000;
/** How long a client whose connection is ended for a fault of its own may take to read why. */
const GRACE_MS = 1_000;

/**
 * INVARIANTS: one command is answered at a time, in the order of the lines; a timer runs only while a line is
 * unfinished or a refused client is being ended; nothing that `answer` throws leaves the session.
 */
export class TextSession {
  readonly #socket: Socket;
  readonly #options: SessionOptions;
  readonly #lines = new LineSplitter(MAX_LINE_BYTES);
  readonly #subscription: Subscription;
  #waiting: string[] = [];
  #isAnswering = false;
  #isOver = false;
  #hasEnded = false;
  #cancelTimer: (() => void) | undefined;

  /** Takes the connection over, `head` being what was read of it. */
  constructor(socket: Socket, head: Buffer, options: SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#subscription = new Subscription(socket, options.uuid, formatNotificationLine);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('end', () => this.#endOfInput());
    socket.on('close', () => this.#stop());
    this.#read(head);
  }

  /** Tells a subscriber that the monitor ends. */
  farewell(): void {
    this.#subscription.end();
  }

  #read(chunk: Buffer): void {
    if (this.#isOver) return;
    try {
      for (const line of this.#lines.push(chunk)) this.#waiting.push(line.toString('utf8'));
    } catch {
      this.#refuse(`A line is longer than ${MAX_LINE_BYTES} bytes`);
      return;
    }
    if (this.#waiting.length > MAX_WAITING_LINES) this.#socket.pause();
    this.#watchHalfLine();
    this.#answerAll();
  }

  /** Takes a last line without its end, as `printf status | nc -U` leaves it, and ends when all is answered. */
  #endOfInput(): void {
    if (this.#isOver) return;
    this.#hasEnded = true;
    if (this.#lines.pendingBytes > 0) this.#read(Buffer.from('\n'));
    this.#answerAll();
  }

  #answerAll(): void {
    if (this.#isAnswering) return;
    this.#drain().catch((error: unknown) => {
      this.#options.log.error('a monitor session failed', { error });
      this.#socket.destroy();
    });
  }

  async #drain(): Promise<void> {
    this.#isAnswering = true;
    for (let line = this.#waiting.shift(); line !== undefined; line = this.#waiting.shift()) {
      if (line.trim() === '') continue;
      await this.#answer(line);
      if (this.#isOver) return;
      if (this.#socket.writableNeedDrain) await this.#untilRead();
      if (this.#waiting.length <= MAX_WAITING_LINES / 2 && this.#socket.isPaused()) this.#readOn();
    }
    this.#isAnswering = false;
    if (this.#hasEnded && !this.#isOver) this.#socket.end();
  }

  async #answer(untrustedLine: string): Promise<void> {
    try {
      const command = parseCommand(untrustedLine);
      const isSubscribed = command.name === 'subscribe' && this.#subscription.isOpen;
      const caller = this.#subscription;
      const lines =
        command.name === 'help' ? helpLines() : isSubscribed ? [] : await this.#options.answer(command, caller);
      if (command.name === 'quit') this.#quit();
      else if (command.name === 'subscribe') this.#subscription.open(formatOk(lines));
      else if (!this.#isOver) this.#socket.write(formatOk(lines));
    } catch (error) {
      if (!isFault(error)) this.#options.log.error('a monitor command failed', { error });
      if (!this.#isOver) this.#socket.write(formatError(asFault(error)));
    }
  }

  #quit(): void {
    this.#stop();
    this.#socket.end(formatOk([]), this.#options.onQuit);
  }

  /** Ends the connection with a sentence. Not reading on keeps the rest of what the client pushes out of memory. */
  #refuse(what: string): void {
    this.#stop();
    this.#socket.pause();
    this.#socket.end(formatError(new Fault('usage', { what })));
    this.#cancelTimer = this.#options.clock.after(GRACE_MS, () => this.#socket.destroy());
  }

  #readOn(): void {
    this.#socket.resume();
    this.#watchHalfLine();
  }

  /** The time during which nothing is read is not the client's. */
  #watchHalfLine(): void {
    if (this.#lines.pendingBytes === 0 || this.#socket.isPaused()) {
      this.#cancelTimer?.();
      this.#cancelTimer = undefined;
    } else {
      const what = `A line was not finished within ${HALF_LINE_MS / 1000} s`;
      this.#cancelTimer ??= this.#options.clock.after(HALF_LINE_MS, () => this.#refuse(what));
    }
  }

  #untilRead(): Promise<void> {
    return new Promise((resolve) => {
      const go = () => {
        this.#socket.off('drain', go);
        this.#socket.off('close', go);
        resolve();
      };
      this.#socket.on('drain', go);
      this.#socket.on('close', go);
    });
  }

  #stop(): void {
    this.#isOver = true;
    this.#waiting = [];
    this.#subscription.close();
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }
}
