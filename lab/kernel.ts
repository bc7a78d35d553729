/**
 * Fetches Debian's full kernel (not the cloud kernel, which has no USB) without installing it. The network is used when
 * the artifact is missing, never to ask for something newer: the version is in the artifact, not in its key.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exec } from '../src/lib/exec.ts';
import { Fault } from '../src/lib/fault.ts';
import { cached } from './cache.ts';
import { extractVmlinux } from './vmlinux.ts';

export interface Kernel {
  /** The name of its module folder: `6.1.0-56-amd64`. */
  readonly version: string;
  /** The raw ELF kernel: for QEMU's `-kernel` and for Xen PV and PVH guests. */
  readonly vmlinux: string;
  /** The packed kernel, as a distribution boots it. */
  readonly vmlinuz: string;
  /** The folder that holds `lib/modules/VERSION`, complete and with its dependencies resolved. */
  readonly root: string;
}

const META_PACKAGE = 'linux-image-amd64';
const APT_TIMEOUT_MS = 5 * 60_000;
const UNPACK_TIMEOUT_MS = 3 * 60_000;

/** Gives the kernel, fetching it first when it is not in the cache. @throws Fault `exec.failed`, `timeout`. */
export async function kernel(): Promise<Kernel> {
  const sources = ['kernel.ts', 'vmlinux.ts'].map((name) => fileURLToPath(new URL(name, import.meta.url)));
  const root = await cached('kernel', { files: sources, parameters: { package: META_PACKAGE } }, build);
  const version = (await readFile(join(root, 'version'), 'utf8')).trim();
  return { version, vmlinux: join(root, 'vmlinux'), vmlinuz: join(root, 'vmlinuz'), root };
}

async function build(folder: string): Promise<void> {
  const downloads = join(folder, 'download');
  await mkdir(downloads);
  const deb = await download(META_PACKAGE, downloads);
  const unpacked = join(downloads, 'unpacked');
  await exec(['dpkg-deb', '-x', deb, unpacked], { timeoutMs: UNPACK_TIMEOUT_MS });
  const [version] = await readdir(join(unpacked, 'lib/modules'));
  if (version === undefined) throw new Fault('config.invalid', { what: `${deb} has no kernel modules.` });
  await rename(join(unpacked, 'boot', `vmlinuz-${version}`), join(folder, 'vmlinuz'));
  await rename(join(unpacked, 'lib'), join(folder, 'lib'));
  await extractVmlinux(join(folder, 'vmlinuz'), join(folder, 'vmlinux'));
  await exec(['depmod', '-b', folder, version], { timeoutMs: UNPACK_TIMEOUT_MS, env: withAdminTools() });
  await writeFile(join(folder, 'version'), `${version}\n`);
  await rm(downloads, { recursive: true });
}

/** Downloads the package that a meta package stands for, with this machine's package lists or else with fresh ones. */
async function download(metaPackage: string, folder: string): Promise<string> {
  try {
    return await downloadWith([], metaPackage, folder);
  } catch {
    // Lists that are missing, or older than the archive. Fresh ones of our own need neither root nor apt's lock.
    const state = join(folder, 'apt');
    await mkdir(join(state, 'lists/partial'), { recursive: true });
    await mkdir(join(state, 'cache/archives/partial'), { recursive: true });
    const options = ['-o', `Dir::State::lists=${state}/lists`, '-o', `Dir::Cache=${state}/cache`];
    await exec(['apt-get', '-q', ...options, 'update'], { timeoutMs: APT_TIMEOUT_MS });
    return downloadWith(options, metaPackage, folder);
  }
}

async function downloadWith(options: readonly string[], metaPackage: string, folder: string): Promise<string> {
  const { stdout } = await exec(['apt-cache', ...options, 'depends', metaPackage], { timeoutMs: APT_TIMEOUT_MS });
  const name = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  if (name === undefined) throw new Fault('exec.failed', { command: 'apt-cache depends', what: `no ${metaPackage}` });
  await exec(['apt-get', '-q', ...options, 'download', name], { cwd: folder, timeoutMs: APT_TIMEOUT_MS });
  const file = (await readdir(folder)).find((entry) => entry.endsWith('.deb'));
  if (file === undefined) throw new Fault('exec.failed', { command: 'apt-get download', what: `no file for ${name}` });
  return join(folder, file);
}

/** Gives the environment with the folders of `depmod` and `modprobe`, which an ordinary user's PATH lacks. */
export function withAdminTools(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
}
