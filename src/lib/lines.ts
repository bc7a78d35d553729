/** Incremental line framing: bytes in, lines out. Knows nothing of what the lines say. */

const NEWLINE = 0x0a;
const RETURN = 0x0d;
/** So many pieces are held at most: each costs some 100 bytes besides its own, and a peer may send byte by byte. */
const MAX_PIECES = 64;

/** Splits a byte stream at line feeds (a carriage return before it is dropped); a line may not grow past `maxBytes`. */
export class LineSplitter {
  readonly #maxBytes: number;
  #held: Buffer[] = [];
  #heldBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes of the unfinished line. */
  get pendingBytes(): number {
    return this.#heldBytes;
  }

  /** Takes a chunk and gives the lines that it completes. @throws RangeError when a line is longer than allowed. */
  push(chunk: Buffer): Buffer[] {
    const lines: Buffer[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#hold(chunk.subarray(start, end));
      lines.push(this.#take());
      start = end + 1;
    }
    if (start < chunk.length) this.#hold(chunk.subarray(start));
    return lines;
  }

  #hold(part: Buffer): void {
    this.#heldBytes += part.length;
    if (this.#heldBytes > this.#maxBytes) throw new RangeError(`a line is longer than ${this.#maxBytes} bytes`);
    if (this.#held.length >= MAX_PIECES) this.#held = [Buffer.concat(this.#held)];
    this.#held.push(part);
  }

  #take(): Buffer {
    const line = this.#held.length === 1 ? (this.#held[0] as Buffer) : Buffer.concat(this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    return line.at(-1) === RETURN ? line.subarray(0, -1) : line;
  }
}
