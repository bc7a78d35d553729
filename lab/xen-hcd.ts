/**
 * Builds xen-hcd, the PVUSB frontend that Debian's kernels lack, by the recipe that guests of users are given
 * (guest/xen-hcd). Needs gcc and make; keeps only the module.
 */
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exec } from '../src/lib/exec.ts';
import { Fault } from '../src/lib/fault.ts';
import { fromArchive } from './apt.ts';
import { cached } from './cache.ts';
import { kernel } from './kernel.ts';

const RECIPE = fileURLToPath(new URL('../guest/xen-hcd/', import.meta.url));
const RECIPE_FILES = ['Makefile', 'fetch-source'];
const UNPACK = { timeoutMs: 2 * 60_000 };
const BUILD_TIMEOUT_MS = 2 * 60_000;

/** Gives the path of xen-hcd.ko for the lab's kernel, building it first when it is not in the cache. */
export async function xenHcd(): Promise<string> {
  const linux = await kernel();
  const files = [fileURLToPath(import.meta.url), ...RECIPE_FILES.map((name) => join(RECIPE, name))];
  const folder = await cached('xen-hcd', { files, parameters: { kernel: linux.version } }, async (target) => {
    const work = join(target, 'work');
    const source = join(work, 'source');
    await mkdir(source, { recursive: true });
    for (const name of RECIPE_FILES) await copyFile(join(RECIPE, name), join(source, name));
    await exec([join(source, 'fetch-source'), '--from', await kernelSource(linux.version, work)], UNPACK);
    const headers = await unpackHeaders(linux.headerPackages, linux.version, join(work, 'headers'));
    await exec(['make', '-C', source, `KERNEL=${headers}`, 'modules'], { timeoutMs: BUILD_TIMEOUT_MS });
    await exec(['strip', '-g', '-o', join(target, 'xen-hcd.ko'), join(source, 'xen-hcd.ko')], UNPACK);
    await rm(work, { recursive: true });
  });
  return join(folder, 'xen-hcd.ko');
}

/** Downloads the tarball of the kernel's source: that of its version, maybe of a later revision. */
async function kernelSource(release: string, work: string): Promise<string> {
  const name = `linux-source-${release.split('.').slice(0, 2).join('.')}`;
  const [deb] = await fromArchive(join(work, 'apt'), (archive) => archive.download([name]));
  const root = join(work, 'package');
  await exec(['dpkg-deb', '-x', deb ?? '', root], UNPACK);
  return join(root, 'usr/src', `${name}.tar.xz`);
}

/** Unpacks the headers and gives their folder for `make -C`. Only their top Makefile names an absolute path. */
async function unpackHeaders(packages: readonly string[], release: string, root: string): Promise<string> {
  for (const file of packages) await exec(['dpkg-deb', '-x', file, root], UNPACK);
  const folder = join(root, 'usr/src', `linux-headers-${release}`);
  const makefile = join(folder, 'Makefile');
  const text = await readFile(makefile, 'utf8');
  if (!text.includes(' /usr/src/')) throw new Fault('config.invalid', { what: `${makefile} is not Debian's.` });
  await writeFile(makefile, text.replaceAll(' /usr/src/', ` ${root}/usr/src/`));
  return folder;
}
