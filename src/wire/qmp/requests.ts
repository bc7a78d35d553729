/** The commands of one session that wait for their reply, and the numbers they go by. No I/O, no time. */
import { Fault } from '../../lib/fault.ts';
import { QMP_RETURN_SHAPES, type QmpCommandName } from './commands.ts';
import { QmpError } from './error.ts';
import type { QmpFailure, QmpReturn } from './parser.ts';

export interface Request {
  readonly command: QmpCommandName;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** JSON.stringify writes half a surrogate pair as an escape; QEMU answers that with an error that has no id. */
const HALF_SURROGATE = /(?<!\\)(?:\\\\)*\\ud[89a-f]/;

/**
 * INVARIANTS:
 * - A number is given once. What was given and no longer waits is late, and dropped; what was never given is a
 *   violation, and so is an error without a number: QEMU did not understand us, and may say so more than once.
 * - A request is settled at most once.
 */
export class Requests {
  readonly #waiting = new Map<number, Request>();
  #nextId = 1;

  get size(): number {
    return this.#waiting.size;
  }

  /** Gives the line to send, without its end, and the request's number. @throws Fault `params.invalid`. */
  add(request: Request, args: unknown): { id: number; line: string } {
    const id = this.#nextId;
    const line = JSON.stringify({ execute: request.command, arguments: args, id });
    if (HALF_SURROGATE.test(line)) {
      const what = 'half of a surrogate pair is no text';
      throw new Fault('params.invalid', { field: `arguments of ${request.command}`, what });
    }
    this.#nextId++;
    this.#waiting.set(id, request);
    return { id, line };
  }

  /** Stops waiting: a reply is late from now on. */
  forget(id: number): void {
    this.#waiting.delete(id);
  }

  /** Settles the request of a reply; gives what is wrong with the reply, as a part of a sentence, if anything is. */
  settle(reply: QmpReturn | QmpFailure): string | undefined {
    const { id } = reply;
    if (id === undefined && reply.kind === 'error') return `it did not understand a request: ${reply.desc}`;
    const wasGiven = typeof id === 'number' && Number.isInteger(id) && id >= 1 && id < this.#nextId;
    if (!wasGiven) return 'it answers a request that was never sent';
    const request = this.#waiting.get(id);
    if (request === undefined) return undefined;
    const { command } = request;
    if (reply.kind === 'return' && !hasReturnShape(command, reply.value)) {
      return `its reply to ${command} has the wrong form`;
    }
    this.#waiting.delete(id);
    if (reply.kind === 'return') request.resolve(reply.value);
    else request.reject(new QmpError(command, reply.class, reply.desc));
    return undefined;
  }

  /** Fails all that wait. */
  end(fault: Fault): void {
    for (const { reject } of this.#waiting.values()) reject(fault);
    this.#waiting.clear();
  }
}

function hasReturnShape(command: QmpCommandName, value: unknown): boolean {
  const shape = QMP_RETURN_SHAPES[command];
  if (shape === 'any') return value !== undefined;
  if (shape === 'array') return Array.isArray(value);
  return typeof value === shape && value !== null && !Array.isArray(value);
}
