/** What the tests of the conformance suite share: a client, a place in the store, words without the client's checks. */
import { connect } from 'node:net';
import type { TestContext } from 'node:test';
import { systemClock } from '../../src/lib/clock.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { randomHex } from '../../src/lib/random.ts';
import { XenstoreClient } from '../../src/wire/xenstore/client.ts';
import {
  encodePacket,
  PACKET_TYPES,
  type Packet,
  type PacketName,
  packetName,
} from '../../src/wire/xenstore/packets.ts';
import { PacketParser } from '../../src/wire/xenstore/parser.ts';
import type { XenstoreRig } from './rig.ts';

/** Under emulation a request may take a good part of a second. */
const PATIENCE_MS = 30_000;

export class Context {
  readonly rig: XenstoreRig;
  readonly client: XenstoreClient;
  /** Everything of this run is below it. */
  readonly root: string;
  #places = 0;

  private constructor(rig: XenstoreRig, client: XenstoreClient) {
    this.rig = rig;
    this.client = client;
    this.root = `/usher-conformance-${randomHex(4)}`;
  }

  static async open(rig: XenstoreRig): Promise<Context> {
    return new Context(rig, await XenstoreClient.connect({ path: rig.path, timeoutMs: PATIENCE_MS }));
  }

  async close(): Promise<void> {
    await this.client.rm(this.root).finally(() => this.client.close());
    await this.rig.close();
  }

  /** Gives a path where nothing is. */
  place(): string {
    return `${this.root}/p${++this.#places}`;
  }

  /** Connects another client, for the time of the test. */
  async connect(t: TestContext): Promise<XenstoreClient> {
    const client = await XenstoreClient.connect({ path: this.rig.path, timeoutMs: PATIENCE_MS });
    t.after(() => client.close());
    return client;
  }

  /** Connects without a client, for what a client would not send. */
  async raw(t: TestContext): Promise<RawClient> {
    const socket = connect({ path: this.rig.socket });
    t.after(() => socket.destroy());
    return new RawClient(socket);
  }
}

/** Waits until the probe gives something. */
export function eventually<T>(what: string, probe: () => T | undefined | Promise<T | undefined>): Promise<T> {
  return pollUntil({ what, timeoutMs: PATIENCE_MS, everyMs: 2, clock: systemClock }, probe);
}

/** Sends whatever it is told, and gives what comes. */
export class RawClient {
  readonly #socket: ReturnType<typeof connect>;
  readonly #parser = new PacketParser();
  readonly #received: Packet[] = [];
  isClosed = false;
  #lastId = 0;

  constructor(socket: ReturnType<typeof connect>) {
    this.#socket = socket;
    socket.on('data', (chunk) => this.#received.push(...this.#parser.push(Buffer.from(chunk))));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Sends a request and gives its reply as `NAME text`, each NUL as `|`. */
  async ask(type: PacketName | number, payload: string | Buffer, transactionId = 0): Promise<string> {
    const requestId = ++this.#lastId;
    const number = typeof type === 'number' ? type : PACKET_TYPES[type];
    this.write(encodePacket({ type: number, requestId, transactionId, body: Buffer.from(payload) }));
    return this.reply(requestId);
  }

  async reply(requestId: number): Promise<string> {
    const reply = await eventually('The reply', () =>
      this.#received.find((packet) => packet.requestId === requestId && packetName(packet.type) !== 'WATCH_EVENT'),
    );
    return `${packetName(reply.type)} ${reply.body.toString().replaceAll('\0', '|')}`;
  }

  hasReply(requestId: number): boolean {
    return this.#received.some((packet) => packet.requestId === requestId);
  }

  /** Gives the events so far, as `path token`. */
  get events(): string[] {
    const events = this.#received.filter(({ type }) => type === PACKET_TYPES.WATCH_EVENT);
    return events.map(({ body }) => body.toString().split('\0').slice(0, 2).join(' '));
  }
}

/** Collects what a watch tells, and waits for it; it may tell more than it must. */
export class Told {
  readonly paths: string[] = [];
  readonly take = (path: string): void => {
    this.paths.push(path);
  };

  /** Waits until the path was told of, `times` times since `forget`. */
  async of(path: string, times = 1): Promise<void> {
    const what = `Word of ${path}, with ${this.paths.length} others`;
    await eventually(what, () => this.paths.filter((told) => told === path).length >= times || undefined);
  }

  forget(): void {
    this.paths.length = 0;
  }
}
