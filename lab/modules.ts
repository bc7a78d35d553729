/** Copies chosen kernel modules, and what they need, into a root folder. Loads nothing. */
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { exec } from '../src/lib/exec.ts';
import { type Kernel, withAdminTools } from './kernel.ts';

const TIMEOUT_MS = 30_000;
/** Ends a signed module; before it stands `struct module_signature`, whose last field is the signature's length. */
const SIGNATURE_MARK = Buffer.from('~Module signature appended~\n');
const SIGNATURE_HEADER_BYTES = 12;

/**
 * Copies the modules with their dependencies into `root/lib/modules/VERSION` and resolves those there, so that
 * `modprobe` works in that root. `builtFiles` are modules that were built for this kernel: they are copied, too; what they
 * need has to be among the names. @throws Fault `exec.failed` for a module that the kernel does not have.
 */
export async function copyModules(
  kernel: Kernel,
  names: readonly string[],
  root: string,
  builtFiles: readonly string[] = [],
): Promise<void> {
  const env = withAdminTools();
  const files = await modulesFor(kernel, names);
  for (const file of files) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), withoutSignature(await readFile(join(kernel.root, file))));
  }
  const folder = join('lib/modules', kernel.version);
  await mkdir(join(root, folder), { recursive: true });
  for (const name of await readdir(join(kernel.root, folder)))
    if (/^modules\.(builtin|order)/.test(name))
      await copyFile(join(kernel.root, folder, name), join(root, folder, name));
  await mkdir(join(root, folder, 'updates'), { recursive: true });
  for (const file of builtFiles) await copyFile(file, join(root, folder, 'updates', basename(file)));
  await exec(['depmod', '-b', root, kernel.version], { timeoutMs: TIMEOUT_MS, env });
}

/** Lists the files of the modules and of what they need, in loading order, relative to the kernel's root. */
async function modulesFor(kernel: Kernel, names: readonly string[]): Promise<string[]> {
  const { stdout } = await exec(
    ['modprobe', '-d', kernel.root, '-S', kernel.version, '--show-depends', '-a', ...names],
    { timeoutMs: TIMEOUT_MS, env: withAdminTools() },
  );
  return parseShowDepends(stdout).map((path) => relative(kernel.root, path));
}

/** Reads what `modprobe --show-depends` prints: each file once, in loading order; builtin ones are left out. */
export function parseShowDepends(text: string): string[] {
  const paths = [...text.matchAll(/^insmod (\S+)/gm)].map((match) => match[1] as string);
  return [...new Set(paths)];
}

/**
 * Cuts the signature off a module (Linux kernel/module/signing.c): a kernel that does not insist on signatures then
 * skips a hash and an RSA check for each, which costs a good part of a second where code is emulated.
 */
export function withoutSignature(module: Buffer): Buffer {
  if (!module.subarray(-SIGNATURE_MARK.length).equals(SIGNATURE_MARK)) return module;
  const header = module.length - SIGNATURE_MARK.length - SIGNATURE_HEADER_BYTES;
  return module.subarray(0, header - module.readUInt32BE(header + SIGNATURE_HEADER_BYTES - 4));
}
