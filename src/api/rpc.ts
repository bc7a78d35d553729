/**
 * The server half of the RPC: JSON-RPC 2.0, one message a line, as a value that bytes are pushed into. Knows neither
 * sockets nor what operations do; see docs/protocols/rpc.md. The client half is client.ts.
 */
import { asFault, Fault, type FaultWire } from '../lib/fault.ts';
import { LineSplitter } from '../lib/lines.ts';

/** The longest request line that is read, in bytes. */
export const MAX_REQUEST_BYTES = 4 * 1024 * 1024;
/** How many requests of one connection may be under way; more are refused. */
const MAX_UNDER_WAY = 64;

/** JSON-RPC's own codes; the real one is `error.data.code`. */
const RPC_CODE = { parse: -32700, invalid: -32600, unknown: -32601, params: -32602, internal: -32603, fault: -32000 };

/** Tells the client something while its request is under way. */
export type Notify = (method: 'progress' | 'event', params: object) => void;

/** Performs an operation; a thrown Fault is the answer, anything else is a bug and answered as `internal`. */
export type Dispatch = (
  operation: string,
  untrustedParams: unknown,
  context: { readonly notify: Notify; readonly signal: AbortSignal },
) => Promise<unknown>;

type RequestId = string | number | null;

/**
 * One client.
 *
 * INVARIANTS: requests are performed side by side and answered when they end, each with its id; after `close` nothing is
 * written and the requests under way see their signal aborted.
 */
export class RpcConnection {
  readonly #lines = new LineSplitter(MAX_REQUEST_BYTES);
  readonly #dispatch: Dispatch;
  readonly #write: (text: string) => void;
  readonly #end: () => void;
  readonly #gone = new AbortController();
  #underWay = 0;

  /** `write` sends text to the client, `end` closes the connection after what was written. */
  constructor(options: {
    readonly dispatch: Dispatch;
    readonly write: (text: string) => void;
    readonly end: () => void;
  }) {
    this.#dispatch = options.dispatch;
    this.#write = options.write;
    this.#end = options.end;
  }

  /** Takes bytes from the client. */
  push(untrustedChunk: Buffer): void {
    if (this.#gone.signal.aborted) return;
    let lines: Buffer[];
    try {
      lines = this.#lines.push(untrustedChunk);
    } catch (error) {
      this.#refuse(null, RPC_CODE.invalid, new Fault('rpc.invalid', { what: (error as Error).message }));
      this.#end();
      this.close();
      return;
    }
    for (const line of lines) if (line.length > 0) this.#takeLine(line);
  }

  /** Gives up the requests under way; the client is gone. */
  close(): void {
    if (!this.#gone.signal.aborted) this.#gone.abort(new Fault('aborted', { what: 'The request' }));
  }

  #takeLine(line: Buffer): void {
    const request = parseRequest(line);
    if ('refusal' in request) {
      this.#refuse(null, request.code, new Fault('rpc.invalid', { what: request.refusal }));
    } else if (this.#underWay >= MAX_UNDER_WAY) {
      const what = `more than ${MAX_UNDER_WAY} requests are under way on this connection`;
      this.#refuse(request.id, RPC_CODE.invalid, new Fault('rpc.invalid', { what }));
    } else {
      void this.#perform(request.id, request.method, request.params);
    }
  }

  async #perform(id: RequestId, method: string, params: unknown): Promise<void> {
    this.#underWay++;
    const notify: Notify = (what, body) =>
      this.#send({ jsonrpc: '2.0', method: what, params: { ...body, request: id } });
    try {
      const result = await this.#dispatch(method, params, { notify, signal: this.#gone.signal });
      this.#send({ jsonrpc: '2.0', id, result: result ?? null });
    } catch (error) {
      const fault = asFault(error);
      this.#refuse(id, rpcCodeOf(fault), fault);
    } finally {
      this.#underWay--;
    }
  }

  #refuse(id: RequestId, code: number, fault: Fault): void {
    const data: FaultWire = fault.toWire();
    this.#send({ jsonrpc: '2.0', id, error: { code, message: fault.message, data } });
  }

  #send(message: object): void {
    if (!this.#gone.signal.aborted) this.#write(`${JSON.stringify(message)}\n`);
  }
}

interface Request {
  readonly id: RequestId;
  readonly method: string;
  readonly params: unknown;
}

function parseRequest(line: Buffer): Request | { readonly refusal: string; readonly code: number } {
  let message: unknown;
  try {
    message = JSON.parse(line.toString());
  } catch {
    return { refusal: 'it is not JSON', code: RPC_CODE.parse };
  }
  const refuse = (refusal: string) => ({ refusal, code: RPC_CODE.invalid });
  if (typeof message !== 'object' || message === null || Array.isArray(message)) return refuse('it is not an object');
  const { id = null, method, params = {} } = message as { id?: unknown; method?: unknown; params?: unknown };
  if (id !== null && typeof id !== 'string' && typeof id !== 'number') {
    return refuse('"id" is neither a string nor a number');
  }
  if (typeof method !== 'string' || method.length > 64) return refuse('"method" is missing or not a name');
  return { id, method, params };
}

function rpcCodeOf(fault: Fault): number {
  if (fault.code === 'rpc.unknown_operation') return RPC_CODE.unknown;
  if (fault.code === 'params.invalid') return RPC_CODE.params;
  return fault.code === 'internal' ? RPC_CODE.internal : RPC_CODE.fault;
}
