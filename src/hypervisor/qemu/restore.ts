/** Feeds a saved state to a QEMU that waits for it (`-incoming defer`). */
import type { Socket } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import { pollUntil, withDeadline } from '../../lib/deadline.ts';
import { connectUnix } from '../../lib/unix-server.ts';
import type { StartOptions } from '../driver.ts';
import type { QemuDomain } from './domain.ts';
import { type OpenSaveFile, streamOf } from './save-file.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** How long nothing may move. */
const STALL_MS = 60_000;
const LOAD_POLL_MS = 10;

/**
 * Loads the state; the guest then goes on, unless QEMU was started paused. The file was checked before (`openSaveFile`).
 * @throws Fault `aborted`; anything else when QEMU refused the state, which ends it: its log says why
 */
export async function feedState(
  domain: QemuDomain,
  saved: OpenSaveFile,
  { isPaused, signal, onProgress }: StartOptions,
  clock: Clock,
): Promise<void> {
  const { name: vm, paths } = domain;
  const { file, header } = saved;
  const session = await domain.session({ signal });
  const what = `Loading the state of VM ${vm}`;
  const waiting = { what, timeoutMs: STALL_MS, signal, clock };
  await session.execute('migrate-incoming', { uri: `unix:${paths.migrateSocket}` }, { signal });
  const socket = await connectUnix(paths.migrateSocket, { timeoutMs: CONNECT_TIMEOUT_MS, signal });
  socket.on('error', () => undefined); // QEMU that hangs up early has refused the state, and ends: asking it tells.
  try {
    let bytes = 0;
    for await (const chunk of streamOf(file)) {
      if (!(await withDeadline(waiting, () => send(socket, chunk)))) break;
      bytes += chunk.length;
      onProgress?.(bytes, header.streamBytes);
    }
    socket.end();
    const isRunning = await pollUntil({ ...waiting, everyMs: LOAD_POLL_MS }, async () => {
      const { status, running } = await session.execute('query-status', {}, { signal });
      return status === 'inmigrate' ? undefined : running;
    });
    // A guest that was paused when it was saved comes back paused.
    if (!isRunning && !isPaused) await session.execute('cont', {}, { signal });
  } finally {
    socket.destroy();
  }
}

/** Sends a chunk and tells, when the kernel has it, whether it went out. */
function send(socket: Socket, chunk: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    socket.write(chunk, (error) => resolve(error === undefined || error === null));
  });
}
