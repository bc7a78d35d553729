/** Saves a domain into a file: all of its state under its final name, or nothing and the guest goes on as before. */
import { type FileHandle, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { replaceFile } from '../../lib/atomic-file.ts';
import { sleep } from '../../lib/clock.ts';
import { Fault, isFault, reasonOf } from '../../lib/fault.ts';
import { writeWhole } from '../../lib/whole-write.ts';
import { deviceKey } from '../../model/usb.ts';
import type { DiskConfig } from '../../model/vm.ts';
import type { SaveOptions, SaveReport } from '../driver.ts';
import { whyNoSaveTarget } from '../save-target.ts';
import { DISKS_HINT, disksRefusal, ignoredDisksWarning, stampDisks, writableDisks } from '../saved-disks.ts';
import { describeDomain, unpauseDomain, type XenHost } from './host.ts';
import type { LivingDomain } from './roster.ts';
import { readSaveOwner } from './save-file.ts';
import { SaveFollower } from './save-follower.ts';
import { identityOf, putBack, removeSaveNote, type SaveNote, writeSaveNote } from './save-note.ts';
import { MAGIC, SaveStreamError } from './save-stream.ts';
import { formatTrailer, GrowingChecksum, xenVersion } from './save-trailer.ts';
import { parseSavedConfig } from './saved-config.ts';
import { isSaveOf, killHelperOf, listCommands } from './xl-processes.ts';

export interface SaveInput {
  readonly host: XenHost;
  readonly domain: LivingDomain;
  readonly path: string;
  readonly options: SaveOptions;
  /** Ends xl at once, at the price that the guest stays suspended: for a domain that is destroyed anyway. */
  readonly abandon: AbortSignal;
}

/** libxl gives the guest 60 s to suspend itself, and says nothing meanwhile. */
const STALL_MS = 90_000;
/** For xl as a whole: what limits it is that it must not stall. The longest that a timer can be. */
const FOREVER_MS = 2 ** 31 - 1;
const LOOK_MS = 50;

/** Why no disk of a Xen guest gets a snapshot. */
const NO_SNAPSHOT = 'xl saves the memory of a guest and knows no moment of its disks';

/**
 * Looks whether a save can begin, and gives the writable disks. Touches nothing. @throws Fault `vm.save_failed`; as
 * `describeDomain` does
 */
export async function checkSave({
  host,
  domain,
  path,
  options,
}: Pick<SaveInput, 'host' | 'domain' | 'path'> & {
  readonly options: Pick<SaveOptions, 'afterwards' | 'disks' | 'signal'>;
}): Promise<readonly DiskConfig[]> {
  const { name: vm } = domain;
  await checkTarget(domain, path);
  const { settings, omits } = await describeDomain(host, domain, { signal: options.signal });
  const writable = writableDisks(settings.disks ?? []);
  if (options.afterwards === 'stopped' || options.disks === 'ignore') return writable;
  if (writable.length > 0) throw disksRefusal(vm, path, writable, NO_SNAPSHOT);
  const untold = omits.find((part) => part.startsWith('the disk '));
  if (untold === undefined) return writable;
  const what = `it has ${untold} of a kind that is not known, which may be newer than its memory when it is restored`;
  throw new Fault('vm.save_failed', { vm, file: path, what }, { hint: DISKS_HINT });
}

async function checkTarget({ uuid, name: vm }: LivingDomain, path: string): Promise<void> {
  const what = await whyNoSaveTarget(path, MAGIC, { uuid, ownerOf: readSaveOwner });
  if (what !== undefined) throw new Fault('vm.save_failed', { vm, file: path, what });
}

/**
 * Saves the domain; it is paused and whole afterwards if it is to stop, else as it was. The guest does not run while its
 * memory is copied: xl saves no other way.
 *
 * INVARIANTS: the file gets its name when xl has ended well, what it wrote is whole from its first record to its last, and
 * every byte is on the disk, not before. From the first word to xl on, whatever fails leads through `putBack`, and a
 * daemon that dies leaves a note by which the next does the same (save-note.ts).
 *
 * @throws Fault `vm.save_failed`, `vm.died`, `vm.no_domain`, `aborted`
 */
export async function saveXen(input: SaveInput): Promise<SaveReport> {
  const { host, domain, path, options } = input;
  const { uuid, name } = domain;
  const { clock } = host;
  const { signal, afterwards } = options;
  const what = `The save of VM ${name}`;
  const aborted = () => new Fault('aborted', { what }, { cause: signal?.reason });
  if (signal?.aborted) throw aborted();
  const refuse = (why: string) => new Fault('vm.save_failed', { vm: name, file: path, what: why });
  const writable = await checkSave(input);
  const { attachments, controllers } = await host.usb.observe(domain, { signal });
  const kinds = new Set(controllers.map(({ sharesPortNumbers }) => sharesPortNumbers === true));
  if (kinds.size > 1)
    throw refuse('it has emulated and PV USB controllers at once, with which it could not be restored');
  if (attachments.length > 0) {
    throw refuse(`${attachments.map(deviceKey).join(', ')} would be missing when it is restored`);
  }
  const paths = host.pathsOf(uuid);
  const wasRunning = domain.run === 'running';
  let hasBegun = false;
  let beganAt = 0;
  const report = (): SaveReport => {
    const pausedMs = wasRunning ? Math.round(clock.monotonic() - beganAt) : 0;
    const isUncovered = afterwards === 'running' && writable.length > 0;
    return { pausedMs, isLive: false, warnings: isUncovered ? [ignoredDisksWarning(name, writable)] : [] };
  };
  try {
    await replaceFile(path, async (file) => {
      const note: SaveNote = { path: resolve(path), afterwards, wasRunning };
      await writeSaveNote(paths, note);
      hasBegun = true;
      beganAt = clock.monotonic();
      await writeState(input, file, writable);
      if (signal?.aborted) throw aborted();
      await checkTarget(domain, path); // Minutes may have passed, and other hands made a file there.
      await writeSaveNote(paths, { ...note, file: identityOf(await file.stat({ bigint: true })) });
    });
    if (afterwards === 'stopped') {
      options.onWritten?.();
      return report();
    }
    if (wasRunning) await unpauseDomain(host, uuid);
    const made = report();
    await removeSaveNote(paths);
    return made;
  } catch (error) {
    throw hasBegun ? await giveUp(input, wasRunning, error) : saveFault(error, input);
  }
}

/** Has xl write the state into the file, and puts the trailer behind it. The domain is paused then. */
async function writeState(input: SaveInput, file: FileHandle, writable: readonly DiskConfig[]): Promise<void> {
  const { host, domain, abandon } = input;
  const what = `The save of VM ${domain.name}`;
  const reading = await open(`/proc/self/fd/${file.fd}`, 'r');
  await using follower = new SaveFollower(reading);
  const checksum = new GrowingChecksum(reading);
  const stall = new AbortController();
  const ended = new AbortController();
  let trouble: unknown;
  try {
    const words = ['save', '-p', String(domain.domid), '/dev/fd/3'];
    const signal = AbortSignal.any([stall.signal, abandon]);
    const saving = host.xl.run(words, { what, timeoutMs: FOREVER_MS, signal, files: [file.fd] });
    const watching = watchOver(input, follower, checksum, ended.signal).catch((error: unknown) => {
      trouble = error;
      if (isFault(error, 'timeout')) stall.abort();
    });
    const [result] = await Promise.allSettled([saving]);
    ended.abort();
    await watching;
    // Why it was given up says more than that xl's helper died.
    if (trouble !== undefined) throw trouble;
    if (result.status === 'rejected') throw result.reason;
  } finally {
    host.roster.touch();
  }
  if ((await follower.look()) !== 'whole') throw new SaveStreamError('xl ended well before the end of the state');
  await checksum.catchUp();
  const saved = parseSavedConfig(follower.untrustedConfig);
  if (saved === undefined) throw new SaveStreamError('the config in it is not understood');
  const { bytes: streamBytes } = follower;
  const { uuid, name } = domain;
  const trailer = formatTrailer({
    ...{ uuid, name, driver: 'xen', xen: await xenVersion(), topology: saved.topology },
    ...{ disks: await stampDisks(writable), createdAt: host.clock.now(), streamBytes, crc32: checksum.value },
  });
  await writeWhole(file, trailer, streamBytes);
}

/**
 * Watches the file grow until `ended`: tells of progress, lets a paused guest suspend itself, has a save undone that is
 * given up.
 *
 * INVARIANTS: a save is undone only by the death of the helper that writes the memory, and only once a page is written: by
 * then the guest is suspended, and xl resumes it. Before that the guest might suspend itself with nobody left to resume it;
 * behind the memory xl is at its end anyway. xl itself is killed only when it makes no sound any more.
 *
 * @throws Fault `timeout`, `aborted`, `hypervisor.failed`; SaveStreamError
 */
async function watchOver(
  input: SaveInput,
  follower: SaveFollower,
  checksum: GrowingChecksum,
  ended: AbortSignal,
): Promise<void> {
  const { host, domain, options } = input;
  const { clock, xl } = host;
  const { signal, onProgress } = options;
  const what = `The save of VM ${domain.name}`;
  let hasLetGo = domain.run === 'running';
  let movedAt = clock.monotonic();
  for (let bytes = 0; !ended.aborted; ) {
    const stage = await follower.look();
    if (signal?.aborted && stage === 'memory') await undoSave(domain);
    if (follower.bytes > bytes) {
      movedAt = clock.monotonic();
      bytes = follower.bytes;
      onProgress?.(bytes, undefined);
      // Meanwhile, so that little is left to be read when xl is at its end.
      await checksum.catchUp(bytes);
    } else if (clock.monotonic() - movedAt > STALL_MS) {
      throw new Fault('timeout', { what: `A sign of life in the save of VM ${domain.name}`, seconds: STALL_MS / 1000 });
    }
    if (!hasLetGo && bytes > 0) {
      // A paused guest cannot suspend itself: it goes on for as long as that takes, and is left paused.
      hasLetGo = true;
      await xl.run(['unpause', String(domain.domid)], { what, isStrict: true, signal: ended });
    }
    await sleep(clock, LOOK_MS, ended).catch(() => undefined);
  }
  if (signal?.aborted) throw new Fault('aborted', { what }, { cause: signal.reason });
}

async function undoSave(domain: LivingDomain): Promise<void> {
  for (const process of await listCommands('xl')) if (isSaveOf(process, domain)) await killHelperOf(process.pid);
}

/** Puts the guest back to what it was, and gives the fault to tell. */
async function giveUp(input: SaveInput, wasRunning: boolean, error: unknown): Promise<unknown> {
  const { host, domain, abandon } = input;
  const { uuid, name: vm } = domain;
  if (abandon.aborted) return new Fault('aborted', { what: `The save of VM ${vm}` }, { cause: error });
  try {
    await putBack(host, uuid, wasRunning);
    await removeSaveNote(host.pathsOf(uuid));
  } catch (trouble) {
    host.log.error('a guest could not be put back after a save that failed', { vm, error: trouble });
  }
  const left = await host.roster.find(uuid).catch(() => domain);
  if (left !== undefined && left.run !== 'shutdown') return saveFault(error, input);
  return new Fault('vm.died', { vm, verb: 'save', what: 'its domain ended' }, { cause: error });
}

function saveFault(error: unknown, { domain, path }: SaveInput): unknown {
  if (isFault(error, 'aborted', 'vm.died', 'vm.no_domain', 'vm.save_failed')) return error;
  const what = reasonOf(error, 'file.unwritable', 'hypervisor.failed', 'hypervisor.lost');
  return new Fault('vm.save_failed', { vm: domain.name, file: path, what }, { cause: error });
}
