/** Opens what should be a regular file, whatever somebody put there: a pipe would wait for its writer, for ever. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Fault } from './fault.ts';

/**
 * Opens a regular file for reading, through symlinks too; never waits. The caller closes it.
 * @throws Fault `file.unreadable` for anything else that is there; system errors
 */
export async function openRegularFile(path: string): Promise<FileHandle> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const isRegular = await file.stat().then(
    (status) => status.isFile(),
    () => false,
  );
  if (isRegular) return file;
  await file.close();
  throw new Fault('file.unreadable', { file: path, what: 'it is not a regular file' });
}
