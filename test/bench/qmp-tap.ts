/**
 * A tap in the QMP connection between a daemon and its guest, transparent to both: it tells when a `device_add` passes,
 * and lets a second client speak over the same connection, for QEMU's socket serves one. That client's ids begin with
 * `bare`: what QEMU says to it or of its devices is kept from the daemon.
 */
import { rename } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { LineSplitter } from '../../src/lib/lines.ts';

export interface PassedCommand {
  /** When it passed, in milliseconds of `performance.now()`. */
  readonly at: number;
  readonly isBare: boolean;
  readonly arguments: Readonly<Record<string, unknown>>;
}

const MAX_LINE_BYTES = 1024 * 1024;
const BARE = '"bare';

export class QmpTap {
  /** Where the second client connects; it speaks without greeting or negotiation. */
  readonly bareSocket: string;
  readonly #qemuSocket: string;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #waiting = new Set<(command: PassedCommand) => void>();
  #qemu: Socket | undefined;
  #bare: Socket | undefined;

  private constructor(qemuSocket: string, bareSocket: string) {
    this.#qemuSocket = qemuSocket;
    this.bareSocket = bareSocket;
  }

  /** Takes the place of QEMU's socket. Legal while no daemon is connected. */
  static async open(path: string): Promise<QmpTap> {
    const tap = new QmpTap(`${path}.qemu`, `${path}.bare`);
    await rename(path, `${path}.qemu`);
    await tap.#listen(path, (daemon) => tap.#serveDaemon(daemon));
    await tap.#listen(tap.bareSocket, (bare) => tap.#serveBare(bare));
    return tap;
  }

  /** Resolves with the next `device_add` of one side. Call it before what causes it. */
  nextDeviceAdd(isBare: boolean): Promise<PassedCommand> {
    return new Promise((resolve) => {
      const look = (command: PassedCommand) => {
        if (command.isBare !== isBare) return;
        this.#waiting.delete(look);
        resolve(command);
      };
      this.#waiting.add(look);
    });
  }

  /** Ends all connections; QEMU goes on, and listens beside the place that it had. */
  close(): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #serveDaemon(daemon: Socket): void {
    const qemu = connect(this.#qemuSocket);
    this.#hold(qemu);
    this.#qemu = qemu;
    this.#pass(daemon, (line) => {
      this.#look(line, false);
      qemu.write(line);
    });
    this.#pass(qemu, (line) => {
      const target = line.includes(BARE) ? this.#bare : daemon;
      if (target?.writable) target.write(line);
    });
    daemon.on('close', () => qemu.destroy());
    qemu.on('close', () => daemon.destroy());
  }

  #serveBare(bare: Socket): void {
    this.#bare = bare;
    this.#pass(bare, (line) => {
      this.#look(line, true);
      this.#qemu?.write(line);
    });
  }

  #look(line: string, isBare: boolean): void {
    if (this.#waiting.size === 0 || !line.includes('"device_add"')) return;
    const at = performance.now();
    const command = { at, isBare, arguments: (JSON.parse(line) as Pick<PassedCommand, 'arguments'>).arguments };
    for (const look of [...this.#waiting]) look(command);
  }

  #pass(from: Socket, pass: (line: string) => void): void {
    const lines = new LineSplitter(MAX_LINE_BYTES);
    from.on('data', (chunk: Buffer) => {
      for (const line of lines.push(chunk)) pass(`${line.toString()}\n`);
    });
  }

  #listen(path: string, serve: (socket: Socket) => void): Promise<void> {
    const server = createServer((socket) => {
      this.#hold(socket);
      serve(socket);
    });
    this.#servers.push(server);
    return new Promise((resolve) => server.listen(path, resolve));
  }

  #hold(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
