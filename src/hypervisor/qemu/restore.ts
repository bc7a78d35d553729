/** Feeds a saved state to a QEMU that waits for it (`-incoming defer`). */
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../../lib/clock.ts';
import { pollUntil } from '../../lib/deadline.ts';
import { Fault } from '../../lib/fault.ts';
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
  { signal, onProgress }: StartOptions,
  clock: Clock,
): Promise<void> {
  const { name: vm, paths } = domain;
  const { file, header } = saved;
  const session = await domain.session({ signal });
  try {
    await session.execute('migrate-incoming', { uri: `unix:${paths.migrateSocket}` }, { signal });
    const socket = await connectUnix(paths.migrateSocket, { timeoutMs: CONNECT_TIMEOUT_MS, signal });
    socket.resume(); // QEMU says nothing there, but its hanging up is heard only by one who reads.
    await withStallGuard(`Loading the state of VM ${vm}`, clock, signal, (stalled, moved) => {
      const stream = async function* () {
        let bytes = 0;
        for await (const chunk of streamOf(file)) {
          yield Buffer.from(chunk); // A copy: the socket may still hold it when the next is read.
          bytes += chunk.length;
          moved();
          onProgress?.(bytes, header.streamBytes);
        }
      };
      return pipeline(stream, socket, { signal: stalled });
    });
    const options = {
      what: `Loading the state of VM ${vm}`,
      timeoutMs: STALL_MS,
      everyMs: LOAD_POLL_MS,
      signal,
      clock,
    };
    await pollUntil(options, async () => {
      const { status } = await session.execute('query-status', {}, { signal });
      return status === 'inmigrate' ? undefined : status;
    });
  } catch (error) {
    if (signal?.aborted) throw new Fault('aborted', { what: `The restore of VM ${vm}` }, { cause: error });
    throw error;
  }
}

/** Runs `work` with a signal that comes with the caller's, or when `moved` was not called for a minute. */
async function withStallGuard(
  what: string,
  clock: Clock,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal, moved: () => void) => Promise<void>,
): Promise<void> {
  const stall = new AbortController();
  const onStall = () => stall.abort(new Fault('timeout', { what, seconds: STALL_MS / 1000 }));
  let cancel = clock.after(STALL_MS, onStall);
  const moved = () => {
    cancel();
    cancel = clock.after(STALL_MS, onStall);
  };
  try {
    await work(signal === undefined ? stall.signal : AbortSignal.any([signal, stall.signal]), moved);
  } finally {
    cancel();
  }
}
