/**
 * How facts about this host are read from sysfs and procfs: their roots, and reads that bear what vanishes meanwhile. What
 * cannot be read for any other reason is a fault: a guard that does not see must not say that all is well.
 */
import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { basename, sep } from 'node:path';
import { errnoOf, Fault, messageOf } from '../lib/fault.ts';
import { isBusid } from '../model/usb.ts';

export interface HostRoots {
  readonly sysRoot: string;
  readonly procRoot: string;
  readonly devRoot: string;
  readonly runRoot: string;
}

export const HOST_ROOTS: HostRoots = { sysRoot: '/sys', procRoot: '/proc', devRoot: '/dev', runRoot: '/run' };

/** Who takes an interface for somebody other than this host's kernel: a program (usbfs), a guest, another machine. */
const LENDERS: ReadonlySet<string> = new Set(['usbfs', 'usbback', 'usbip-host']);

/** Gives the trimmed text of an attribute; `undefined` when the kernel does not answer for it, whatever the reason. */
export async function readAttribute(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    return undefined; // Attributes of a device that is going fail in many ways: ENOENT, ENODEV, EIO, EINVAL.
  }
}

/** Gives a table of procfs; empty when this kernel has none, as without swap or IPv6. @throws Fault `file.unreadable` */
export async function readTable(path: string): Promise<string> {
  return orNothing(path, '', () => readFile(path, 'utf8'));
}

/** Gives the names in a folder, sorted; none when there is no such folder. @throws Fault `file.unreadable` */
export async function listFolder(path: string): Promise<string[]> {
  return (await orNothing(path, [], () => readdir(path))).sort();
}

/** Gives the name of what a link points at (`driver` gives `usbhid`). */
export async function linkedName(path: string): Promise<string | undefined> {
  return readlink(path).then(
    (target) => basename(target),
    () => undefined,
  );
}

/** Gives the real path of a device, by which its place in the tree of devices is known. */
export async function realFolder(path: string): Promise<string | undefined> {
  return realpath(path).catch(() => undefined);
}

/**
 * Gives the USB device that a device of the kernel hangs on, by its real path: the last busid below a root hub, so that
 * what hangs on a device behind a hub is not taken for the hub's.
 */
export function usbDeviceAbove(path: string): string | undefined {
  const folders = path.split(sep);
  const root = folders.findIndex((folder) => /^usb\d+$/.test(folder));
  return root < 0 ? undefined : folders.slice(root + 1).findLast(isBusid);
}

/** Tells whether a kernel driver of this host works with the interface; one that only lends it to others does not. */
export function isHostDriver(driver: string | undefined): driver is string {
  return driver !== undefined && !LENDERS.has(driver);
}

async function orNothing<T>(path: string, nothing: T, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return nothing;
    throw new Fault('file.unreadable', { file: path, what: messageOf(error) }, { cause: error });
  }
}
