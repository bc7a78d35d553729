/** The value of `disk`: `physpath:phystype:virtpath:mode:devtype`. */
import { printable } from '../lib/text.ts';
import type { DiskConfig } from '../model/vm.ts';
import { parsePath, parseWord, type ValueContext } from './values.ts';

/** What xenvm calls the types, and what the image then is; `raw` and `qcow2` are Usher's own spellings. */
const FORMATS: Readonly<Record<string, DiskConfig['format']>> = {
  phy: 'raw',
  file: 'raw',
  aio: 'raw',
  raw: 'raw',
  qcow: 'qcow2',
  qcow2: 'qcow2',
  vhd: 'vhd',
};
const WRITTEN: Readonly<Record<DiskConfig['format'], string>> = { raw: 'file', qcow2: 'qcow', vhd: 'vhd' };
const TARGET = /^(hd[a-d]|sd[a-z]|xvd[a-p])$/;
/** The path may have colons, so the fields behind it are looked for by what they can be. */
const WHOLE = /^(.*):([a-z0-9]+):((?:hd|sd|xvd)[a-z]+):([rw]):(disk|cdrom)((?::[^:]*)*)$/;

/** Parses a disk. */
export function parseDisk(text: string, context: ValueContext): DiskConfig | undefined {
  const match = WHOLE.exec(text);
  const fields = match === null ? text.split(':') : [...match.slice(1, 6), ...(match[6] ?? '').split(':').slice(1)];
  const [path = '', type = '', target = '', mode = '', kind = '', ...extras] = fields;
  if (fields.length < 5) {
    return context.error(
      `A disk is path:type:target:mode:kind, such as "/vm/root.img:file:hda:w:disk", not "${printable(text, 80)}".`,
    );
  }
  // From here on every field is looked at, so that all that is wrong is told at once.
  const field = (name: string): ValueContext => ({ ...context, key: `disk ${name}` });
  const disk = {
    path: parsePath(path, field('path')),
    format: parseWord(FORMATS[type] ?? type, field('type'), ['raw', 'qcow2', 'vhd']),
    target: TARGET.test(target)
      ? target
      : context.error(`A disk target is hda to hdd, sda to sdz or xvda to xvdp, not "${printable(target, 20)}".`),
    mode: parseWord(mode, field('mode'), ['r', 'w']),
    kind: parseWord(kind, field('kind'), ['disk', 'cdrom']),
  };
  // To leave out a snapshot or a cipher would write to a disk in another way than its owner meant.
  const unknown = extras.find((extra) => extra !== '' && extra !== 'none');
  if (unknown !== undefined) return context.error(`Usher does not do "${printable(unknown, 60)}" for disks yet.`);
  const { format, mode: access } = disk;
  if (disk.path === undefined || format === undefined || disk.target === undefined) return undefined;
  if (access === undefined || disk.kind === undefined) return undefined;
  if (disk.kind === 'cdrom' && access === 'w') context.warn('A cdrom cannot be written; it is taken as read-only.');
  return {
    path: disk.path,
    format,
    target: disk.target,
    isReadOnly: access === 'r' || disk.kind === 'cdrom',
    kind: disk.kind,
  };
}

/** Prints a disk so that `parseDisk` gives it again. */
export function printDisk(disk: DiskConfig): string {
  return [disk.path, WRITTEN[disk.format], disk.target, disk.isReadOnly ? 'r' : 'w', disk.kind].join(':');
}
