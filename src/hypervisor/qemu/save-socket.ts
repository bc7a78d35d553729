/** The private unix socket that a state streams through: QEMU connects to it, once. */
import { rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { Fault } from '../../lib/fault.ts';

export interface StreamListener {
  /**
   * Gives the connection when it is there. From then on the socket fails with the fault `aborted` when the signal
   * comes, and with `timeout` when nothing moves for a minute. @throws Fault `timeout`, `aborted`
   */
  connection(options: {
    readonly what: string;
    readonly signal?: AbortSignal | undefined;
    readonly clock: Clock;
  }): Promise<Socket>;
  /** Ends the connection and removes the socket. */
  [Symbol.asyncDispose](): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 10_000;
const STALL_MS = 60_000;

/** Listens at `path`, in a folder that only we may enter. @throws system errors */
export async function listenForStream(path: string): Promise<StreamListener> {
  await rm(path, { force: true });
  const connected = Promise.withResolvers<Socket>();
  const server = createServer((socket) => {
    socket.on('error', () => undefined); // Told by whoever reads or writes.
    connected.resolve(socket);
    server.close();
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  let open: Socket | undefined;
  return {
    async connection({ what, signal, clock }) {
      const socket = await withDeadline(
        { what, timeoutMs: CONNECT_TIMEOUT_MS, signal, clock },
        () => connected.promise,
      );
      open = socket;
      const onAbort = () => socket.destroy(new Fault('aborted', { what }, { cause: signal?.reason }));
      signal?.addEventListener('abort', onAbort, { once: true });
      socket.once('close', () => signal?.removeEventListener('abort', onAbort));
      socket.setTimeout(STALL_MS, () => socket.destroy(new Fault('timeout', { what, seconds: STALL_MS / 1000 })));
      return socket;
    },
    async [Symbol.asyncDispose]() {
      server.close();
      open?.destroy();
      void connected.promise.then((socket) => socket.destroy()); // One that came after we gave up.
      await rm(path, { force: true });
    },
  };
}
