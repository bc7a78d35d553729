import assert from 'node:assert/strict';
import type { FileHandle } from 'node:fs/promises';
import { test } from 'node:test';
import { errnoOf } from './fault.ts';
import { writeWhole } from './whole-write.ts';

/** A file that takes so many bytes a write, until it is full. */
function fileOf(size: number, atOnce: number) {
  const content = Buffer.alloc(size);
  const write = async (bytes: Uint8Array, offset: number, length: number, position: number) => {
    const bytesWritten = Math.min(length, atOnce, size - position);
    if (bytesWritten < 0) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    content.set(bytes.subarray(offset, offset + bytesWritten), position);
    return { bytesWritten, buffer: bytes };
  };
  return { content, file: { write } as unknown as Pick<FileHandle, 'write'> };
}

test('what a write leaves is written by the next', async () => {
  const { content, file } = fileOf(12, 3);
  await writeWhole(file, Buffer.from('0123456789'), 2);
  assert.equal(content.toString('latin1'), '\0\u00000123456789');
});

test('a last part that finds no room is an error, and never goes missing', async () => {
  const { file } = fileOf(8, 5);
  await assert.rejects(writeWhole(file, Buffer.from('0123456789'), 0), (error) => errnoOf(error) === 'EIO');
});
