/**
 * The packets of the xenstore protocol: their types, their head, their limits. Follows xen public/io/xs_wire.h and
 * docs/misc/xenstore.txt. What stands in a payload is said in payloads.ts.
 */

/** Every type with its number in the head. 20 was RESTRICT, which no daemon has any more. */
export const PACKET_TYPES = {
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
  GET_FEATURE: 23,
  SET_FEATURE: 24,
  GET_QUOTA: 25,
  SET_QUOTA: 26,
} as const;

export type PacketName = keyof typeof PACKET_TYPES;
/** What a client may send. */
export type RequestName = Exclude<PacketName, 'WATCH_EVENT' | 'ERROR'>;

/** Bytes of a head: type, request, transaction and length of the payload, 32 bits each. */
export const HEAD_BYTES = 16;
/** Longest payload, in both directions; xenstored hangs up on a client that exceeds it. */
export const MAX_PAYLOAD_BYTES = 4096;
/**
 * Longest payload that we take. oxenstored before Xen 4.18 sends a directory in one packet, however large; 1 MiB are the
 * names of ten thousand nodes.
 */
export const MAX_REPLY_BYTES = 1024 * 1024;

export interface Packet {
  readonly type: number;
  /** What the client gave to the request; in a WATCH_EVENT it means nothing. */
  readonly requestId: number;
  /** 0 outside a transaction. */
  readonly transactionId: number;
  readonly body: Buffer;
}

const NAMES = new Map<number, PacketName>(
  Object.entries(PACKET_TYPES).map(([name, type]) => [type, name as PacketName]),
);

/** Gives the name of a packet's type, `undefined` for a number that means nothing. */
export function packetName(type: number): PacketName | undefined {
  return NAMES.get(type);
}

/**
 * Writes a packet's head at `at`. The words have the byte order of the machine; all that Node runs on beside a Xen are
 * little-endian.
 */
export function writeHead(
  target: Buffer,
  at: number,
  type: number,
  requestId: number,
  transactionId: number,
  bodyBytes: number,
): void {
  target.writeUInt32LE(type, at);
  target.writeUInt32LE(requestId, at + 4);
  target.writeUInt32LE(transactionId, at + 8);
  target.writeUInt32LE(bodyBytes, at + 12);
}

/** Gives the bytes of a packet. Does not check the length: tests make packets that are too long. */
export function encodePacket({ type, requestId, transactionId, body }: Packet): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + body.length);
  writeHead(bytes, 0, type, requestId, transactionId, body.length);
  body.copy(bytes, HEAD_BYTES);
  return bytes;
}
