/**
 * Fetches Debian's full kernel (not the cloud kernel, which has no USB) and its headers without installing them. The
 * network is used when the artifact is missing, never to ask for something newer: the version is in the artifact, not in
 * its key. The headers come along because the archive drops those of an older kernel.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exec } from '../src/lib/exec.ts';
import { Fault } from '../src/lib/fault.ts';
import { fromArchive } from './apt.ts';
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
  /** The packages with the headers of just this kernel, for modules that Debian does not build. */
  readonly headerPackages: readonly string[];
}

const META_PACKAGE = 'linux-image-amd64';
const UNPACK = { timeoutMs: 3 * 60_000 };

/** Gives the kernel, fetching it first when it is not in the cache. @throws Fault `exec.failed`, `timeout`. */
export async function kernel(): Promise<Kernel> {
  const sources = ['kernel.ts', 'apt.ts', 'vmlinux.ts'].map((name) => fileURLToPath(new URL(name, import.meta.url)));
  const root = await cached('kernel', { files: sources, parameters: { package: META_PACKAGE } }, build);
  const version = (await readFile(join(root, 'version'), 'utf8')).trim();
  const headers = join(root, 'headers');
  const headerPackages = (await readdir(headers)).sort().map((name) => join(headers, name));
  return { version, vmlinux: join(root, 'vmlinux'), vmlinuz: join(root, 'vmlinuz'), root, headerPackages };
}

async function build(folder: string): Promise<void> {
  const work = join(folder, 'work');
  const headers = join(folder, 'headers');
  await mkdir(headers, { recursive: true });
  const image = await fromArchive(join(work, 'apt'), async (archive) => {
    const name = (await archive.dependsOn(META_PACKAGE)).find((other) => other.startsWith('linux-image-'));
    if (name === undefined) throw new Fault('config.invalid', { what: `${META_PACKAGE} stands for no kernel.` });
    const header = name.replace('image', 'headers');
    const others = (await archive.dependsOn(header)).filter((other) => /^linux-(headers|kbuild)-/.test(other));
    return await archive.download([name, header, ...others]);
  });
  const unpacked = join(work, 'unpacked');
  for (const file of image)
    if (basename(file).startsWith('linux-image-')) await exec(['dpkg-deb', '-x', file, unpacked], UNPACK);
    else await rename(file, join(headers, basename(file)));
  const [version = ''] = await readdir(join(unpacked, 'lib/modules'));
  await rename(join(unpacked, 'boot', `vmlinuz-${version}`), join(folder, 'vmlinuz'));
  await rename(join(unpacked, 'lib'), join(folder, 'lib'));
  await extractVmlinux(join(folder, 'vmlinuz'), join(folder, 'vmlinux'));
  await exec(['depmod', '-b', folder, version], { ...UNPACK, env: withAdminTools() });
  await writeFile(join(folder, 'version'), `${version}\n`);
  await rm(work, { recursive: true });
}

/** Gives the environment with the folders of `depmod` and `modprobe`, which an ordinary user's PATH lacks. */
export function withAdminTools(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
}
