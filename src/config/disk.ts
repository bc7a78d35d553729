/** The value of `disk`: `physpath:phystype:virtpath:mode:devtype`, in later files a snapshot mode, then `key=value` words. */
import { printable } from '../lib/text.ts';
import type { DiskConfig, DiskEncryption } from '../model/vm.ts';
import { parseInteger, parsePath, parseWord, type ValueContext } from './values.ts';

/** What xenvm calls the types, and what the image then is; `raw` and `qcow2` are Usher's own spellings. */
const FORMATS = { phy: 'raw', file: 'raw', aio: 'raw', qcow: 'qcow2' } as const;
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
    format: parseWord(type, field('type'), ['raw', 'qcow2', 'vhd'], FORMATS),
    target: TARGET.test(target)
      ? target
      : context.error(`A disk target is hda to hdd, sda to sdz or xvda to xvdp, not "${printable(target, 20)}".`),
    mode: parseWord(mode, field('mode'), ['r', 'w']),
    kind: parseWord(kind, field('kind'), ['disk', 'cdrom']),
  };
  const more = readExtras(extras, field);
  const { format, mode: access } = disk;
  if (more === undefined || disk.path === undefined || format === undefined || disk.target === undefined)
    return undefined;
  if (access === undefined || disk.kind === undefined) return undefined;
  if (disk.kind === 'cdrom' && access === 'w') context.warn('A cdrom cannot be written; it is taken as read-only.');
  if (more.encryption !== undefined && format !== 'raw') {
    return context.error('Only a disk of the type phy, file or aio can be encrypted as a whole.');
  }
  const noKey = more.encryption && context.whyNoKey?.(more.encryption);
  if (noKey !== undefined) {
    return context.error(`The disk ${disk.target} cannot be opened: ${noKey}.`, text.lastIndexOf(':key-file=') + 1);
  }
  return {
    path: disk.path,
    format,
    target: disk.target,
    isReadOnly: access === 'r' || disk.kind === 'cdrom',
    kind: disk.kind,
    ...more,
  };
}

/** Prints a disk so that `parseDisk` gives it again. */
export function printDisk({ path, format, target, isReadOnly, kind, encryption }: DiskConfig): string {
  const fields = [path, WRITTEN[format], target, isReadOnly ? 'r' : 'w', kind];
  if (encryption !== undefined) {
    const { cipher, keyBits, keyFile } = encryption;
    fields.push(`cipher=${cipher}`, `key-size=${keyBits}`, `key-file=${keyFile}`);
  }
  return fields.join(':');
}

/** What xenvm takes when a disk has a key file and says no more. */
const USUAL_CIPHER = 'aes-xts-plain';
const USUAL_KEY_BITS = 256;
const CIPHER = /^[a-z0-9_]+(-[a-z0-9_]+){1,3}$/;
/** The words that xenvm knows there; two of them only to refuse them. */
const EXTRA = /^(cipher|key-size|key-file|key-dir|backend-domid)=(.*)$/;
const KEY_SIZES = [128, 192, 256, 384, 512];

/** Reads what stands behind the five fields: a snapshot mode that asks for nothing, and how the disk is encrypted. */
function readExtras(
  extras: readonly string[],
  field: (name: string) => ValueContext,
): { readonly encryption?: DiskEncryption } | undefined {
  const words = new Map<string, string>();
  let last = '';
  for (const [index, extra] of extras.entries()) {
    const [, key, value = ''] = EXTRA.exec(extra) ?? [];
    if (key === undefined && last === 'key-file') {
      words.set(last, `${words.get(last)}:${extra}`); // The path has colons.
      continue;
    }
    if (key === undefined && (extra === '' || (index === 0 && extra === 'none'))) continue;
    // To leave out a snapshot, or a key that is not known, would write to a disk in another way than its owner meant.
    if (key === undefined || !['cipher', 'key-size', 'key-file'].includes(key) || words.has(key)) {
      return field('extra').error(`Usher does not do "${printable(extra, 60)}" for disks.`);
    }
    words.set(key, value);
    last = key;
  }
  if (words.size === 0) return {};
  const file = words.get('key-file');
  if (file === undefined) return field('key-file').error('An encrypted disk needs a key-file=.');
  const keyFile = parsePath(file, field('key-file'));
  const cipher = words.get('cipher') ?? USUAL_CIPHER;
  const size = words.get('key-size');
  const keyBits = size === undefined ? USUAL_KEY_BITS : parseInteger(size, field('key-size'), 128, 512);
  if (keyFile === undefined || keyBits === undefined) return undefined;
  if (!CIPHER.test(cipher)) {
    return field('cipher').error(`A cipher is such as "aes-xts-plain64", not "${printable(cipher, 40)}".`);
  }
  if (!KEY_SIZES.includes(keyBits)) return field('key-size').error(`A key has ${KEY_SIZES.join(', ')} bits.`);
  return { encryption: { cipher, keyBits, keyFile } };
}
