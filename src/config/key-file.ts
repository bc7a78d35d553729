/** The key file of an encrypted disk: whether it is there and long enough. Reads nothing of it. */
import { statSync } from 'node:fs';
import { errnoOf } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';
import type { DiskEncryption } from '../model/vm.ts';

/**
 * Says why the key cannot be read from its file, as half a sentence; `undefined` when it can, or when that cannot be told
 * from here: who opens the disk may look where who asks may not.
 */
export function whyNoKey({ keyFile, keyBits }: Pick<DiskEncryption, 'keyFile' | 'keyBits'>): string | undefined {
  const name = `the key file ${printable(keyFile, 200)}`;
  try {
    const status = statSync(keyFile);
    if (status.isDirectory()) return `${name} is a folder`;
    if (!status.isFile() || status.size * 8 >= keyBits) return undefined; // A device tells no size.
    return `${name} has ${status.size} bytes, and a key of ${keyBits} bits has ${keyBits / 8}`;
  } catch (error) {
    const errno = errnoOf(error);
    return errno === 'ENOENT' || errno === 'ENOTDIR' ? `${name} is not there` : undefined;
  }
}
