/** The requests of one session: those that wait to be sent, those that wait for their reply. No I/O, no clock. */
import type { Fault } from '../../lib/fault.ts';
import { XenstoreError } from './error.ts';
import { PACKET_TYPES, type Packet, packetName, type RequestName } from './packets.ts';
import { type Decoded, decodeString, WRONG_FORM } from './payloads.ts';

/** What is sent. */
export interface Message {
  readonly name: RequestName;
  /** The node; it stands first in the payload, with a NUL. */
  readonly path?: string;
  /** Watches and permissions are for special paths too. */
  readonly allowsSpecial?: boolean;
  /** What follows the path: ASCII, the fields with their NULs. */
  readonly text?: string;
  /** Follows the text: the value of a WRITE. */
  readonly value?: string | Uint8Array | undefined;
  readonly transactionId?: number;
}

/** What is asked, and how the reply is read. */
export interface Question<T> extends Message {
  /** Reads the reply while its bytes are there: it must not keep them. */
  readonly decode: (body: Buffer) => Decoded<T>;
  /** Given instead of the error when the node is not there. */
  readonly whenAbsent?: { readonly value: T };
  /** Called with a reply that came after its deadline, for what must be undone. */
  onLate?(value: T): void;
}

export interface Request {
  readonly question: Question<unknown>;
  readonly timeoutMs: number;
  /** Monotonic milliseconds. */
  readonly deadline: number;
  /** Settled by its deadline or its signal: a reply is late from then on. */
  isAbandoned: boolean;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  /** Takes away what was set up for the request, such as the listener of its signal. */
  readonly release: (() => void) | undefined;
}

const MAX_ID = 0xffff_ffff;

/**
 * INVARIANTS:
 * - A request is settled at most once. Until its reply comes its number is not given again, abandoned or not, and it
 *   counts as under way: xenstored still holds it.
 * - Requests leave in the order in which they came; an abandoned one that was not sent never leaves.
 */
export class Requests {
  readonly #sent = new Map<number, Request>();
  #queue: Request[] = [];
  #queueHead = 0;
  #lastId = 0;

  /** How many were sent and have no reply. */
  get underWay(): number {
    return this.#sent.size;
  }

  /** How many of them nobody waits for any more. */
  get givenUp(): number {
    let count = 0;
    for (const { isAbandoned } of this.#sent.values()) if (isAbandoned) count++;
    return count;
  }

  /** Tells whether nobody waits any more. */
  get isIdle(): boolean {
    return this.#sent.size === 0 && this.#queueHead === this.#queue.length;
  }

  add(request: Request): void {
    this.#queue.push(request);
  }

  /** Gives the next request that is to be sent, with its number; `undefined` when there is none. */
  next(): { readonly id: number; readonly request: Request } | undefined {
    for (;;) {
      const request = this.#queue[this.#queueHead];
      if (request === undefined) {
        if (this.#queueHead > 0) this.#queue = [];
        this.#queueHead = 0;
        return undefined;
      }
      this.#queueHead++;
      if (request.isAbandoned) continue;
      const id = this.#freeId();
      this.#sent.set(id, request);
      return { id, request };
    }
  }

  /** Settles the request of a reply; gives what is wrong with the reply, as a part of a sentence, if anything is. */
  settle({ type, requestId, transactionId, body }: Packet): string | undefined {
    const request = this.#sent.get(requestId);
    if (request === undefined) return `it answers a request that does not wait: ${wordFor(type)} ${requestId}`;
    const { question, isAbandoned } = request;
    const { name, path, transactionId: expected = 0, whenAbsent, decode, onLate } = question;
    if (transactionId !== expected) return `it answers ${name} for another transaction`;
    const isError = type === PACKET_TYPES.ERROR;
    if (!isError && type !== PACKET_TYPES[name]) return `it answers ${name} with ${wordFor(type)}`;
    const value = isError ? decodeString(body) : decode(body);
    if (value === WRONG_FORM) return `its ${isError ? 'refusal of' : 'reply to'} ${name} has the wrong form`;
    this.#sent.delete(requestId);
    if (isAbandoned) {
      if (!isError) onLate?.(value);
      return undefined;
    }
    request.release?.();
    if (!isError) request.resolve(value);
    else if (value === 'ENOENT' && whenAbsent !== undefined) request.resolve(whenAbsent.value);
    else request.reject(new XenstoreError(name, path, value as string));
    return undefined;
  }

  /** Gives those that wait and whose deadline has come, each once; and the earliest deadline of the others. */
  expire(now: number): { readonly expired: readonly Request[]; readonly nextDeadline: number } {
    const expired: Request[] = [];
    let nextDeadline = Number.POSITIVE_INFINITY;
    const look = (request: Request) => {
      if (request.isAbandoned) return;
      if (request.deadline <= now) expired.push(request);
      else nextDeadline = Math.min(nextDeadline, request.deadline);
    };
    for (const request of this.#sent.values()) look(request);
    for (let at = this.#queueHead; at < this.#queue.length; at++) look(this.#queue[at] as Request);
    return { expired, nextDeadline };
  }

  /** Fails all that wait. */
  end(fault: Fault): void {
    const waiting = [...this.#sent.values(), ...this.#queue.slice(this.#queueHead)];
    this.#sent.clear();
    this.#queue = [];
    this.#queueHead = 0;
    for (const request of waiting) abandon(request, fault);
  }

  #freeId(): number {
    do this.#lastId = this.#lastId === MAX_ID ? 1 : this.#lastId + 1;
    while (this.#sent.has(this.#lastId));
    return this.#lastId;
  }
}

/** Stops waiting, with this error; has no effect on a request that was given up before. */
export function abandon(request: Request, error: Error): void {
  if (request.isAbandoned) return;
  request.isAbandoned = true;
  request.release?.();
  request.reject(error);
}

function wordFor(type: number): string {
  return packetName(type) ?? `a packet of the unknown type ${type}`;
}
