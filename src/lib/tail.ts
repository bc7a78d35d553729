/** Reads the end of a file that may be large. */
import { open } from 'node:fs/promises';
import { errnoOf, Fault, messageOf } from './fault.ts';

/**
 * Gives the last `count` lines of a file, of which no more than the last `maxBytes` are read; none of a file that is not
 * there. @throws Fault `file.unreadable`
 */
export async function lastLines(path: string, count: number, maxBytes = 4 * 1024 * 1024): Promise<string[]> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const length = Math.min(size, maxBytes);
      const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
      const lines = buffer
        .toString()
        .replace(/\r?\n$/, '')
        .split(/\r?\n/);
      return lines[0] === '' && lines.length === 1 ? [] : lines.slice(-count);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw new Fault('file.unreadable', { file: path, what: messageOf(error) }, { cause: error });
  }
}
