/**
 * The copying of a guest's state out of QEMU: the stream into the file, the moment at which the guest stands still, the
 * snapshots of that moment. What a save is as a whole is save.ts.
 */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import { writeWhole } from '../../lib/whole-write.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { SaveOptions } from '../driver.ts';
import type { QemuDomain } from './domain.ts';
import { HEADER_BYTES } from './save-file.ts';
import { migrationEnd } from './save-note.ts';
import { listenForStream } from './save-socket.ts';
import { activateImages, type NodeSnapshot, takeSnapshots } from './snapshots.ts';

/** No limit of its own: the disk sets the pace by back-pressure. Bytes per second. */
const MAX_BANDWIDTH = 64 * 1024 ** 3;
/** A guest that writes memory faster than the disk takes it is stopped after this, so that the end is reached. */
const LIVE_MS = 30_000;
const PROGRESS_MS = 200;
/** While the guest runs the file is synced each time so much has come: what is left is synced while it stands still. */
const SYNC_BYTES = 32 * 1024 * 1024;
/** For what has no limit of its own: the longest that a timer can be. */
const FOREVER_MS = 2 ** 31 - 1;

/** What went into the file. */
export interface WrittenState {
  readonly streamBytes: number;
  /** Of the stream, hex. */
  readonly sha256: string;
}

/** Tells since when a guest stands still, by what QEMU says. */
export class Standstill implements Disposable {
  readonly #clock: Clock;
  readonly #forget: () => void;
  #since: number | undefined;

  constructor(session: QmpSession, clock: Clock) {
    this.#clock = clock;
    this.#forget = session.onEvent(({ name }) => {
      if (name === 'STOP') this.#since ??= clock.monotonic();
    });
  }

  get hasBegun(): boolean {
    return this.#since !== undefined;
  }

  /** How long it stands still by now, in milliseconds; 0 for one that runs, or was paused before. */
  get ms(): number {
    return this.#since === undefined ? 0 : this.#clock.monotonic() - this.#since;
  }

  [Symbol.dispose](): void {
    this.#forget();
  }
}

export interface StateInput {
  readonly domain: QemuDomain;
  readonly session: QmpSession;
  readonly file: FileHandle;
  readonly options: SaveOptions;
  readonly isLive: boolean;
  /** To be taken when the guest stands still and before its last page is copied. */
  readonly snapshots: readonly NodeSnapshot[];
  readonly standstill: Standstill;
  readonly clock: Clock;
}

/**
 * Has QEMU write its state behind the header's place in the file; the guest stands still then. Unless the save is live it
 * stands still from the start. @throws Fault `hypervisor.failed`, `aborted`, `timeout`; QmpError, system errors
 */
export async function writeState(input: StateInput): Promise<WrittenState> {
  const { domain, session, snapshots, options, isLive, clock } = input;
  const mustPause = snapshots.length > 0;
  if (!isLive) await session.execute('stop');
  await activateImages(session); // A guest that was paused in its last save cannot be migrated, either.
  await session.execute('migrate-set-parameters', { 'max-bandwidth': MAX_BANDWIDTH });
  await session.execute('migrate-set-capabilities', {
    capabilities: [
      { capability: 'events', state: true },
      { capability: 'pause-before-switchover', state: mustPause },
    ],
  });
  const ended = new AbortController();
  await using stream = await listenForStream(domain.paths.migrateSocket);
  const switching = mustPause ? switchOver(session, snapshots, ended.signal) : undefined;
  await session.execute('migrate', { uri: `unix:${domain.paths.migrateSocket}` });
  const stopLater = clock.after(LIVE_MS, () => void session.execute('stop').catch(() => undefined));
  try {
    const written = await copy(input, await stream.connection({ what: whatOf(domain), signal: options.signal, clock }));
    ended.abort();
    await switching;
    const { status, 'error-desc': reason } = await migrationEnd(session, clock);
    if (status === 'completed') return written;
    throw new Fault('hypervisor.failed', { what: reason ?? `its migration ended as "${status}"` });
  } finally {
    ended.abort();
    stopLater();
    await switching?.catch(() => undefined);
  }
}

async function copy({ file, options, standstill, clock }: StateInput, socket: AsyncIterable<Buffer>) {
  const hash = createHash('sha256');
  let streamBytes = 0;
  let syncedBytes = 0;
  let toldAt = clock.monotonic();
  for await (const chunk of socket) {
    await writeWhole(file, chunk, HEADER_BYTES + streamBytes);
    hash.update(chunk);
    streamBytes += chunk.length;
    if (!standstill.hasBegun && streamBytes - syncedBytes > SYNC_BYTES) {
      await file.datasync();
      syncedBytes = streamBytes;
    }
    if (clock.monotonic() - toldAt < PROGRESS_MS) continue;
    toldAt = clock.monotonic();
    options.onProgress?.(streamBytes, undefined);
  }
  return { streamBytes, sha256: hash.digest('hex') };
}

/**
 * Takes the snapshots when QEMU has stopped the guest and holds the migration there, with the images still its own, and
 * lets it go on. When that fails the migration is cancelled, which ends the stream; the reason is thrown.
 */
async function switchOver(session: QmpSession, snapshots: readonly NodeSnapshot[], ended: AbortSignal): Promise<void> {
  try {
    await session.waitEvent((event) => event.name === 'MIGRATION' && event.data.status === 'pre-switchover', {
      timeoutMs: FOREVER_MS,
      signal: ended,
    });
  } catch (error) {
    if (ended.aborted && isFault(error, 'aborted')) return; // It came to an end before, and its status says why.
    throw error;
  }
  try {
    await takeSnapshots(session, snapshots);
    await session.execute('migrate-continue', { state: 'pre-switchover' });
  } catch (error) {
    await session.execute('migrate_cancel').catch(() => undefined); // Whatever is wrong with it, the first error tells.
    throw error;
  }
}

function whatOf({ name }: QemuDomain): string {
  return `The state of VM ${name}`;
}
