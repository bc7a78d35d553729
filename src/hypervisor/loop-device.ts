/** Loop devices of this host: which of them has a file (sysfs, `/sys/block/loopN/loop/backing_file`). Makes none. */
import { readdir, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';

export interface LoopDevice {
  readonly name: string;
  readonly isReadOnly: boolean;
}

/** Gives the loop device of a file, one that writes before those that do not; `undefined` when it has none. */
export async function loopDeviceOf(file: string, sysfsRoot = '/sys'): Promise<LoopDevice | undefined> {
  const real = await realpath(file).catch(() => file);
  const blocks = join(sysfsRoot, 'block');
  const names = (await readdir(blocks).catch(() => [])).filter((name) => /^loop\d+$/.test(name)).sort();
  let found: LoopDevice | undefined;
  for (const name of names) {
    const backing = await textOf(join(blocks, name, 'loop/backing_file'));
    if (backing !== real) continue;
    const device = { name: `/dev/${name}`, isReadOnly: (await textOf(join(blocks, name, 'ro'))) === '1' };
    if (!device.isReadOnly) return device;
    found ??= device;
  }
  return found;
}

/** Without the line end; a device that has no file has no such node. */
async function textOf(path: string): Promise<string | undefined> {
  return (await readFile(path, 'utf8').catch(() => undefined))?.replace(/\n$/, '');
}
