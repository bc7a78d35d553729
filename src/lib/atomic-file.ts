/** Files that are there whole or not at all: temporary file, fsync, rename, fsync of the folder. */
import { type FileHandle, mkdir, open, readdir, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, Fault, messageOf } from './fault.ts';
import { randomHex } from './random.ts';

const TEMPORARY = '.usher-tmp';

/**
 * Has `write` fill a temporary file beside `path`, then puts it in the place of `path`. When anything fails, `path` is
 * as it was and the temporary file is gone. Mode 0600. @throws Fault `file.unwritable`, or what `write` throws.
 */
export async function replaceFile(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomHex(4)}${TEMPORARY}`);
  // Before anything is done: it is too late to refuse when the file has its name.
  await using folder = await open(dirname(path), 'r').catch((error: unknown) => {
    throw unwritable(path, error);
  });
  const file = await open(temporary, 'wx', 0o600).catch((error: unknown) => {
    throw unwritable(path, error);
  });
  try {
    await write(file);
    await file.sync();
    await file.close();
    await rename(temporary, path);
    // A file system that cannot do that brings names to the disk in its own time.
    await folder.sync().catch((error: unknown) => {
      if (errnoOf(error) !== 'EINVAL') throw error;
    });
  } catch (error) {
    await file.close().catch(() => undefined);
    await unlink(temporary).catch(() => undefined);
    throw errnoOf(error) === undefined ? error : unwritable(path, error);
  }
}

/** Writes a whole file in one go, atomically. */
export function writeFileAtomic(path: string, content: string | Uint8Array): Promise<void> {
  return replaceFile(path, (file) => file.writeFile(content));
}

/**
 * Removes temporary files that a process which died left in a folder, all of them or those of the file `name` only; a
 * folder that is not there is fine.
 */
export async function removeLeftovers(folder: string, name = ''): Promise<number> {
  const names = await readdir(folder).catch(() => []);
  const prefix = name === '' ? '' : `.${name}.`;
  const leftovers = names.filter((entry) => entry.startsWith(prefix) && entry.endsWith(TEMPORARY));
  for (const entry of leftovers) await unlink(join(folder, entry)).catch(() => undefined);
  return leftovers.length;
}

/** Makes a folder, and its parents, if it is not there: for its owner alone (0700). */
export async function makePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

function unwritable(path: string, error: unknown): Fault {
  return new Fault('file.unwritable', { file: path, what: messageOf(error) }, { cause: error });
}
