/**
 * Where xenstored is reached: its unix socket, or the kernel's device in a domain that has none. Gives a stream; what is
 * said over it is session.ts.
 */
import { lstatSync, statSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { connectUnix } from '../../lib/unix-server.ts';
import { openXenbus } from './xenbus-device.ts';

/** Where xenstored listens in dom0; `/var/run` leads there too. */
export const XENSTORED_SOCKET = '/run/xenstored/socket';
/** The kernel's own connection, shared: in every domain, and in dom0 when xenstored lives in a domain of its own. */
export const XENBUS_DEVICE = '/dev/xen/xenbus';

/** Gives the path to use when none is named: the socket if it is there, else the device if that is there. */
export function defaultPath(socket = XENSTORED_SOCKET, device = XENBUS_DEVICE): string {
  return !isThere(socket) && isThere(device) ? device : socket;
}

/** What we may not look at counts as there: connecting says that it is forbidden. */
function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true;
  }
}

export interface Transport {
  readonly stream: Duplex;
  /** So many requests may be there without an answer. */
  readonly maxUnderWay: number;
}

/**
 * A client of the device has one buffer in the kernel, which sends from it: a request that is written before the last was
 * answered may overwrite that.
 */
const MAX_UNDER_WAY = { socket: 64, device: 1 };

/** Opens the socket or device. @throws Fault `socket.unreachable`, `socket.path_long`, `timeout`, `aborted`. */
export async function openTransport(
  path: string,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
): Promise<Transport> {
  const isDevice = statSync(path, { throwIfNoEntry: false })?.isCharacterDevice() ?? false;
  if (isDevice) return { stream: openXenbus(path), maxUnderWay: MAX_UNDER_WAY.device };
  return { stream: await connectUnix(path, options), maxUnderWay: MAX_UNDER_WAY.socket };
}
