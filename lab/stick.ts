/**
 * Makes the images of USB sticks for tests and demo, with `mke2fs -d`: no mounting, no root. A guest mounts them as
 * ext2; not for what needs partitions.
 */
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exec } from '../src/lib/exec.ts';
import { Fault } from '../src/lib/fault.ts';

export interface StickContent {
  /** Files at the stick's root by name; without this the stick has no file system. */
  readonly files?: Readonly<Record<string, Buffer | string>>;
  /** What a stick without a file system begins with; the rest is zeros. */
  readonly bytes?: Buffer;
  /** Default: 8. */
  readonly sizeMiB?: number;
}

const TIMEOUT_MS = 30_000;
const MIB = 1024 * 1024;
const FILE_NAME = /^[A-Za-z0-9._-]+$/;

/** Writes the image of a stick to `path`, over what was there. @throws Fault `params.invalid`, `exec.failed`. */
export async function makeStick(path: string, { files, bytes, sizeMiB = 8 }: StickContent = {}): Promise<void> {
  await rm(path, { force: true });
  const image = await open(path, 'wx', 0o600);
  try {
    if (bytes !== undefined) await image.writeFile(bytes);
    await image.truncate(sizeMiB * MIB);
  } finally {
    await image.close();
  }
  if (files === undefined) return;
  const folder = await mkdtemp(join(tmpdir(), 'usher-stick-'));
  try {
    for (const [name, content] of Object.entries(files)) {
      if (!FILE_NAME.test(name))
        throw new Fault('params.invalid', { field: 'files', what: `"${name}" as a file name` });
      await writeFile(join(folder, name), content);
    }
    const owner = 'root_owner=0:0,lazy_itable_init=1';
    await exec(['mke2fs', '-q', '-F', '-t', 'ext2', '-E', owner, '-d', folder, path], {
      timeoutMs: TIMEOUT_MS,
      env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
