/**
 * Incremental parser of xenstore packets: bytes in, packets out. A value without I/O; it knows neither requests nor what
 * their payloads mean, and serves both ends of a conversation.
 */
import { HEAD_BYTES, MAX_PAYLOAD_BYTES, type Packet } from './packets.ts';

/** Takes chunks, cut anywhere, and gives packets until the peer breaks the protocol; then it stays broken. */
export class PacketParser {
  readonly #maxBodyBytes: number;
  /** The beginning of a packet whose end has not come yet; room for most, or for just this one. */
  #held = Buffer.alloc(0);
  #heldBytes = 0;
  #broken: string | undefined;

  constructor(maxBodyBytes = MAX_PAYLOAD_BYTES) {
    this.#maxBodyBytes = maxBodyBytes;
  }

  /** Why the stream is no xenstore protocol, as a part of a sentence; `undefined` while it is. */
  get broken(): string | undefined {
    return this.#broken;
  }

  /** Tells whether the last packet is not complete yet. */
  get isMidPacket(): boolean {
    return this.#heldBytes > 0;
  }

  /**
   * Takes a chunk and gives the packets that it completes, up to the place where the stream breaks. Never throws. The
   * bodies may share the chunk's memory: who keeps one copies it.
   */
  push(chunk: Buffer): Packet[] {
    const packets: Packet[] = [];
    if (this.#broken !== undefined) return packets;
    let at = 0;
    if (this.#heldBytes > 0) {
      at = this.#hold(chunk, at, HEAD_BYTES);
      if (this.#heldBytes < HEAD_BYTES) return packets;
      const size = this.#sizeAt(this.#held, 0);
      if (size === undefined) return packets;
      at = this.#hold(chunk, at, size);
      if (this.#heldBytes < size) return packets;
      this.#heldBytes = 0;
      packets.push(packetAt(Buffer.from(this.#held.subarray(0, size)), 0, size));
    }
    while (chunk.length - at >= HEAD_BYTES) {
      const size = this.#sizeAt(chunk, at);
      if (size === undefined) return packets;
      if (chunk.length - at < size) {
        this.#hold(chunk, at, size);
        return packets;
      }
      packets.push(packetAt(chunk, at, size));
      at += size;
    }
    if (at < chunk.length) this.#hold(chunk, at, HEAD_BYTES);
    return packets;
  }

  /** Copies from the chunk until `wanted` bytes are held, or it ends; gives where it stopped. */
  #hold(chunk: Buffer, at: number, wanted: number): number {
    if (this.#held.length < wanted) {
      const larger = Buffer.allocUnsafe(Math.max(wanted, HEAD_BYTES + MAX_PAYLOAD_BYTES));
      this.#held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = larger;
    }
    const end = Math.min(chunk.length, at + Math.max(0, wanted - this.#heldBytes));
    this.#heldBytes += chunk.copy(this.#held, this.#heldBytes, at, end);
    return end;
  }

  #sizeAt(bytes: Buffer, at: number): number | undefined {
    const length = bytes.readUInt32LE(at + 12);
    if (length <= this.#maxBodyBytes) return HEAD_BYTES + length;
    this.#broken = `a packet announces ${length} bytes, and ${this.#maxBodyBytes} are allowed`;
    this.#held = Buffer.alloc(0);
    this.#heldBytes = 0;
    return undefined;
  }
}

function packetAt(bytes: Buffer, at: number, size: number): Packet {
  return {
    type: bytes.readUInt32LE(at),
    requestId: bytes.readUInt32LE(at + 4),
    transactionId: bytes.readUInt32LE(at + 8),
    body: bytes.subarray(at + HEAD_BYTES, at + size),
  };
}
