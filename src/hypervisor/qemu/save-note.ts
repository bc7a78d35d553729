/**
 * The note of a save that is under way, in the domain's folder: lets a daemon that finds the domain afterwards tell a
 * save that was finished from one that was cut off.
 */
import { readFile, rm } from 'node:fs/promises';
import { basename, dirname, isAbsolute } from 'node:path';
import { removeLeftovers, writeFileAtomic } from '../../lib/atomic-file.ts';
import type { Clock } from '../../lib/clock.ts';
import { pollUntil } from '../../lib/deadline.ts';
import type { Log } from '../../lib/log.ts';
import type { QmpMigration, QmpMigrationStatus } from '../../wire/qmp/commands.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { QemuDomain } from './domain.ts';
import type { DomainPaths } from './paths.ts';
import { readSaveHeader } from './save-file.ts';
import { type NodeSnapshot, removeSnapshots } from './snapshots.ts';

export interface SaveNote {
  /** The same in the file's header when the file is whole. */
  readonly saveId: string;
  readonly path: string;
  readonly afterwards: 'stopped' | 'running';
  /** Whether the guest ran, and so has to go on when the save comes to nothing. */
  readonly wasRunning: boolean;
  /** What may have been taken of its disks, and is of no use without the file. */
  readonly snapshots: readonly NodeSnapshot[];
}

const END_TIMEOUT_MS = 10_000;
const END_POLL_MS = 20;

const OVER: ReadonlySet<QmpMigrationStatus> = new Set<QmpMigrationStatus>(['none', 'completed', 'failed', 'cancelled']);

export async function writeSaveNote({ saveNote }: DomainPaths, note: SaveNote): Promise<void> {
  await writeFileAtomic(saveNote, JSON.stringify(note));
}

export async function removeSaveNote({ saveNote }: DomainPaths): Promise<void> {
  await rm(saveNote, { force: true });
}

/**
 * Ends a save that nobody waits for any more. The file got its name only when it was whole; so if the file with the
 * note's id is there and the domain was to stop, it is saved and only has to go (`savedTo`). In every other case the
 * guest goes on as it was, and what was written of the file is removed.
 */
export async function settleSave(session: QmpSession, domain: QemuDomain, clock: Clock, log: Log): Promise<void> {
  const note = await readSaveNote(domain.paths);
  if (note === undefined) return;
  await cancelMigration(session, clock);
  const header = await readSaveHeader(note.path).catch(() => undefined);
  const isWhole = header?.saveId === note.saveId;
  if (note.afterwards === 'stopped' && isWhole) {
    domain.savedTo = note.path;
    log.info('a save was finished when the daemon died', { vm: domain.name, file: note.path });
    return;
  }
  await removeLeftovers(dirname(note.path), basename(note.path));
  await goOn(session, note.wasRunning);
  if (!isWhole) await removeSnapshots(session, note.snapshots);
  await removeSaveNote(domain.paths);
  log.warn('a save that was cut off is given up', { vm: domain.name, file: note.path, goesOn: note.wasRunning });
}

/** Ends a migration, if one is going on, and returns when QEMU has put the guest back. @throws Fault `timeout` */
export async function cancelMigration(session: QmpSession, clock: Clock): Promise<void> {
  const { status = 'none' } = await session.execute('query-migrate');
  if (OVER.has(status)) return;
  await session.execute('migrate_cancel');
  await migrationEnd(session, clock);
}

/** Waits until no migration goes on, and gives how the last one ended. @throws Fault `timeout` */
export function migrationEnd(session: QmpSession, clock: Clock): Promise<QmpMigration> {
  const options = { what: 'The end of the migration', timeoutMs: END_TIMEOUT_MS, everyMs: END_POLL_MS, clock };
  return pollUntil(options, async () => {
    const migration = await session.execute('query-migrate');
    return OVER.has(migration.status ?? 'none') ? migration : undefined;
  });
}

/** Lets the guest run again if it ran before: after a migration it is stopped (`postmigrate`). */
export async function goOn(session: QmpSession, wasRunning: boolean): Promise<void> {
  if (!wasRunning) return;
  const { running, status } = await session.execute('query-status');
  if (!running && (status === 'postmigrate' || status === 'paused' || status === 'finish-migrate')) {
    await session.execute('cont');
  }
}

async function readSaveNote({ saveNote }: DomainPaths): Promise<SaveNote | undefined> {
  try {
    const untrusted = JSON.parse(await readFile(saveNote, 'utf8')) as Partial<SaveNote>;
    const { saveId, path, afterwards, wasRunning, snapshots = [] } = untrusted;
    if (typeof saveId !== 'string' || typeof path !== 'string' || !isAbsolute(path)) return undefined;
    if (afterwards !== 'stopped' && afterwards !== 'running') return undefined;
    return { saveId, path, afterwards, wasRunning: wasRunning === true, snapshots };
  } catch {
    return undefined;
  }
}
