/**
 * Console sockets of PV and PVH guests: relays what goes to and from the terminal that xenconsoled has for the guest. The
 * terminal is open only while somebody is connected, so that `xl console` works too. An HVM guest's socket is its device
 * model's own.
 */
import { closeSync, constants, openSync } from 'node:fs';
import type { Socket } from 'node:net';
import { ReadStream, WriteStream } from 'node:tty';
import { Fault } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import { listenUnix, type UnixServer } from '../../lib/unix-server.ts';
import type { VmUuid } from '../../model/ids.ts';

export interface ConsolesParts {
  /** Gives the terminal of the VM's domain as it is now, `undefined` when there is none. */
  readonly terminalOf: (uuid: VmUuid) => Promise<string | undefined>;
  readonly log: Log;
}

/** A client that takes no more than this of what its guest says is left behind. */
const MAX_UNREAD_BYTES = 1024 * 1024;

/** The relays of this driver, one a VM. */
export class Consoles {
  readonly #parts: ConsolesParts;
  readonly #relays = new Map<VmUuid, Promise<Relay>>();

  constructor(parts: ConsolesParts) {
    this.#parts = parts;
  }

  /** Serves a VM's console at `path`, if it is not served yet. @throws Fault of `listenUnix` */
  async serve(uuid: VmUuid, path: string): Promise<void> {
    const relay = this.#relays.get(uuid) ?? Relay.listen(path, () => this.#parts.terminalOf(uuid), this.#parts.log);
    this.#relays.set(uuid, relay);
    await relay.catch((error: unknown) => {
      this.#relays.delete(uuid);
      throw error;
    });
  }

  /** Ends the console of a VM whose domain is gone. */
  async end(uuid: VmUuid): Promise<void> {
    const relay = this.#relays.get(uuid);
    this.#relays.delete(uuid);
    await (await relay?.catch(() => undefined))?.close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#relays.keys()].map((uuid) => this.end(uuid)));
  }
}

/**
 * INVARIANTS: the terminal is open from the first client to the last; all of them see what the guest says, and each may
 * type. When it ends, so do they.
 */
class Relay {
  readonly #terminalOf: () => Promise<string | undefined>;
  readonly #log: Log;
  readonly #clients = new Set<Socket>();
  #terminal: Terminal | undefined;
  #server: UnixServer | undefined;

  private constructor(terminalOf: () => Promise<string | undefined>, log: Log) {
    this.#terminalOf = terminalOf;
    this.#log = log;
  }

  static async listen(path: string, terminalOf: () => Promise<string | undefined>, log: Log): Promise<Relay> {
    const relay = new Relay(terminalOf, log);
    relay.#server = await listenUnix(path, (socket) => void relay.#welcome(socket), { mode: 0o600 });
    return relay;
  }

  async close(): Promise<void> {
    this.#terminal?.close();
    await this.#server?.close();
  }

  async #welcome(socket: Socket): Promise<void> {
    this.#clients.add(socket);
    socket.on('close', () => {
      this.#clients.delete(socket);
      if (this.#clients.size > 0) return;
      this.#terminal?.close();
      this.#terminal = undefined;
    });
    try {
      const path = await this.#terminalOf();
      if (path === undefined || socket.destroyed) return void socket.destroy();
      this.#terminal ??= this.#open(path);
      this.#terminal.listen(socket);
    } catch (error) {
      this.#log.warn('a guest’s terminal cannot be opened', { error });
      socket.destroy();
    }
  }

  #open(path: string): Terminal {
    const terminal: Terminal = new Terminal(path, {
      onData: (chunk) => {
        for (const client of this.#clients) {
          if (client.writableLength > MAX_UNREAD_BYTES) client.destroy();
          else client.write(chunk);
        }
      },
      onEnd: () => {
        if (this.#terminal === terminal) this.#terminal = undefined;
        for (const client of this.#clients) client.destroy();
      },
    });
    return terminal;
  }
}

/** The near side of a pseudo-terminal, as it is set up already: xenconsoled has made it raw. */
class Terminal {
  readonly #input: ReadStream;
  readonly #output: WriteStream;
  readonly #onEnd: () => void;
  #isClosed = false;

  constructor(path: string, handlers: { readonly onData: (chunk: Buffer) => void; readonly onEnd: () => void }) {
    if (!/^\/dev\/pts\/\d+$/.test(path)) {
      throw new Fault('file.unreadable', { file: path, what: 'it is not a pseudo-terminal' });
    }
    this.#onEnd = handlers.onEnd;
    const flags = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK;
    const read = openSync(path, flags);
    try {
      this.#output = new WriteStream(openSync(path, flags));
    } catch (error) {
      closeSync(read);
      throw error;
    }
    this.#input = new ReadStream(read);
    this.#input.on('data', handlers.onData);
    for (const stream of [this.#input, this.#output]) {
      stream.on('error', () => this.close());
      stream.on('close', () => this.close());
    }
  }

  /** Has the client type. */
  listen(client: Socket): void {
    client.pipe(this.#output, { end: false });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#input.destroy();
    this.#output.destroy();
    this.#onEnd();
  }
}
