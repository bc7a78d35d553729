/** Writes all of some bytes at a place of a file: one write may take a part, as on a file system that is getting full. */
import type { FileHandle } from 'node:fs/promises';

/** Writes until every byte is taken. @throws system errors, such as ENOSPC at the write behind one that was cut short */
export async function writeWhole(file: Pick<FileHandle, 'write'>, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    if (bytesWritten === 0) throw Object.assign(new Error('nothing more was written'), { code: 'EIO' });
    done += bytesWritten;
  }
}
