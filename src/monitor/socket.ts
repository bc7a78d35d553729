/**
 * A VM's own socket: whoever connects is told apart by the first byte: `{` speaks NDJSON RPC and is handed on, a NUL is
 * the length of an OpenXT frame and is refused, anything else is the text dialect of xenvm.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import type { Entrants } from '../lib/entrants.ts';
import { messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import { listenUnix, type UnixServer } from '../lib/unix-server.ts';
import type { Actor } from '../model/audit.ts';
import type { TextCommand } from './text-dialect.ts';
import { TextSession } from './text-session.ts';

export interface MonitorSocketOptions {
  /** `<runtime>/vm/<uuid>.sock`; its folder exists. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Who may connect besides us. */
  readonly entrants?: Entrants | undefined;
  /** Says who is at the other end, as the kernel knows it. */
  readonly peerOf: (socket: Socket) => Actor;
  /** Answers a text command but `help` with the lines before `ok`. A Fault becomes the `error` line, and `quit` is not obeyed. */
  readonly perform: (command: TextCommand, peer: Actor) => Promise<readonly string[]>;
  /** Takes over a connection that speaks NDJSON RPC and listens on it before it returns; `head` was read already. */
  readonly serveRpc: (socket: Socket, head: Buffer, peer: Actor) => void;
  /** Called when a client said `quit` and has its answer: close this socket. */
  readonly onQuit: (peer: Actor) => void;
}

const BRACE = 0x7b;

/** What an OpenXT client reads: a JSON-RPC error, bare. Its frames are not spoken yet. */
const NO_FRAMES = `${JSON.stringify({
  jsonrpc: '2.0',
  id: null,
  error: { code: -32600, message: 'This monitor does not speak length-framed JSON-RPC: send lines of text or JSON.' },
})}\n`;

/** A listening monitor socket. */
export class MonitorSocket {
  readonly path: string;
  readonly #server: UnixServer;

  private constructor(server: UnixServer) {
    this.path = server.path;
    this.#server = server;
  }

  /** Listens; a dead socket is replaced. @throws Fault `socket.path_long`, `socket.busy`, `file.unwritable` */
  static async open(options: MonitorSocketOptions): Promise<MonitorSocket> {
    const { path, entrants = {}, log } = options;
    const onError = (error: Error) => log.warn('a monitor socket could not accept', { path, error });
    return new MonitorSocket(await listenUnix(path, (socket) => welcome(socket, options), { entrants, onError }));
  }

  /** Stops listening, ends all connections, and removes the socket file. */
  close(): Promise<void> {
    return this.#server.close();
  }
}

/** Waits for the first byte, which costs a silent client neither a timer nor a buffer. */
function welcome(socket: Socket, options: MonitorSocketOptions): void {
  socket.allowHalfOpen = true; // A client that has said all and closed its side still wants its answers.
  const endUnheard = () => socket.end();
  socket.once('end', endUnheard);
  socket.once('data', (head: Buffer) => {
    socket.off('end', endUnheard);
    try {
      converse(socket, head, options);
    } catch (error) {
      options.log.error('a monitor connection failed', { path: options.path, what: messageOf(error), error });
      socket.destroy();
    }
  });
}

function converse(socket: Socket, head: Buffer, options: MonitorSocketOptions): void {
  const { clock, log } = options;
  if (head[0] === 0) {
    socket.end(NO_FRAMES, () => socket.destroy());
    return;
  }
  const peer = options.peerOf(socket);
  if (head[0] === BRACE) {
    socket.allowHalfOpen = false;
    options.serveRpc(socket, head, peer);
    return;
  }
  const answer = (command: TextCommand) => options.perform(command, peer);
  new TextSession(socket, head, { clock, log, answer, onQuit: () => options.onQuit(peer) });
}
