/**
 * Fetches Debian packages with all that they need and unpacks them into a folder, as a root file system: no root, no
 * mounts, no maintainer scripts. What those scripts would have set up is up to whoever uses the folder.
 */
import { cp, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../src/lib/exec.ts';

const APT_TIMEOUT_MS = 5 * 60_000;
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
  const archives = join(work, 'archives');
  await mkdir(join(archives, 'partial'), { recursive: true });
  await writeFile(join(work, 'status'), ''); // Nothing is installed there, so every dependency is wanted.
  await download(names, work, archives);
  const files = (await readdir(archives)).filter((name) => name.endsWith('.deb')).sort();
  for (const file of files)
    await exec(['dpkg-deb', '--extract', join(archives, file), root], { timeoutMs: UNPACK_TIMEOUT_MS });
  for (const name of MERGED) {
    await mkdir(join(root, name), { recursive: true });
    await cp(join(root, name), join(root, 'usr', name), { recursive: true, verbatimSymlinks: true });
    await rm(join(root, name), { recursive: true });
    await symlink(`usr/${name}`, join(root, name));
  }
  for (const name of LEFT_OUT) await rm(join(root, 'usr/share', name), { recursive: true, force: true });
  await rm(work, { recursive: true });
}

/** Downloads with this machine's package lists or else, when they are missing or older than the archive, fresh ones. */
async function download(names: readonly string[], work: string, archives: string): Promise<void> {
  const own = ['-o', `Dir::State::status=${work}/status`, '-o', `Dir::Cache=${work}`];
  const install = (options: readonly string[]) =>
    exec(
      [
        ...(['apt-get', '-q', '-y', ...own, '-o', `Dir::Cache::archives=${archives}`, ...options] as const),
        ...['-o', 'Debug::NoLocking=1', '--no-install-recommends', '--download-only', 'install', ...names],
      ],
      { timeoutMs: APT_TIMEOUT_MS },
    );
  try {
    await install([]);
  } catch {
    await mkdir(join(work, 'lists/partial'), { recursive: true });
    const lists = ['-o', `Dir::State::lists=${work}/lists`];
    await exec(['apt-get', '-q', ...own, ...lists, 'update'], { timeoutMs: APT_TIMEOUT_MS });
    await install(lists);
  }
}
