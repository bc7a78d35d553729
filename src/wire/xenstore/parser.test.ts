/** The parser against packets cut everywhere, and against peers that are no xenstored. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodePacket, HEAD_BYTES, MAX_PAYLOAD_BYTES, PACKET_TYPES, type Packet, packetName } from './packets.ts';
import { PacketParser } from './parser.ts';

const word = fc.nat(0xffff_ffff);
const packets = fc.record({
  type: fc.oneof(fc.constantFrom(...Object.values(PACKET_TYPES)), word),
  requestId: word,
  transactionId: word,
  body: fc.oneof(
    { weight: 5, arbitrary: fc.uint8Array({ maxLength: 60 }) },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: MAX_PAYLOAD_BYTES - 1, maxLength: MAX_PAYLOAD_BYTES }) },
  ),
});

function parse(chunks: readonly Buffer[]): { packets: Packet[]; broken: string | undefined; isMidPacket: boolean } {
  const parser = new PacketParser();
  // Bodies share the chunk's memory: what is kept is copied, and the chunk overwritten, as a socket may do.
  const got = chunks.flatMap((chunk) => {
    const own = Buffer.from(chunk);
    const parsed = parser.push(own).map((packet) => ({ ...packet, body: Buffer.from(packet.body) }));
    own.fill(0xee);
    return parsed;
  });
  return { packets: got, broken: parser.broken, isMidPacket: parser.isMidPacket };
}

function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [0, ...places.toSorted((a, b) => a - b), bytes.length];
  return sorted.slice(1).map((end, at) => bytes.subarray(sorted[at], end));
}

const TALK: readonly Packet[] = [
  { type: PACKET_TYPES.READ, requestId: 1, transactionId: 0, body: Buffer.from('value') },
  { type: PACKET_TYPES.WATCH_EVENT, requestId: 0, transactionId: 0, body: Buffer.from('/a/b\0token\0') },
  { type: PACKET_TYPES.ERROR, requestId: 0xffff_ffff, transactionId: 7, body: Buffer.from('ENOENT\0') },
  { type: PACKET_TYPES.READ, requestId: 2, transactionId: 0, body: Buffer.alloc(0) },
  { type: PACKET_TYPES.DIRECTORY, requestId: 3, transactionId: 0, body: Buffer.alloc(MAX_PAYLOAD_BYTES, 'a\0') },
  { type: PACKET_TYPES.WRITE, requestId: 4, transactionId: 0, body: Buffer.from('OK\0') },
];

test('reads a conversation, cut at every byte', () => {
  const bytes = Buffer.concat(TALK.map(encodePacket));
  for (let cut = 0; cut <= bytes.length; cut++) {
    const { packets: got, broken, isMidPacket } = parse([bytes.subarray(0, cut), bytes.subarray(cut)]);
    assert.deepEqual(got, TALK, `cut at ${cut}`);
    assert.equal(broken, undefined);
    assert.equal(isMidPacket, false);
  }
  assert.deepEqual(parse([...bytes].map((byte) => Buffer.from([byte]))).packets, TALK);
});

test('gives back any packets from any chunks', () => {
  fc.assert(
    fc.property(fc.array(packets, { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 12 }), (sent, places) => {
      const expected = sent.map(({ body, ...head }) => ({ ...head, body: Buffer.from(body) }));
      const bytes = Buffer.concat(expected.map(encodePacket));
      const chunks = cutAt(
        bytes,
        places.map((place) => place % (bytes.length + 1)),
      );
      assert.deepEqual(parse(chunks), { packets: expected, broken: undefined, isMidPacket: false });
    }),
    { numRuns: 300 },
  );
});

test('never throws, whatever comes', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 80 })), (chunks) => {
      parse(chunks.map((chunk) => Buffer.from(chunk)));
    }),
    { numRuns: 300 },
  );
});

test('tells that a packet is not complete', () => {
  const bytes = encodePacket(TALK[0] as Packet);
  for (let end = 1; end < bytes.length; end++)
    assert.deepEqual(parse([bytes.subarray(0, end)]), { packets: [], broken: undefined, isMidPacket: true });
});

test('breaks at a packet that is too long, wherever it is cut, and stays broken', () => {
  const good = TALK[0] as Packet;
  for (const length of [MAX_PAYLOAD_BYTES + 1, 0x7fff_ffff, 0xffff_ffff]) {
    const bad = encodePacket({ ...good, body: Buffer.alloc(8) });
    bad.writeUInt32LE(length, 12);
    const bytes = Buffer.concat([encodePacket(good), bad, encodePacket(good)]);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const { packets: got, broken, isMidPacket } = parse([bytes.subarray(0, cut), bytes.subarray(cut)]);
      assert.deepEqual(got, [good], 'what came before counts, what comes after does not');
      assert.match(broken ?? '', new RegExp(`announces ${length} bytes, and 4096`));
      assert.equal(isMidPacket, false);
    }
  }
});

test('takes packets of any length that it is allowed, however they are cut', () => {
  const bytes = encodePacket({ ...(TALK[0] as Packet), body: Buffer.alloc(300_000, 'names\0') });
  const whole = Buffer.concat([encodePacket(TALK[1] as Packet), bytes, encodePacket(TALK[2] as Packet)]);
  for (const step of [7, 4112, 65_536, whole.length]) {
    const parser = new PacketParser(300_000);
    const got: number[] = [];
    for (let at = 0; at < whole.length; at += step)
      got.push(...parser.push(Buffer.from(whole.subarray(at, at + step))).map(({ body }) => body.length));
    assert.deepEqual(got, [11, 300_000, 7], `${step} at a time`);
  }
  const strict = new PacketParser(299_999);
  strict.push(bytes);
  assert.match(strict.broken ?? '', /announces 300000 bytes/);
});

test('holds no more than one packet, however small the chunks', () => {
  const parser = new PacketParser();
  const bytes = encodePacket({ ...(TALK[0] as Packet), body: Buffer.alloc(MAX_PAYLOAD_BYTES) });
  const before = process.memoryUsage().arrayBuffers;
  for (const byte of bytes.subarray(0, -1)) assert.deepEqual(parser.push(Buffer.from([byte])), []);
  assert.ok(process.memoryUsage().arrayBuffers - before < 1 << 20);
  assert.equal(parser.push(bytes.subarray(-1)).length, 1);
});

test('writes the head as xs_wire.h has it', () => {
  const bytes = encodePacket({ type: 11, requestId: 0x01020304, transactionId: 5, body: Buffer.from('/a\0b') });
  assert.equal(bytes.toString('hex'), '0b0000000403020105000000040000002f610062');
  assert.equal(bytes.length, HEAD_BYTES + 4);
});

test('names the types of packets', () => {
  assert.equal(packetName(22), 'DIRECTORY_PART');
  assert.equal(packetName(20), undefined);
  assert.equal(packetName(0xffff), undefined);
});
