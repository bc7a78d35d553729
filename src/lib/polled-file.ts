/**
 * Reads a character device that the kernel can poll, without a thread that waits in it. Node takes such a device for a
 * file, whose reads each block a thread of the pool until something comes: four of them and nothing else is read. Linux.
 */
import { closeSync, fstatSync, readFileSync } from 'node:fs';
import { Socket, type SocketConstructorOpts } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { Fault } from './fault.ts';

/** What Node has behind sockets; libuv polls whatever file it is given. */
interface PipeHandle {
  open(fd: number): number;
}

interface PipeBinding {
  readonly Pipe: new (type: number) => PipeHandle;
}

const SOCKET_TYPE = 0;

/**
 * Gives a stream that reads the open file, which must be non-blocking, and closes it when destroyed. Do not write to it.
 * `name` is the kernel's name of the device: libuv ends the whole process over a file that cannot be polled, so only what
 * the caller knows is taken. @throws Fault `file.unreadable`; the file is then closed
 */
export function readPolled(fd: number, path: string, name: string): Socket {
  const found = deviceName(fd);
  if (found !== name) {
    closeSync(fd);
    throw new Fault('file.unreadable', { file: path, what: `it is ${found ?? 'no device'}, not ${name}` });
  }
  // No public call makes a handle of a descriptor that is neither socket, pipe nor terminal.
  const { binding } = process as unknown as { binding(name: 'pipe_wrap'): PipeBinding };
  const handle = new (binding('pipe_wrap').Pipe)(SOCKET_TYPE);
  const status = handle.open(fd);
  if (status !== 0) {
    closeSync(fd);
    throw new Fault('file.unreadable', { file: path, what: getSystemErrorName(status) });
  }
  return new Socket({ handle, readable: true, writable: true } as unknown as SocketConstructorOpts);
}

/** Gives the kernel's name of a character device (`xen/xenbus`). */
function deviceName(fd: number): string | undefined {
  const { rdev } = fstatSync(fd);
  // makedev(3)
  const [major, minor] = [(rdev >>> 8) & 0xfff, (rdev & 0xff) | ((rdev >>> 12) & 0xfff00)];
  try {
    return /^DEVNAME=(.+)$/m.exec(readFileSync(`/sys/dev/char/${major}:${minor}/uevent`, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
