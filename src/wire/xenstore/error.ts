/**
 * How xenstore fails: what xenstored refuses (`XenstoreError`, which the driver turns into a Fault, for only it knows the
 * VM) and the faults of the connection.
 */
import { errnoOf, Fault, isFault, reasonOf } from '../../lib/fault.ts';
import { printable } from '../../lib/text.ts';
import type { RequestName } from './packets.ts';

/** The names that xs_wire.h lists, and one that only oxenstored has. */
export const XENSTORE_ERRNOS = [
  ...(['EINVAL', 'EACCES', 'EEXIST', 'EISDIR', 'ENOENT', 'ENOMEM', 'ENOSPC', 'EIO', 'ENOTEMPTY', 'ENOSYS'] as const),
  ...(['EROFS', 'EBUSY', 'EAGAIN', 'EISCONN', 'E2BIG', 'EPERM', 'EQUOTA'] as const),
] as const;

export type XenstoreErrno = (typeof XENSTORE_ERRNOS)[number];

/** Says that xenstored understood a request and refused it; the connection goes on. */
export class XenstoreError extends Error {
  readonly request: RequestName;
  /** The path that the request was about, when it was about one. */
  readonly path: string | undefined;
  /** One of `XENSTORE_ERRNOS`, or what a newer daemon says. */
  readonly errno: XenstoreErrno | (string & {});

  constructor(request: RequestName, path: string | undefined, errno: string) {
    super(`xenstored refused ${request}${path === undefined ? '' : ` of ${printable(path, 200)}`}: ${errno}`);
    this.name = 'XenstoreError';
    this.request = request;
    this.path = path;
    this.errno = errno;
  }
}

/** Tells whether the value is a refusal of xenstored, with one of the names if any are given. */
export function isXenstoreError(value: unknown, ...errnos: XenstoreErrno[]): value is XenstoreError {
  return value instanceof XenstoreError && (errnos.length === 0 || (errnos as string[]).includes(value.errno));
}

const ERRNO_WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket or device',
  ECONNREFUSED: 'nobody listens there',
  EACCES: 'its permissions forbid it',
  EPERM: 'its permissions forbid it',
  ENODEV: 'this machine is no Xen domain',
  ENXIO: 'this machine is no Xen domain',
  ECONNRESET: 'it hung up',
  EPIPE: 'it hung up',
};

/** Makes `wire.closed` of whatever ended a connection or prevented one, which becomes its cause. */
export function closedFault(peer: string, error: unknown): Fault {
  if (isFault(error, 'wire.closed')) return error;
  const what = ERRNO_WORDS[errnoOf(error) ?? ''] ?? reasonOf(error, 'socket.unreachable', 'wire.broken');
  return new Fault('wire.closed', { peer, what }, { cause: error });
}

/** Makes `wire.broken`: the peer is no xenstored, or a broken one. */
export function brokenFault(peer: string, what: string): Fault {
  return new Fault('wire.broken', { peer, protocol: 'xenstore', what });
}
