/**
 * Fetches Debian packages with all that they need and unpacks them into a folder, as a root file system: no root, no
 * mounts, no maintainer scripts. What those scripts would have set up is up to whoever uses the folder.
 */
import { cp, mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../src/lib/exec.ts';
import { fromArchive } from './apt.ts';

const UNPACK_TIMEOUT_MS = 60_000;
/** Folders that are links to those in /usr on a Debian system, and that some packages still bring as folders. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];
/** What nobody reads in a guest. */
const LEFT_OUT = ['doc', 'man', 'locale', 'info', 'lintian'];

/**
 * Unpacks the packages, and everything they depend on, into the folder `root`; `work` is a folder for downloads, and is
 * removed at the end. @throws Fault `exec.failed`, `timeout`.
 */
export async function unpackPackages(names: readonly string[], root: string, work: string): Promise<void> {
  const files = await fromArchive(work, (archive) => archive.downloadComplete(names));
  for (const file of files) await exec(['dpkg-deb', '--extract', file, root], { timeoutMs: UNPACK_TIMEOUT_MS });
  for (const name of MERGED) {
    await mkdir(join(root, name), { recursive: true });
    await cp(join(root, name), join(root, 'usr', name), { recursive: true, verbatimSymlinks: true });
    await rm(join(root, name), { recursive: true });
    await symlink(`usr/${name}`, join(root, name));
  }
  for (const name of LEFT_OUT) await rm(join(root, 'usr/share', name), { recursive: true, force: true });
  await rm(work, { recursive: true });
}
