/**
 * What Node has no call for, by koffi: who is at the other end of a socket, a lock that ends with its process, access
 * control lists, and unix datagrams. The only file that loads koffi, and only when one of these is first asked for (15 ms,
 * 7 MB). Linux.
 */
import { closeSync, constants, openSync, readFileSync, statSync, writeSync } from 'node:fs';
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

/** Somebody, by number, whom a file lets in besides its owner and its group. */
export type AclEntry = { readonly uid: number } | { readonly gid: number };

/** A lock that is ours until it is released or the process ends, however it ends. */
export interface FileLock {
  release(): void;
}

interface Library {
  readonly getsockopt: KoffiFunc<
    (fd: number, level: number, name: number, value: Buffer, length: Uint32Array) => number
  >;
  readonly flock: KoffiFunc<(fd: number, operation: number) => number>;
  readonly setxattr: KoffiFunc<(path: string, name: string, value: Buffer, size: number, flags: number) => number>;
  readonly socket: KoffiFunc<(domain: number, type: number, protocol: number) => number>;
  readonly sendto: KoffiFunc<
    (fd: number, data: Buffer, length: number, flags: number, address: Buffer, size: number) => number
  >;
  readonly errno: () => number;
}

// socket(7), unix(7), flock(2), errno(3): the values of x86 and arm64.
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_DONTWAIT_NOSIGNAL = 0x40 | 0x4000;
const LOCK_EX_NB = 2 | 4;
const EWOULDBLOCK = 11;
const ERANGE = 34;

// linux/posix_acl_xattr.h, version 2: tag and right (16 bits each), id (32 bits), in this order of the tags.
const ACL = { version: 2, userObj: 1, user: 2, groupObj: 4, group: 8, mask: 16, other: 32, noId: 0xffff_ffff };

let library: Library | undefined;

/** Asks the kernel who is at the other end (SO_PEERCRED); `undefined` when the socket is closed. */
export function peerCredentials(socket: Socket): PeerCredentials | undefined {
  const fd = descriptorOf(socket);
  if (fd === undefined) return undefined;
  const value = Buffer.alloc(12);
  const length = Uint32Array.of(value.length);
  if (open().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length) !== 0) return undefined;
  // struct ucred, in the byte order of the machine; all that Node runs on here are little-endian.
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
}

/**
 * Asks the kernel for the supplementary groups that the peer had when the connection was made (SO_PEERGROUPS, Linux 4.13):
 * of that moment and of that process, where /proc/PID/status would tell of whoever has the number now. None when the
 * socket is closed or the kernel does not say.
 */
export function peerGroups(socket: Socket): number[] {
  const fd = descriptorOf(socket);
  if (fd === undefined) return [];
  const { getsockopt, errno } = open();
  for (let bytes = 64 * 4; ; ) {
    const value = Buffer.alloc(bytes);
    const length = Uint32Array.of(bytes);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, value, length) === 0) {
      return Array.from({ length: (length[0] ?? 0) / 4 }, (_, i) => value.readUInt32LE(i * 4));
    }
    const needed = length[0] ?? 0;
    if (errno() !== ERANGE || needed <= bytes) return [];
    bytes = needed;
  }
}

/**
 * Sets a file's access control list (acl(5)): the rights of its owner, of its group, and of others by number, each from 0
 * to 7; everybody else has none. Replaces a list that was there. Gives the errno when it cannot be done, such as 95
 * (EOPNOTSUPP) on a file system without such lists.
 */
export function setAcl(
  path: string,
  rights: { readonly owner: number; readonly group: number; readonly entries: number },
  entries: readonly AclEntry[],
): number | undefined {
  const idsOf = (kind: 'uid' | 'gid') => {
    const ids = entries.flatMap((entry) => (kind in entry ? [(entry as Record<string, number>)[kind] ?? 0] : []));
    return [...new Set(ids)].sort((a, b) => a - b);
  };
  const [users, groups] = [idsOf('uid'), idsOf('gid')];
  const isLong = users.length + groups.length > 0; // Without other entries a list has no mask.
  const lines: [tag: number, right: number, id: number][] = [
    [ACL.userObj, rights.owner, ACL.noId],
    ...users.map((id): [number, number, number] => [ACL.user, rights.entries, id]),
    [ACL.groupObj, rights.group, ACL.noId],
    ...groups.map((id): [number, number, number] => [ACL.group, rights.entries, id]),
    ...(isLong ? [[ACL.mask, rights.group | rights.entries, ACL.noId] as [number, number, number]] : []),
    [ACL.other, 0, ACL.noId],
  ];
  const value = Buffer.alloc(4 + lines.length * 8);
  value.writeUInt32LE(ACL.version, 0);
  for (const [i, [tag, right, id]] of lines.entries()) {
    value.writeUInt16LE(tag, 4 + i * 8);
    value.writeUInt16LE(right, 6 + i * 8);
    value.writeUInt32LE(id, 8 + i * 8);
  }
  const { setxattr, errno } = open();
  return setxattr(path, 'system.posix_acl_access', value, value.length, 0) === 0 ? undefined : errno();
}

/**
 * Sends one datagram to a unix socket, without waiting: when nobody takes it now, it is not sent. Gives the errno then,
 * such as 2 (ENOENT), 11 (EAGAIN: its queue is full) or 91 (EPROTOTYPE: it is a stream socket).
 */
export function sendDatagram(path: string, data: Buffer): number | undefined {
  const { socket, sendto, errno } = open();
  const fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return errno();
  const address = Buffer.concat([Buffer.of(AF_UNIX, 0), Buffer.from(path), Buffer.of(0)]); // struct sockaddr_un
  const sent = sendto(fd, data, data.length, MSG_DONTWAIT_NOSIGNAL, address, address.length);
  const reason = sent < 0 ? errno() : undefined;
  closeSync(fd);
  return reason;
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

/**
 * Tells whether a process holds the lock of `lockFile`, without touching it: a lock that is tried for is held for that
 * moment (proc(5), `/proc/locks`). Unknown to be held is not held.
 */
export function isFileLocked(path: string): boolean {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined) return false;
  const { dev, ino } = status;
  // As makedev(3) puts them together: twelve bits of major among the twenty of minor.
  const [major, minor] = [(dev >>> 8) & 0xfff, (dev & 0xff) | ((dev >>> 12) & 0xfff00)];
  const file = `${[major, minor].map((number) => number.toString(16).padStart(2, '0')).join(':')}:${ino} `;
  try {
    const locks = readFileSync('/proc/locks', 'latin1').split('\n');
    return locks.some((line) => line.includes(' FLOCK ') && !line.includes('->') && line.includes(` ${file}`));
  } catch {
    return false;
  }
}

function descriptorOf(socket: Socket): number | undefined {
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  return fd === undefined || fd < 0 ? undefined : fd;
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
      setxattr: libc.func(
        'int setxattr(const char *path, const char *name, const void *value, size_t size, int flags)',
      ),
      socket: libc.func('int socket(int domain, int type, int protocol)'),
      sendto: libc.func(
        'intptr_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t size)',
      ),
      errno: () => koffi.errno(),
    };
    return library;
  } catch (error) {
    throw new Fault('internal', { what: `the native module koffi cannot be loaded (${messageOf(error)})` });
  }
}
