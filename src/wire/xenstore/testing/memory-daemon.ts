/**
 * A xenstored in memory, for tests: speaks the protocol over unix sockets and streams, and fails in the ways that a test
 * asks for. What the requests mean is said by memory-store.ts.
 */
import { createServer, type Server } from 'node:net';
import { type Duplex, duplexPair } from 'node:stream';
import {
  encodePacket,
  MAX_PAYLOAD_BYTES,
  PACKET_TYPES,
  type Packet,
  packetName,
  type RequestName,
} from '../packets.ts';
import { PacketParser } from '../parser.ts';
import { StoreClient } from './memory-client.ts';
import { performRequest, strings } from './memory-requests.ts';
import { MemoryStore, type Quotas, Refusal } from './memory-store.ts';

export interface MemoryDaemonOptions {
  readonly quotas?: Partial<Quotas>;
  /** Answered to GET_FEATURE; absent: the request is unknown, as before Xen 4.18. Bit 4: watches have a depth. */
  readonly features?: number;
  /** Default: true. */
  readonly hasDirectoryPart?: boolean;
}

export interface ReceivedRequest {
  readonly name: RequestName;
  /** The fields of the payload, as far as they are text. */
  readonly fields: readonly string[];
  readonly transactionId: number;
}

/** What the test has the daemon do with a request: refuse it, never answer it, hang up; `undefined`: what it should. */
export type Mischief = { readonly errno: string } | 'silence' | 'hang up' | undefined;

/** The daemon. Everything that it was told is gone when it is dropped, as with the real one. */
export class MemoryDaemon {
  readonly #options: MemoryDaemonOptions;
  readonly #connections = new Set<Connection>();
  #store: MemoryStore;
  #server: Server | undefined;
  /** Requests in the order in which they came. */
  readonly received: ReceivedRequest[] = [];
  /** Asked at each request. */
  mischief: (request: ReceivedRequest) => Mischief = () => undefined;
  /** Answers leave in pieces of so many bytes. */
  chunkBytes: number | undefined;
  #held: (() => void)[] | undefined;

  constructor(options: MemoryDaemonOptions = {}) {
    this.#options = options;
    this.#store = new MemoryStore(options.quotas);
  }

  get store(): MemoryStore {
    return this.#store;
  }

  get options(): MemoryDaemonOptions {
    return this.#options;
  }

  /** Gives the client's end of a new connection, of dom0 or another domain. */
  connect(domid = 0): Duplex {
    const [near, far] = duplexPair();
    this.#accept(far, domid);
    return near;
  }

  /** Listens on a unix socket, whose clients are dom0. */
  listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server = createServer((socket) => this.#accept(socket, 0));
      this.#server.once('error', reject);
      this.#server.listen(path, resolve);
    });
  }

  /** Makes a domain, as the hypervisor does. Introducing one that was not made makes it too. */
  makeDomain(domid: number): void {
    this.#store.makeDomain(domid);
  }

  /** Shuts a domain down, or destroys it: `@releaseDomain`. */
  endDomain(domid: number, isGone: boolean): void {
    this.#store.endDomain(domid, isGone);
  }

  /** Hangs up on everybody, and goes on listening. */
  cut(): void {
    for (const connection of [...this.#connections]) connection.end();
  }

  /** Hangs up, listens no more, and forgets everything. */
  async die(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    const closed = server && new Promise<void>((resolve) => server.close(() => resolve()));
    this.cut();
    await closed;
    this.#store = new MemoryStore(this.#options.quotas);
  }

  /** Keeps all answers and events back until `release`. */
  hold(): void {
    this.#held ??= [];
  }

  /** Lets go what was kept back, in its order. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const send of held) send();
  }

  /** Sends, now or when released. */
  send(stream: Duplex, bytes: Buffer): void {
    if (this.#held !== undefined) {
      this.#held.push(() => this.send(stream, bytes));
      return;
    }
    const step = this.chunkBytes ?? bytes.length;
    for (let at = 0; at < bytes.length; at += step) if (!stream.destroyed) stream.write(bytes.subarray(at, at + step));
  }

  #accept(stream: Duplex, domid: number): void {
    const connection = new Connection(this, stream, domid, () => this.#connections.delete(connection));
    this.#connections.add(connection);
  }
}

/** One client. Requests are answered in their order. */
class Connection {
  readonly #daemon: MemoryDaemon;
  readonly #stream: Duplex;
  readonly #client: StoreClient;
  readonly #parser = new PacketParser();

  constructor(daemon: MemoryDaemon, stream: Duplex, domid: number, onEnd: () => void) {
    this.#daemon = daemon;
    this.#stream = stream;
    this.#client = new StoreClient(daemon.store, domid, (path, token) =>
      this.#send({ type: PACKET_TYPES.WATCH_EVENT, requestId: 0, transactionId: 0, body: strings([path, token]) }),
    );
    stream.on('error', () => undefined);
    stream.on('close', () => {
      this.#client.reset();
      onEnd();
    });
    stream.on('data', (chunk: Buffer) => {
      for (const packet of this.#parser.push(chunk)) this.#answer(packet);
      if (this.#parser.broken !== undefined) this.end();
    });
  }

  end(): void {
    this.#stream.destroy();
  }

  #send(packet: Packet): void {
    this.#daemon.send(this.#stream, encodePacket(packet));
  }

  #answer(packet: Packet): void {
    const { type, requestId, transactionId, body } = packet;
    const name = packetName(type) as RequestName | undefined;
    const fields = body.toString().split('\0');
    if (fields.at(-1) === '') fields.pop();
    const reply = (replied: number, content: Buffer) =>
      this.#send({ type: replied, requestId, transactionId, body: content });
    try {
      if (name === undefined) throw new Refusal('ENOSYS');
      const request: ReceivedRequest = { name, fields, transactionId };
      this.#daemon.received.push(request);
      const mischief = this.#daemon.mischief(request);
      if (mischief === 'hang up') this.end();
      if (mischief === 'hang up' || mischief === 'silence') return;
      if (mischief !== undefined) throw new Refusal(mischief.errno);
      const content = performRequest(this.#client, request, body, this.#daemon.options);
      if (content.length > MAX_PAYLOAD_BYTES) throw new Refusal('E2BIG');
      reply(type, content);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      reply(PACKET_TYPES.ERROR, strings([error.errno]));
      return;
    }
    if (name === 'WATCH') this.#client.fireFirst(fields[0] ?? '', fields[1] ?? '');
  }
}
