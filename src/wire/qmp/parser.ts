/**
 * Incremental QMP parser: bytes of the server in, messages out. A value without I/O; it knows nothing of requests.
 * Follows qemu docs/interop/qmp-spec: one JSON object a line, CRLF at its end.
 */
import { isUtf8 } from 'node:buffer';
import { LineSplitter } from '../../lib/lines.ts';
import { printable } from '../../lib/text.ts';
import type { QmpEvent, QmpVersion } from './commands.ts';

export interface QmpGreeting {
  readonly kind: 'greeting';
  readonly version: QmpVersion;
  readonly capabilities: readonly string[];
}

export interface QmpReturn {
  readonly kind: 'return';
  /** What the client sent as `id`; `undefined` when the reply has none. */
  readonly id: unknown;
  readonly value: unknown;
}

export interface QmpFailure {
  readonly kind: 'error';
  readonly id: unknown;
  /** `GenericError`, `CommandNotFound`, `DeviceNotFound`, `DeviceNotActive` or `KVMMissingCap`. */
  readonly class: string;
  readonly desc: string;
}

export type QmpMessage = QmpGreeting | QmpReturn | QmpFailure | QmpEvent;

export interface QmpParserLimits {
  /** Longest line, in bytes, without its end. */
  readonly maxLineBytes?: number;
  /** Deepest nesting of objects and arrays; QEMU itself refuses more than 1024. */
  readonly maxDepth?: number;
}

const NEWLINE = 0x0a;
const DEFAULT_MAX_LINE_BYTES = 4 * 1024 * 1024;
const DEFAULT_MAX_DEPTH = 1024;

/** Takes chunks, cut anywhere, and gives messages until the peer breaks the protocol; then it stays broken. */
export class QmpParser {
  readonly #maxDepth: number;
  #lines: LineSplitter;
  #broken: string | undefined;

  constructor(limits: QmpParserLimits = {}) {
    this.#maxDepth = limits.maxDepth ?? DEFAULT_MAX_DEPTH;
    this.#lines = new LineSplitter(limits.maxLineBytes ?? DEFAULT_MAX_LINE_BYTES);
  }

  /** Why the stream is no QMP, as a part of a sentence; `undefined` while it is. */
  get broken(): string | undefined {
    return this.#broken;
  }

  /** Tells whether the last message is not complete yet. */
  get isMidMessage(): boolean {
    return this.#lines.pendingBytes > 0;
  }

  /** Takes a chunk and gives the messages that it completes, up to the place where the stream breaks. Never throws. */
  push(chunk: Buffer): QmpMessage[] {
    const messages: QmpMessage[] = [];
    if (this.#broken !== undefined) return messages;
    try {
      // Line by line, so that what precedes an over-long line is not lost with it.
      for (let start = 0; start < chunk.length; ) {
        const newline = chunk.indexOf(NEWLINE, start);
        const end = newline === -1 ? chunk.length : newline + 1;
        for (const line of this.#lines.push(chunk.subarray(start, end))) {
          const message = this.#parseLine(line);
          if (message !== undefined) messages.push(message);
        }
        start = end;
      }
    } catch (error) {
      this.#broken = (error as Error).message;
      this.#lines = new LineSplitter(0);
    }
    return messages;
  }

  #parseLine(line: Buffer): QmpMessage | undefined {
    if (!isUtf8(line)) throw new SyntaxError('a line is not UTF-8');
    const text = line.toString();
    if (text.trim() === '') return undefined;
    if (isDeeperThan(this.#maxDepth, text)) throw new RangeError(`a line nests deeper than ${this.#maxDepth} levels`);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw new SyntaxError(`a line is not JSON: ${quote(text)}`);
    }
    const message = isObject(value) ? toMessage(value) : undefined;
    if (message === undefined) throw new SyntaxError(`a line is no QMP message: ${quote(text)}`);
    return message;
  }
}

function toMessage(line: Record<string, unknown>): QmpMessage | undefined {
  if (typeof line['event'] === 'string') return toEvent(line['event'], line);
  if ('error' in line) {
    const error = line['error'];
    if ('return' in line || !isObject(error)) return undefined;
    if (typeof error['class'] !== 'string' || typeof error['desc'] !== 'string') return undefined;
    return { kind: 'error', id: line['id'], class: error['class'], desc: error['desc'] };
  }
  if ('return' in line) return { kind: 'return', id: line['id'], value: line['return'] };
  return isObject(line['QMP']) ? toGreeting(line['QMP']) : undefined;
}

function toEvent(name: string, line: Record<string, unknown>): QmpEvent | undefined {
  const { data = {}, timestamp } = line;
  if (!isObject(data) || !isObject(timestamp)) return undefined;
  const { seconds, microseconds } = timestamp;
  if (typeof seconds !== 'number' || typeof microseconds !== 'number') return undefined;
  // The union lists the events we look at; others take its form and reach nobody but a `default`.
  return { kind: 'event', name, data, atMs: seconds * 1000 + microseconds / 1000 } as unknown as QmpEvent;
}

function toGreeting(greeting: Record<string, unknown>): QmpGreeting | undefined {
  const { version, capabilities } = greeting;
  if (!isObject(version) || !isObject(version['qemu']) || !Array.isArray(capabilities)) return undefined;
  const { major, minor, micro } = version['qemu'];
  if (typeof major !== 'number' || typeof minor !== 'number' || typeof micro !== 'number') return undefined;
  return {
    kind: 'greeting',
    version: { qemu: { major, minor, micro }, package: String(version['package'] ?? '') },
    capabilities: capabilities.filter((capability) => typeof capability === 'string'),
  };
}

/**
 * Counts brackets outside strings. V8's JSON.parse does not recurse, but what walks its value later does: one line of
 * 4 MiB of `[` must not blow a stack far from here.
 */
function isDeeperThan(maxDepth: number, text: string): boolean {
  if (text.length < 2 * maxDepth) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) {
      at = endOfString(text, at);
    } else if (code === 0x7b || code === 0x5b) {
      if (++depth > maxDepth) return true;
    } else if (code === 0x7d || code === 0x5d) {
      depth--;
    }
  }
  return false;
}

function endOfString(text: string, open: number): number {
  for (let at = open + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x5c) at++;
    else if (code === 0x22) return at;
  }
  return text.length;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function quote(text: string): string {
  return printable(text.slice(0, 80), 60);
}
