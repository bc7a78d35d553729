/**
 * One connection's talk in the framed dialect: a request, its answer, the end; but one who has subscribed hears on. The
 * grammar is framed-rpc.ts.
 */
import type { Socket } from 'node:net';
import { asFault, Fault, isFault } from '../lib/fault.ts';
import { helpLines } from './commands.ts';
import { FrameReader, formatFramedError, formatFramedResult, parseFramedRequest } from './framed-rpc.ts';
import { formatNotificationJson } from './notifications.ts';
import type { SessionOptions } from './session-options.ts';
import { Subscription } from './subscription.ts';

/** How long a request may stay unfinished. */
const HALF_FRAME_MS = 30_000;
/** How long a client may take to read its answer and hang up. */
const GRACE_MS = 1_000;

/**
 * INVARIANTS: one request is answered, once; a timer runs only while a request is unfinished or a client that has its
 * answer has not hung up; nothing that `answer` throws leaves the session.
 */
export class FramedSession {
  readonly #socket: Socket;
  readonly #options: SessionOptions;
  readonly #reader = new FrameReader();
  readonly #subscription: Subscription;
  #isOver = false;
  #hasAsked = false;
  #hasEnded = false;
  #cancelTimer: (() => void) | undefined;

  /** Takes the connection over, `head` being what was read of it. */
  constructor(socket: Socket, head: Buffer, options: SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#subscription = new Subscription(socket, options.uuid, formatNotificationJson);
    const what = `A request was not finished within ${HALF_FRAME_MS / 1000} s`;
    this.#cancelTimer = options.clock.after(HALF_FRAME_MS, () => this.#refuse(what));
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
    if (this.#isOver || this.#hasAsked) return;
    const state = this.#reader.push(chunk);
    if (state.is === 'need more') return;
    this.#hasAsked = true;
    this.#stopTimer();
    if (state.is === 'broken') this.#refuse(`The request is not understood: ${state.why}`);
    else void this.#answer(state.body);
  }

  #endOfInput(): void {
    this.#hasEnded = true;
    if (!this.#hasAsked) this.#refuse('The request is not finished');
    else if (this.#subscription.isOpen) this.#socket.end();
  }

  /** Never rejects: what goes wrong is the answer. */
  async #answer(untrustedBody: Buffer): Promise<void> {
    const { id, command, refusal } = parseFramedRequest(untrustedBody);
    try {
      if (command === undefined) throw refusal;
      const lines = command.name === 'help' ? helpLines() : await this.#options.answer(command, this.#subscription);
      const answer = formatFramedResult(id, lines);
      if (command.name === 'quit') this.#quit(answer);
      else if (command.name === 'subscribe') this.#subscribe(answer);
      else this.#end(answer);
    } catch (error) {
      if (!isFault(error)) this.#options.log.error('a monitor command failed', { error });
      this.#end(formatFramedError(id, asFault(error)));
    }
  }

  /** A client that has closed its side meanwhile has its answer, and no more comes. */
  #subscribe(answer: string): void {
    this.#subscription.open(answer);
    if (this.#hasEnded) this.#socket.end();
  }

  #quit(answer: string): void {
    if (this.#isOver) return;
    this.#stop();
    this.#socket.end(answer, this.#options.onQuit);
  }

  #refuse(what: string): void {
    this.#end(formatFramedError(null, new Fault('usage', { what })));
  }

  /** Answers and hangs up; what the client pushes after that is dropped. */
  #end(answer: string): void {
    if (this.#isOver) return;
    this.#stop();
    this.#socket.end(answer);
    this.#cancelTimer = this.#options.clock.after(GRACE_MS, () => this.#socket.destroy());
    this.#socket.once('close', () => this.#stopTimer());
  }

  #stop(): void {
    this.#isOver = true;
    this.#subscription.close();
    this.#stopTimer();
  }

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }
}
