/**
 * The note of a save that is under way, in the domain's folder: lets a daemon that finds the domain afterwards tell a
 * save that was finished from one that was cut off, and put the guest back to what it was.
 */
import type { BigIntStats } from 'node:fs';
import { lstat, open, readFile, readlink, rm } from 'node:fs/promises';
import { basename, dirname, isAbsolute } from 'node:path';
import { removeLeftovers, writeFileAtomic } from '../../lib/atomic-file.ts';
import { sleep } from '../../lib/clock.ts';
import type { VmUuid } from '../../model/ids.ts';
import { pauseDomain, revive, unpauseDomain, type XenHost } from './host.ts';
import type { DomainPaths } from './paths.ts';
import { isSuspended, type LivingDomain } from './roster.ts';
import { SaveFollower } from './save-follower.ts';
import { areGoneWithin, type CommandProcess, isSaveOf, killHelperOf, killXl, listCommands } from './xl-processes.ts';

export interface SaveNote {
  readonly path: string;
  /** Names the whole file, as `identityOf` gives it, from the moment before it gets its name; it keeps that then. */
  readonly file?: string;
  readonly afterwards: 'stopped' | 'running';
  /** Whether the guest ran, and so has to go on when the save comes to nothing. */
  readonly wasRunning: boolean;
}

/** An xl may wait a minute for its guest to suspend itself. */
const XL_END_MS = 75_000;
const LOOK_MS = 100;

export async function writeSaveNote({ saveNote }: DomainPaths, note: SaveNote): Promise<void> {
  await writeFileAtomic(saveNote, JSON.stringify(note));
}

export async function removeSaveNote({ saveNote }: DomainPaths): Promise<void> {
  await rm(saveNote, { force: true });
}

/** Names a file with its content: no other, and none with another content, has these numbers. A new name changes none. */
export function identityOf({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs].join('.');
}

/**
 * Ends a save of a former daemon. The file got its name only when it was whole; so if that file is there and the domain
 * was to stop, it is saved and only has to go: the path is given. In every other case the guest goes on as it was, and
 * what was written of the file is removed. @throws Fault of `putBack`
 */
export async function settleSave(host: XenHost, uuid: VmUuid): Promise<string | undefined> {
  const paths = host.pathsOf(uuid);
  const note = await readSaveNote(paths);
  if (note === undefined) return undefined;
  const before = await host.roster.findNow(uuid);
  if (before === undefined) return undefined; // Whoever looks for the domain removes the folder.
  await endSave(host, before);
  const domain = await host.roster.findNow(uuid);
  const found = await lstat(note.path, { bigint: true }).catch(() => undefined);
  const isWhole = found !== undefined && identityOf(found) === note.file;
  if (isWhole && note.afterwards === 'stopped' && domain?.run === 'paused') {
    host.log.info('a save was finished when the daemon died', { vm: domain.name, file: note.path });
    return note.path;
  }
  if (!isWhole) await removeLeftovers(dirname(note.path), basename(note.path));
  await putBack(host, uuid, note.wasRunning);
  await removeSaveNote(paths);
  host.log.warn('a save that was cut off is given up', { uuid, file: note.path, goesOn: note.wasRunning });
  return undefined;
}

/**
 * Puts a guest back to what it was before a save, whatever xl left of it. One that has died by itself, or is gone, stays
 * so. @throws Fault `hypervisor.failed`, `hypervisor.lost`, `timeout`
 */
export async function putBack(host: XenHost, uuid: VmUuid, wasRunning: boolean): Promise<void> {
  const domain = await host.roster.findNow(uuid);
  if (domain === undefined || (domain.run === 'shutdown' && !isSuspended(domain))) return;
  if (isSuspended(domain)) await revive(host, domain);
  if (wasRunning) await unpauseDomain(host, uuid);
  else await pauseDomain(host, uuid);
}

/**
 * Ends an xl that still saves the domain, in such a way that it resumes the guest: see save.ts. Its file is that which it
 * was handed.
 */
async function endSave({ clock, roster }: XenHost, domain: LivingDomain): Promise<void> {
  const isMeant = (process: CommandProcess) => isSaveOf(process, domain);
  for (const process of (await listCommands('xl')).filter(isMeant)) {
    const path = await readlink(`/proc/${process.pid}/fd/3`).catch(() => '');
    const file = await open(path, 'r').catch(() => undefined);
    if (file === undefined) continue; // It is not ours, or has come to its end.
    await using follower = new SaveFollower(file);
    for (let waitedMs = 0; waitedMs < XL_END_MS && (await listCommands('xl')).some(isMeant); waitedMs += LOOK_MS) {
      if ((await follower.look().catch(() => 'head')) === 'memory') await killHelperOf(process.pid);
      await sleep(clock, LOOK_MS);
    }
  }
  if (!(await areGoneWithin(isMeant, XL_END_MS, clock))) await killXl(isMeant, clock);
  roster.touch();
}

async function readSaveNote({ saveNote }: DomainPaths): Promise<SaveNote | undefined> {
  try {
    const untrusted = JSON.parse(await readFile(saveNote, 'utf8')) as Partial<SaveNote>;
    const { path, file, afterwards, wasRunning } = untrusted;
    if (typeof path !== 'string' || !isAbsolute(path)) return undefined;
    if (afterwards !== 'stopped' && afterwards !== 'running') return undefined;
    const note = { path, afterwards, wasRunning: wasRunning === true };
    return typeof file === 'string' ? { ...note, file } : note;
  } catch {
    return undefined;
  }
}
