/**
 * The kernel's device `/dev/xen/xenbus` as a stream that behaves like xenstored's socket. Follows Linux
 * drivers/xen/xenbus/xenbus_dev_frontend.c, which wants one packet a write, answers WATCH and UNWATCH itself and without
 * their number, and tells some refusals by the write instead of by a packet.
 */
import { constants, openSync, write as writeFile } from 'node:fs';
import { Duplex, type Readable } from 'node:stream';
import { errnoOf } from '../../lib/fault.ts';
import { readPolled } from '../../lib/polled-file.ts';
import { XENSTORE_ERRNOS } from './error.ts';
import { encodePacket, PACKET_TYPES, type Packet } from './packets.ts';
import { PacketParser } from './parser.ts';

/** Writes one packet; the error, if any, has an errno. */
export type WritePacket = (bytes: Buffer, done: (error: Error | null) => void) => void;

/**
 * Opens the device. Reads wait in the event loop's poll. Writes go through the thread pool, one at a time, for the kernel
 * answers a WATCH within the write. @throws the system's error; Fault `file.unreadable` for another device
 */
export function openXenbus(path: string): Duplex {
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  return new XenbusDevice(readPolled(fd, path, 'xen/xenbus'), (bytes, done) => writeFile(fd, bytes, done));
}

/**
 * INVARIANTS:
 * - At most one write is under way. The file is closed after it, never during it: its number could already mean another.
 * - Who uses it waits for each answer before the next request (see transport.ts).
 * - Answers without a number belong to the WATCH and UNWATCH that were written, in their order.
 */
export class XenbusDevice extends Duplex {
  readonly #source: Readable;
  readonly #writePacket: WritePacket;
  readonly #incoming = new PacketParser();
  readonly #outgoing = new PacketParser();
  readonly #unnumbered: number[] = [];
  #isWriting = false;
  #onWritten: (() => void) | undefined;

  constructor(source: Readable, writePacket: WritePacket) {
    super();
    this.#source = source;
    this.#writePacket = writePacket;
    source.on('data', (chunk: Buffer) => this.#take(chunk));
    source.on('error', (error) => this.destroy(error));
    source.on('end', () => this.push(null));
    source.on('close', () => this.destroy());
  }

  override _read(): void {
    this.#source.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const packets = this.#outgoing.push(chunk);
    const writeNext = (at: number): void => {
      const packet = packets[at];
      if (packet === undefined || this.destroyed) {
        done();
        return;
      }
      this.#writeOne(packet, (error) => {
        if (error === null) writeNext(at + 1);
        else done(error);
      });
    };
    writeNext(0);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const close = () => {
      this.#source.destroy();
      done(error);
    };
    if (this.#isWriting) this.#onWritten = close;
    else close();
  }

  #writeOne(packet: Packet, done: (error: Error | null) => void): void {
    const { type } = packet;
    if (type === PACKET_TYPES.RESET_WATCHES) {
      // The kernel would pass it on, and xenstored then forget the watches of the kernel itself.
      this.#refuse(packet, 'ENOSYS');
      done(null);
      return;
    }
    const isUnnumbered = type === PACKET_TYPES.WATCH || type === PACKET_TYPES.UNWATCH;
    if (isUnnumbered) this.#unnumbered.push(packet.requestId);
    this.#isWriting = true;
    this.#writePacket(encodePacket(packet), (error) => {
      this.#isWriting = false;
      this.#onWritten?.();
      if (error === null || this.destroyed) return done(null);
      const errno = errnoOf(error);
      if (errno === undefined || !(XENSTORE_ERRNOS as readonly string[]).includes(errno)) return done(error);
      if (isUnnumbered) this.#unnumbered.pop();
      this.#refuse(packet, errno);
      done(null);
    });
  }

  #refuse({ requestId, transactionId }: Packet, errno: string): void {
    this.push(encodePacket({ type: PACKET_TYPES.ERROR, requestId, transactionId, body: Buffer.from(`${errno}\0`) }));
  }

  #take(chunk: Buffer): void {
    for (const packet of this.#incoming.push(chunk)) {
      const { type, requestId } = packet;
      const isUnnumbered = requestId === 0 && (type === PACKET_TYPES.WATCH || type === PACKET_TYPES.UNWATCH);
      const numbered = isUnnumbered ? { ...packet, requestId: this.#unnumbered.shift() ?? 0 } : packet;
      if (!this.push(encodePacket(numbered))) this.#source.pause();
    }
    if (this.#incoming.broken !== undefined) this.destroy(new Error(this.#incoming.broken));
  }
}
