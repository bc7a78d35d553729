/**
 * Saves a running domain into a file. QEMU 7.2 has no `file:` migration and `-sandbox` forbids `exec:`, so the state
 * goes by `migrate unix:` to a socket of ours and from there, with back-pressure, into the file.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { resolve } from 'node:path';
import { replaceFile } from '../../lib/atomic-file.ts';
import type { Clock } from '../../lib/clock.ts';
import { Fault, isFault, reasonOf } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import { deviceKey } from '../../model/usb.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { SaveOptions } from '../driver.ts';
import { whyNoSaveTarget } from '../save-target.ts';
import type { QemuDomain } from './domain.ts';
import { readOrigin } from './origin.ts';
import { formatHeader, HEADER_BYTES, MAGIC } from './save-file.ts';
import { cancelMigration, goOn, migrationEnd, removeSaveNote, type SaveNote, writeSaveNote } from './save-note.ts';
import { listenForStream } from './save-socket.ts';

export interface SaveInput {
  readonly domain: QemuDomain;
  readonly path: string;
  readonly options: SaveOptions;
  readonly clock: Clock;
  readonly log: Log;
}

/** No limit of its own: the disk sets the pace by back-pressure. Bytes per second. */
const MAX_BANDWIDTH = 64 * 1024 ** 3;
/** A guest that writes memory faster than the disk takes it is stopped after this, so that the end is reached. */
const LIVE_MS = 30_000;
const PROGRESS_MS = 200;

/**
 * Saves the domain: all of its state under its final name, or nothing and the guest goes on as before. The guest runs
 * while its memory is copied; it is stopped for the last part only.
 *
 * INVARIANTS: the file gets its name when QEMU says `completed` and every byte is on the disk, not before; `savedTo` is
 * set only then. From the first command on, whatever fails leads through `giveUp`, and a daemon that dies leaves a note
 * by which the next does the same (save-note.ts).
 *
 * @throws Fault `vm.save_failed`, `vm.died`, `aborted`
 */
export async function saveQemu(input: SaveInput): Promise<void> {
  const { domain, path, options } = input;
  const what = `The save of VM ${domain.name}`;
  const { signal, afterwards } = options;
  if (signal?.aborted) throw new Fault('aborted', { what }, { cause: signal.reason });
  const refuse = (why: string, cause?: unknown) =>
    new Fault('vm.save_failed', { vm: domain.name, file: path, what: why }, { cause });
  const checkTarget = async () => {
    const why = await whyNoSaveTarget(path, MAGIC);
    if (why !== undefined) throw refuse(why);
  };

  await checkTarget();
  const { run, attachments } = await domain.observe({ signal });
  if (run === 'dead') throw new Fault('vm.no_domain', { vm: domain.name });
  if (domain.isSaving) throw refuse('another save is going on');
  if (attachments.length > 0)
    throw refuse(`${attachments.map(deviceKey).join(', ')} would be missing when it is restored`);

  const session = await domain.session({ signal });
  const note: SaveNote = { saveId: randomUUID(), path: resolve(path), afterwards, wasRunning: run === 'running' };
  domain.isSaving = true;
  try {
    await replaceFile(path, async (file) => {
      await writeSaveNote(domain.paths, note);
      await writeState(input, session, file, note.saveId);
      if (signal?.aborted) throw new Fault('aborted', { what }, { cause: signal.reason });
      await checkTarget(); // Minutes may have passed, and other hands made a file there.
    });
    if (afterwards === 'stopped') {
      options.onWritten?.();
      domain.savedTo = note.path;
      return;
    }
    await goOn(session, note.wasRunning);
    await removeSaveNote(domain.paths);
  } catch (error) {
    throw await giveUp(input, note, error);
  } finally {
    domain.isSaving = false;
  }
}

/** Has QEMU write its state, and puts it into the file with a header before it. */
async function writeState(input: SaveInput, session: QmpSession, file: FileHandle, saveId: string): Promise<void> {
  const { domain, options, clock } = input;
  const description = await describe(domain, session);
  const hash = createHash('sha256');
  let streamBytes = 0;
  let toldAt = clock.monotonic();

  await using stream = await listenForStream(domain.paths.migrateSocket);
  await session.execute('migrate-set-parameters', { 'max-bandwidth': MAX_BANDWIDTH });
  await session.execute('migrate', { uri: `unix:${domain.paths.migrateSocket}` });
  const stopLater = clock.after(LIVE_MS, () => void session.execute('stop').catch(() => undefined));
  try {
    const socket = await stream.connection({ what: `The state of VM ${domain.name}`, signal: options.signal, clock });
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      await file.write(chunk, 0, chunk.length, HEADER_BYTES + streamBytes);
      hash.update(chunk);
      streamBytes += chunk.length;
      if (clock.monotonic() - toldAt < PROGRESS_MS) continue;
      toldAt = clock.monotonic();
      options.onProgress?.(streamBytes, undefined);
    }
  } finally {
    stopLater();
  }
  const { status, 'error-desc': reason } = await migrationEnd(session, clock);
  if (status !== 'completed') {
    throw new Fault('hypervisor.failed', { what: reason ?? `its migration ended as "${status}"` });
  }
  const header = { ...description, saveId, createdAt: clock.now(), streamBytes, sha256: hash.digest('hex') };
  await file.write(formatHeader(header), 0, HEADER_BYTES, 0);
  options.onProgress?.(streamBytes, streamBytes);
}

/** Gives all of the header that is known before the stream. */
async function describe(domain: QemuDomain, session: QmpSession) {
  const { major, minor, micro } = session.version.qemu;
  const machine = String(await session.execute('qom-get', { path: '/machine', property: 'type' }));
  return {
    uuid: domain.uuid,
    name: domain.name,
    driver: 'qemu' as const,
    qemu: `${major}.${minor}.${micro}`,
    machine: machine.replace(/-machine$/, ''),
    ...(await readOrigin(domain.paths)),
  };
}

/** Puts the guest back to what it was, and gives the fault to tell. */
async function giveUp({ domain, path, clock, log }: SaveInput, note: SaveNote, error: unknown): Promise<unknown> {
  const vm = domain.name;
  try {
    const session = await domain.session();
    await cancelMigration(session, clock);
    await goOn(session, note.wasRunning);
    await removeSaveNote(domain.paths);
  } catch (trouble) {
    if (!domain.isAlive) return new Fault('vm.died', { vm, verb: 'save', what: 'QEMU ended' }, { cause: error });
    log.error('a guest could not be put back after a save that failed', { vm, error: trouble });
  }
  if (isFault(error, 'aborted', 'vm.died', 'vm.no_domain', 'vm.save_failed')) return error;
  const what = reasonOf(error, 'file.unwritable', 'hypervisor.failed', 'hypervisor.lost');
  return new Fault('vm.save_failed', { vm, file: path, what }, { cause: error });
}
