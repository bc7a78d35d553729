/**
 * What Node has no call for, by koffi: the credentials of a socket's peer, and a lock that ends with its process. The
 * only file that loads koffi, and only when one of these is first asked for (15 ms, 7 MB). Linux.
 */
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import type { KoffiFunc, LibraryHandle } from 'koffi';
import { Fault, messageOf } from './fault.ts';

/** Who is at the other end of a unix socket, as the kernel recorded it when the connection was made. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** A lock that is ours until it is released or the process ends, however it ends. */
export interface FileLock {
  release(): void;
}

interface Library {
  readonly getsockopt: KoffiFunc<
    (fd: number, level: number, name: number, value: Buffer, length: Uint32Array) => number
  >;
  readonly flock: KoffiFunc<(fd: number, operation: number) => number>;
  readonly errno: () => number;
}

// socket(7), flock(2), errno(3): the values of x86 and arm64.
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const LOCK_EX_NB = 2 | 4;
const EWOULDBLOCK = 11;

let library: Library | undefined;

/** Asks the kernel who is at the other end (SO_PEERCRED); `undefined` when the socket is closed. */
export function peerCredentials(socket: Socket): PeerCredentials | undefined {
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) return undefined;
  const value = Buffer.alloc(12);
  const length = Uint32Array.of(value.length);
  if (open().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length) !== 0) return undefined;
  // struct ucred, in the byte order of the machine; all that Node runs on here are little-endian.
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
}

/**
 * Locks a file (flock(2)), made if need be, and writes our process id into it; or tells which process holds it.
 *
 * INVARIANTS: the lock belongs to the open file, which children do not inherit (Node opens with O_CLOEXEC), so that a
 * guest that outlives us does not hold it. The file is never removed: one that was could be locked twice, by its old
 * and by its new inode.
 *
 * @throws Fault `file.unwritable`
 */
export function lockFile(path: string): FileLock | { readonly heldBy: number } {
  const fail = (what: string, cause?: unknown) => new Fault('file.unwritable', { file: path, what }, { cause });
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    throw fail(messageOf(error), error);
  }
  const { flock, errno } = open();
  if (flock(fd, LOCK_EX_NB) !== 0) {
    const reason = errno();
    closeSync(fd);
    if (reason !== EWOULDBLOCK) throw fail(`it cannot be locked (errno ${reason})`);
    return { heldBy: Number.parseInt(readFileSync(path, 'utf8'), 10) || 0 };
  }
  // One write of fixed width over the old one: who reads meanwhile finds a whole number.
  writeSync(fd, `${String(process.pid).padStart(10)}\n`, 0);
  let isHeld = true;
  return {
    release() {
      if (isHeld) closeSync(fd);
      isHeld = false;
    },
  };
}

function open(): Library {
  if (library !== undefined) return library;
  try {
    // In the bundle koffi stands in dist/node_modules, beside the file that `import.meta.url` then names.
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const libc: LibraryHandle = koffi.load(null);
    library = {
      getsockopt: libc.func('int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)'),
      flock: libc.func('int flock(int fd, int operation)'),
      errno: () => koffi.errno(),
    };
    return library;
  } catch (error) {
    throw new Fault('internal', { what: `the native module koffi cannot be loaded (${messageOf(error)})` });
  }
}
