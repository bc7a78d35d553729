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

/**
 * Gives the text of a regular file, UTF-8, that is not longer than `maxBytes`, so that nothing that lies there fills the
 * memory. @throws as {@link openRegularFile}; Fault `file.unreadable` for a longer one
 */
export async function readRegularText(path: string, maxBytes: number): Promise<string> {
  const file = await openRegularFile(path);
  try {
    const bytes = Buffer.alloc(Math.min(maxBytes, (await file.stat()).size) + 1);
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    if (length <= maxBytes) return bytes.toString('utf8', 0, length);
    throw new Fault('file.unreadable', { file: path, what: `it is longer than ${maxBytes} bytes` });
  } finally {
    await file.close();
  }
}
