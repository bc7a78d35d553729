/**
 * A VM's own socket: whoever connects is told apart by the first byte: `{` speaks NDJSON RPC and is handed on, a NUL begins
 * the length of a request as OpenXT's xenvm frames them, anything else is the text dialect of the first xenvm.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import type { Entrants } from '../lib/entrants.ts';
import { messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import { listenUnix, type UnixServer } from '../lib/unix-server.ts';
import type { Actor } from '../model/audit.ts';
import type { VmUuid } from '../model/ids.ts';
import type { MonitorCommand } from './commands.ts';
import { FramedSession } from './framed-session.ts';
import type { Caller } from './session-options.ts';
import { TextSession } from './text-session.ts';

export interface MonitorSocketOptions {
  /** `<runtime>/vm/<uuid>.sock`; its folder exists. */
  readonly path: string;
  readonly uuid: VmUuid;
  readonly clock: Clock;
  readonly log: Log;
  /** Who may connect besides us. */
  readonly entrants?: Entrants | undefined;
  /** Says who is at the other end, as the kernel knows it. */
  readonly peerOf: (socket: Socket) => Actor;
  /** Answers a command but `help` with lines. A Fault becomes the error, and then `quit` is not obeyed. */
  readonly perform: (command: MonitorCommand, peer: Actor, caller: Caller) => Promise<readonly string[]>;
  /** Takes over a connection that speaks NDJSON RPC and listens on it before it returns; `head` was read already. */
  readonly serveRpc: (socket: Socket, head: Buffer, peer: Actor) => void;
  /** Called when a client said `quit` and has its answer: close this socket. */
  readonly onQuit: (peer: Actor) => void;
}

const BRACE = 0x7b;

/** Whoever has subscribed is told of the end. */
type Sessions = Set<{ farewell(): void }>;

/** A listening monitor socket. */
export class MonitorSocket {
  readonly path: string;
  readonly #server: UnixServer;
  readonly #sessions: Sessions;

  private constructor(server: UnixServer, sessions: Sessions) {
    this.path = server.path;
    this.#server = server;
    this.#sessions = sessions;
  }

  /** Listens; a dead socket is replaced. @throws Fault `socket.path_long`, `socket.busy`, `file.unwritable` */
  static async open(options: MonitorSocketOptions): Promise<MonitorSocket> {
    const { path, entrants = {}, log } = options;
    const onError = (error: Error) => log.warn('a monitor socket could not accept', { path, error });
    const sessions: Sessions = new Set();
    const server = await listenUnix(path, (socket) => welcome(socket, options, sessions), { entrants, onError });
    return new MonitorSocket(server, sessions);
  }

  /** Stops listening, ends all connections, and removes the socket file. */
  close(): Promise<void> {
    for (const session of this.#sessions) session.farewell();
    return this.#server.close();
  }
}

/** Waits for the first byte, which costs a silent client neither a timer nor a buffer. */
function welcome(socket: Socket, options: MonitorSocketOptions, sessions: Sessions): void {
  socket.allowHalfOpen = true; // A client that has said all and closed its side still wants its answers.
  const endUnheard = () => socket.end();
  socket.once('end', endUnheard);
  socket.once('data', (head: Buffer) => {
    socket.off('end', endUnheard);
    try {
      converse(socket, head, options, sessions);
    } catch (error) {
      options.log.error('a monitor connection failed', { path: options.path, what: messageOf(error), error });
      socket.destroy();
    }
  });
}

function converse(socket: Socket, head: Buffer, options: MonitorSocketOptions, sessions: Sessions): void {
  const { uuid, clock, log } = options;
  const peer = options.peerOf(socket);
  if (head[0] === BRACE) {
    socket.allowHalfOpen = false;
    options.serveRpc(socket, head, peer);
    return;
  }
  const answer = (command: MonitorCommand, caller: Caller) => options.perform(command, peer, caller);
  const parts = { uuid, clock, log, answer, onQuit: () => options.onQuit(peer) };
  const session = head[0] === 0 ? new FramedSession(socket, head, parts) : new TextSession(socket, head, parts);
  sessions.add(session);
  socket.once('close', () => sessions.delete(session));
}
