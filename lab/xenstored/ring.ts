/**
 * The page by which a domain talks to xenstored, seen from the domain, as a stream: two rings of 1024 bytes (xen
 * public/io/xs_wire.h). The page is a file that xenstored has mapped; bells are FIFOs (no-xen.c).
 */
import { closeSync, readSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { Duplex } from 'node:stream';

const RING_BYTES = 1024;
const RESPONSES = 1024;
const INDEXES = 2048;
const INDEX_BYTES = 16;

/** INVARIANTS: bytes are in place before the index that tells of them; only this end moves req_prod and rsp_cons. */
export class StoreRing extends Duplex {
  readonly #page: number;
  readonly #bell: Socket;
  readonly #ring: () => void;
  #unsent: { readonly bytes: Buffer; readonly done: () => void } | undefined;

  constructor(page: number, bell: number, ring: () => void) {
    super();
    this.#page = page;
    this.#ring = ring;
    this.#bell = new Socket({ fd: bell, readable: true, writable: false });
    this.#bell.on('data', () => this.#look());
  }

  override _read(): void {
    this.#look();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#unsent = { bytes: chunk, done };
    this.#look();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#bell.destroy();
    closeSync(this.#page);
    done(error);
  }

  #look(): void {
    if (this.destroyed) return;
    const [reqCons = 0, reqProd = 0, rspCons = 0, rspProd = 0] = this.#indexes();
    let hasMoved = false;
    if (this.#unsent !== undefined) {
      const { bytes, done } = this.#unsent;
      const room = RING_BYTES - ((reqProd - reqCons) >>> 0);
      const count = Math.min(room, bytes.length);
      this.#copy(bytes.subarray(0, count), 0, reqProd);
      this.#setIndex(1, reqProd + count);
      hasMoved = count > 0;
      this.#unsent = count < bytes.length ? { bytes: bytes.subarray(count), done } : undefined;
      if (this.#unsent === undefined) done();
    }
    const waiting = (rspProd - rspCons) >>> 0;
    if (waiting > 0) {
      const bytes = Buffer.alloc(waiting);
      const first = Math.min(waiting, RING_BYTES - (rspCons % RING_BYTES));
      readSync(this.#page, bytes, 0, first, RESPONSES + (rspCons % RING_BYTES));
      if (first < waiting) readSync(this.#page, bytes, first, waiting - first, RESPONSES);
      this.#setIndex(2, rspCons + waiting);
      hasMoved = true;
      this.push(bytes);
    }
    if (hasMoved) this.#ring();
  }

  #indexes(): Uint32Array {
    const bytes = new Uint8Array(INDEX_BYTES);
    readSync(this.#page, bytes, 0, INDEX_BYTES, INDEXES);
    return new Uint32Array(bytes.buffer);
  }

  #setIndex(which: number, value: number): void {
    writeSync(this.#page, new Uint8Array(Uint32Array.of(value).buffer), 0, 4, INDEXES + 4 * which);
  }

  #copy(bytes: Buffer, base: number, index: number): void {
    const first = Math.min(bytes.length, RING_BYTES - (index % RING_BYTES));
    writeSync(this.#page, bytes, 0, first, base + (index % RING_BYTES));
    if (first < bytes.length) writeSync(this.#page, bytes, first, bytes.length - first, base);
  }
}
