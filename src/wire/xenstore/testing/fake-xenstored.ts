/** The server's end of a conversation, played by hand: the test says each packet itself. For tests only. */
import { type Duplex, duplexPair } from 'node:stream';
import { encodePacket, PACKET_TYPES, type Packet, type PacketName, packetName } from '../packets.ts';
import { PacketParser } from '../parser.ts';
import { decodeOk, decodeText } from '../payloads.ts';
import type { Question } from '../requests.ts';
import { XenstoreSession, type XenstoreSessionOptions } from '../session.ts';

export class FakeXenstored {
  readonly stream: Duplex;
  readonly #parser = new PacketParser();
  readonly #received: Packet[] = [];
  #wake: (() => void) | undefined;

  constructor(stream: Duplex) {
    this.stream = stream;
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      this.#received.push(...this.#parser.push(Buffer.from(chunk)));
      this.#wake?.();
    });
  }

  /** Packets that came and were not asked for yet. */
  get unread(): number {
    return this.#received.length;
  }

  /** Gives the next packet of the client, in order. */
  async next(): Promise<Packet> {
    for (;;) {
      const packet = this.#received.shift();
      if (packet !== undefined) return packet;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Gives the next packet as `NAME field field`. */
  async nextWords(): Promise<string> {
    const { type, body } = await this.next();
    return [packetName(type), ...body.toString().split('\0')].join(' ').trim();
  }

  /** Answers a request. */
  reply(request: Packet, body: string | Buffer = 'OK\0'): void {
    this.stream.write(encodePacket({ ...request, body: Buffer.from(body) }));
  }

  refuse(request: Packet, errno: string): void {
    this.stream.write(encodePacket({ ...request, type: PACKET_TYPES.ERROR, body: Buffer.from(`${errno}\0`) }));
  }

  event(path: string, token: string): void {
    this.say('WATCH_EVENT', `${path}\0${token}\0`);
  }

  say(name: PacketName, body: string, requestId = 0): void {
    this.stream.write(packet(name, body, requestId));
  }

  /** Answers the first question of a session. */
  async greet(): Promise<void> {
    this.reply(await this.next(), '/local/domain/0\0');
  }
}

/** The question for a node's value. */
export function read(path: string): Question<string> {
  return { name: 'READ', path, decode: decodeText };
}

/** The request that writes a node. */
export function write(path: string, value: string | Uint8Array): Question<true> {
  return { name: 'WRITE', path, value, decode: decodeOk };
}

/** Lets what was written arrive. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}

/** Gives the bytes of a packet. */
export function packet(name: PacketName, body: string | Buffer, requestId = 0, transactionId = 0): Buffer {
  return encodePacket({ type: PACKET_TYPES[name], requestId, transactionId, body: Buffer.from(body) });
}

/** Gives a fake daemon and the session that is being opened to it. */
export function openFake(options: Partial<XenstoreSessionOptions> = {}): {
  fake: FakeXenstored;
  opening: Promise<XenstoreSession>;
} {
  const [near, far] = duplexPair();
  return { fake: new FakeXenstored(far), opening: XenstoreSession.open(near, { peer: 'fake', ...options }) };
}

/** Gives a fake daemon and an open session to it. */
export async function openedFake(
  options: Partial<XenstoreSessionOptions> = {},
): Promise<{ fake: FakeXenstored; session: XenstoreSession }> {
  const { fake, opening } = openFake(options);
  await fake.greet();
  return { fake, session: await opening };
}
