/** Packs what a host is to have from this machine onto a drive of it. The other end is host/unload. */
import { mkdir, open, rm, stat, symlink, truncate } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { exec } from '../src/lib/exec.ts';
import { Fault } from '../src/lib/fault.ts';

/** Names in the host's folder /cargo, each with the file or folder on this machine that it is a copy of. */
export type Cargo = Readonly<Record<string, string>>;

/** Room for the tar of it, in MiB; the size of that drive is part of a snapshot. */
export const CARGO_MIB = 256;

const TIMEOUT_MS = 60_000;
const MIB = 1024 * 1024;

/** Writes the drive `cargo` into the host's folder. @throws Fault `config.invalid` when it is too much, `exec.failed`. */
export async function packCargo(cargo: Cargo, folder: string): Promise<void> {
  const drive = join(folder, 'cargo');
  await open(drive, 'a', 0o600).then((file) => file.close());
  const entries = Object.entries(cargo);
  if (entries.length > 0) {
    const staging = join(folder, 'staging');
    await mkdir(staging);
    for (const [name, path] of entries) await symlink(resolve(path), join(staging, name));
    await exec(['tar', '--create', '--dereference', '-f', drive, '-C', staging, '.'], { timeoutMs: TIMEOUT_MS });
    await rm(staging, { recursive: true });
    const { size } = await stat(drive);
    if (size > CARGO_MIB * MIB) throw new Fault('config.invalid', { what: `The cargo has ${size} bytes, too many.` });
  }
  await truncate(drive, CARGO_MIB * MIB);
}
