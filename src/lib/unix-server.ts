/**
 * Unix sockets: a listener whose file has its mode before anybody can see it, that takes the place of a dead one but
 * never of a live one, and a client's connect with a deadline. Knows nothing of what is said over them.
 */
import { chmodSync, lstatSync, renameSync, type Stats, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { sleep, systemClock } from './clock.ts';
import { withDeadline } from './deadline.ts';
import { type Entrants, letIn } from './entrants.ts';
import { errnoOf, Fault, messageOf } from './fault.ts';
import { randomHex } from './random.ts';

/** The longest path of a unix socket in bytes: `sun_path` has 108 with its NUL (unix(7)). */
export const MAX_SOCKET_PATH_BYTES = 107;

export interface ListenOptions {
  /** Mode of the socket file, where nobody is let in by name. Default 0600. */
  readonly mode?: number;
  /** Who may connect besides the owner, instead of a mode. */
  readonly entrants?: Entrants | undefined;
  /** Connections that the kernel holds until we accept them. Default 511. */
  readonly backlog?: number;
  /** Told of failures to accept (no file descriptors left): the listener goes on. */
  readonly onError?: (error: Error) => void;
}

export interface UnixServer {
  readonly path: string;
  /** Stops listening, ends the open connections and removes the socket file if it is still ours. */
  close(): Promise<void>;
}

/**
 * Listens at `path`, whose folder exists and lets in only who may connect.
 *
 * INVARIANTS: the socket is bound under a temporary name, gets its mode, and is then renamed to `path`; so it is never
 * there with another mode, a dead socket is replaced in one step, and libuv, which removes the name that it bound when
 * it closes, does not remove a successor's socket. Two processes that find the same dead socket at the same moment must
 * be kept apart by a lock of their home.
 *
 * @throws Fault `socket.path_long`, `socket.busy`, `file.unwritable`
 */
export async function listenUnix(
  path: string,
  onConnection: (socket: Socket) => void,
  options: ListenOptions = {},
): Promise<UnixServer> {
  checkSocketPath(path);
  if (await isTaken(path)) throw new Fault('socket.busy', { path });

  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
    socket.on('error', () => undefined); // A client that goes away in mid-sentence is no failure of ours.
    onConnection(socket);
  });
  const temporary = join(dirname(path), temporaryName(basename(path)));
  try {
    await bind(server, temporary, options.backlog ?? 511);
    if (options.entrants === undefined) chmodSync(temporary, options.mode ?? 0o600);
    else letIn(temporary, 'socket', options.entrants);
    renameSync(temporary, path);
  } catch (error) {
    server.close();
    throw new Fault('file.unwritable', { file: path, what: messageOf(error) }, { cause: error });
  }
  server.on('error', options.onError ?? (() => undefined));
  const own = lstatSync(path);

  return {
    path,
    async close() {
      removeIfSame(path, own);
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
}

/**
 * Connects to the listener at `path`. A listener whose backlog is full is tried again until the deadline.
 * @throws Fault `socket.unreachable`, `socket.path_long`, `timeout`, `aborted`
 */
export function connectUnix(
  path: string,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
): Promise<Socket> {
  checkSocketPath(path);
  return withDeadline({ what: `The connection to ${path}`, ...options }, async (signal) => {
    for (;;) {
      const socket = await connectOnce(path, signal).catch((error: unknown) => {
        if (errnoOf(error) === 'EAGAIN') return undefined;
        throw new Fault('socket.unreachable', { path, what: wordsFor(error) }, { cause: error });
      });
      if (socket !== undefined) return socket;
      await sleep(systemClock, 5, signal);
    }
  });
}

/** Refuses a path that the kernel would refuse, with a sentence. @throws Fault `socket.path_long` */
export function checkSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= MAX_SOCKET_PATH_BYTES) return;
  throw new Fault('socket.path_long', { path, bytes }, { hint: 'Use a shorter USHER_HOME or XDG_RUNTIME_DIR.' });
}

/** Tells whether somebody listens at `path`; a dead socket is not somebody. @throws Fault `file.unwritable` */
async function isTaken(path: string): Promise<boolean> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (!found.isSocket()) throw new Fault('file.unwritable', { file: path, what: 'it is there and is not a socket' });
  const socket = await connectOnce(path).catch((error: unknown) => errnoOf(error));
  if (typeof socket === 'object') socket.destroy();
  // Any other answer (EAGAIN: its backlog is full, EACCES) comes from a socket that may be alive.
  return socket !== 'ECONNREFUSED' && socket !== 'ENOENT';
}

function connectOnce(path: string, signal?: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const giveUp = () => socket.destroy(new Error('given up'));
    signal?.addEventListener('abort', giveUp, { once: true });
    socket.once('error', reject);
    socket.once('connect', () => {
      signal?.removeEventListener('abort', giveUp);
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

function bind(server: Server, path: string, backlog: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, backlog }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** No longer than the name it stands in for, so that it fits wherever that fits. */
function temporaryName(name: string): string {
  return `.${randomHex(8)}`.slice(0, Math.max(2, Buffer.byteLength(name)));
}

function removeIfSame(path: string, own: Stats): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found !== undefined && found.ino === own.ino && found.dev === own.dev) unlinkSync(path);
}

function wordsFor(error: unknown): string {
  const words = { ENOENT: 'there is no such socket', ECONNREFUSED: 'nobody listens', EACCES: 'access is denied' };
  return words[errnoOf(error) as keyof typeof words] ?? messageOf(error);
}
