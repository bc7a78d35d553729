/** Writes packets: what is added in one turn of the event loop leaves in one write. Knows nothing of replies. */
import type { Writable } from 'node:stream';
import { HEAD_BYTES, MAX_PAYLOAD_BYTES, writeHead } from './packets.ts';
import type { Message } from './requests.ts';

const SLAB_BYTES = 64 * 1024;

/** INVARIANTS: bytes that were handed to the stream are never written again, for it may still hold them. */
export class Outbox {
  readonly #stream: Writable;
  #slab = Buffer.alloc(0);
  /** Where the bytes begin that were not handed over yet, and where they end. */
  #from = 0;
  #to = 0;
  #isScheduled = false;

  constructor(stream: Writable) {
    this.#stream = stream;
  }

  /** Adds a packet. The payload, which the caller has checked, is: path and NUL, text in ASCII, value. */
  add(type: number, requestId: number, { path, text = '', value = '', transactionId = 0 }: Message): void {
    if (this.#slab.length - this.#to < HEAD_BYTES + MAX_PAYLOAD_BYTES) this.#renew();
    const slab = this.#slab;
    let end = this.#to + HEAD_BYTES;
    if (path !== undefined) {
      end += slab.write(path, end, 'latin1');
      slab[end++] = 0;
    }
    if (text !== '') end += slab.write(text, end, 'latin1');
    if (typeof value !== 'string') {
      slab.set(value, end);
      end += value.length;
    } else if (value !== '') {
      end += slab.write(value, end);
    }
    writeHead(slab, this.#to, type, requestId, transactionId, end - this.#to - HEAD_BYTES);
    this.#to = end;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    process.nextTick(() => this.flush());
  }

  /** Hands over what was added. */
  flush(): void {
    this.#isScheduled = false;
    if (this.#to === this.#from || this.#stream.destroyed) return;
    this.#stream.write(this.#slab.subarray(this.#from, this.#to));
    this.#from = this.#to;
  }

  #renew(): void {
    if (this.#to > this.#from && !this.#stream.destroyed) this.#stream.write(this.#slab.subarray(this.#from, this.#to));
    this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#from = 0;
    this.#to = 0;
  }
}
