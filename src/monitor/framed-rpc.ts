/**
 * The framed dialect of a monitor's socket, as the last xenvm (OpenXT) speaks it: a request is a JSON-RPC 2.0 object behind
 * its length, 4 bytes, big-endian; its parameters are an object of strings; the answer is a bare JSON text. Values without I/O.
 */
import { asFault, Fault } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';
import { isCommand, type MonitorCommand, makeCommand, type UntrustedArgument } from './commands.ts';
import { sentenceOf } from './text-dialect.ts';

/** The longest request that is read, in bytes: a command with some paths and room to spare. */
export const MAX_FRAME_BYTES = 64 * 1024;
const LENGTH_BYTES = 4;
/** So many pieces are held at most: a peer may send byte by byte. */
const MAX_PIECES = 64;

/** What the bytes so far come to. */
export type FrameState =
  | { readonly is: 'need more' }
  | { readonly is: 'frame'; readonly body: Buffer }
  | { readonly is: 'broken'; readonly why: string };

const NEED_MORE: FrameState = { is: 'need more' };

/** Reads one frame out of bytes in whatever pieces. What comes behind it is not looked at. */
export class FrameReader {
  #pieces: Buffer[] = [];
  #bytes = 0;
  #state: FrameState = NEED_MORE;

  /** Takes bytes; gives the state that they lead to. A frame, or a broken one, stays what it is. */
  push(chunk: Buffer): FrameState {
    if (this.#state.is !== 'need more') return this.#state;
    this.#bytes += chunk.length;
    if (this.#pieces.length >= MAX_PIECES) this.#pieces = [Buffer.concat(this.#pieces)];
    this.#pieces.push(chunk);
    this.#state = this.#look();
    return this.#state;
  }

  #look(): FrameState {
    if (this.#bytes < LENGTH_BYTES) return NEED_MORE;
    const length = lengthOf(this.#pieces);
    if (length > MAX_FRAME_BYTES) return this.#end({ is: 'broken', why: `it is longer than ${MAX_FRAME_BYTES} bytes` });
    if (length === 0) return this.#end({ is: 'broken', why: 'it is empty' });
    if (this.#bytes < LENGTH_BYTES + length) return NEED_MORE;
    const body = Buffer.concat(this.#pieces).subarray(LENGTH_BYTES, LENGTH_BYTES + length);
    return this.#end({ is: 'frame', body });
  }

  #end(state: FrameState): FrameState {
    this.#pieces = [];
    return state;
  }
}

export type FramedId = string | number | null;

/** A request, understood as far as it could be. */
export interface FramedRequest {
  readonly id: FramedId;
  /** Absent when it was refused. */
  readonly command?: MonitorCommand;
  readonly refusal?: Fault;
}

/** Understands the body of a frame. Never throws: what is wrong is a refusal with the id, if that could be read. */
export function parseFramedRequest(untrustedBody: Buffer): FramedRequest {
  let id: FramedId = null;
  try {
    const request = objectOf(untrustedBody);
    id = idOf(request['id']);
    return { id, command: commandOf(request) };
  } catch (error) {
    return { id, refusal: asFault(error) };
  }
}

/** Writes a good answer: the lines as one string, `null` when there are none. */
export function formatFramedResult(id: FramedId, lines: readonly string[]): string {
  return `${JSON.stringify({ jsonrpc: '2.0', result: lines.length === 0 ? null : lines.join('\n'), id })}\n`;
}

/** Writes a bad answer, with the one code that the original has for all of them; ours is in `data`. */
export function formatFramedError(id: FramedId, fault: Fault): string {
  const error = { code: -32602, message: sentenceOf(fault), data: fault.code };
  return `${JSON.stringify({ jsonrpc: '2.0', error, id })}\n`;
}

/** Writes a request as a client sends it. */
export function formatFrame(request: object): Buffer {
  const body = Buffer.from(JSON.stringify(request));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** The first four bytes, wherever they are cut. */
function lengthOf(pieces: readonly Buffer[]): number {
  const [first] = pieces;
  return (first !== undefined && first.length >= LENGTH_BYTES ? first : Buffer.concat(pieces)).readUInt32BE(0);
}

function objectOf(untrustedBody: Buffer): Readonly<Record<string, unknown>> {
  let message: unknown;
  try {
    message = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(untrustedBody));
  } catch {
    throw new Fault('rpc.invalid', { what: 'it is not JSON' });
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message)) {
    throw new Fault('rpc.invalid', { what: 'it is not an object' });
  }
  return message as Readonly<Record<string, unknown>>;
}

function idOf(untrustedId: unknown): FramedId {
  if (untrustedId === undefined) return null;
  if (untrustedId === null || typeof untrustedId === 'number') return untrustedId;
  if (typeof untrustedId === 'string' && untrustedId.length <= 256) return untrustedId;
  throw new Fault('rpc.invalid', { what: '"id" is neither a string nor a number' });
}

function commandOf({ method, params = {} }: Readonly<Record<string, unknown>>): MonitorCommand {
  if (typeof method !== 'string') throw new Fault('rpc.invalid', { what: '"method" is missing or not a name' });
  if (typeof params !== 'object' || params === null || Array.isArray(params)) {
    throw new Fault('rpc.invalid', { what: '"params" is not an object' });
  }
  const untrustedArguments = Object.entries(params).map(([name, value]): UntrustedArgument => {
    // The original takes strings alone; a program that sends true or 5 means nothing else by it.
    if (typeof value === 'boolean' || typeof value === 'number') return { name, value: String(value) };
    if (typeof value === 'string') return { name, value };
    throw new Fault('params.invalid', { field: printable(name, 40), what: 'a string is expected' });
  });
  if (!isCommand(method)) {
    const hint = '"help" lists the commands.';
    throw new Fault('usage', { what: `unknown RPC "${printable(method, 40)}"` }, { hint });
  }
  return makeCommand(method, untrustedArguments);
}
