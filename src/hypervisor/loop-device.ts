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
    const device = { name: `/dev/${name}`, isReadOnly: await isOnlyRead(join(blocks, name)) };
    if (!device.isReadOnly) return device;
    found ??= device;
  }
  return found;
}

/** cryptsetup makes one that could be written to for a disk that is only read; then what stands on it tells. */
async function isOnlyRead(device: string): Promise<boolean> {
  if ((await textOf(join(device, 'ro'))) === '1') return true;
  const holders = await readdir(join(device, 'holders')).catch(() => []);
  const read = await Promise.all(holders.map((holder) => textOf(join(device, 'holders', holder, 'ro'))));
  return holders.length > 0 && read.every((ro) => ro === '1');
}

/** Without the line end; a device that has no file has no such node. */
async function textOf(path: string): Promise<string | undefined> {
  return (await readFile(path, 'utf8').catch(() => undefined))?.replace(/\n$/, '');
}
