/**
 * The setting `access`: who may do what beyond the groups of the host, as a list in the settings' file. Plain values to
 * entries, with every flaw at its path; knows no YAML. A field that is not known is a flaw: misspelt, a limit would be
 * none.
 */
import { listWords, nearest, printable } from '../lib/text.ts';
import { type AccessEntry, RIGHTS, type Right } from '../model/access.ts';
import { DEVICE_CLASSES, isDeviceClass } from '../model/device-class.ts';
import { parseUuid, parseVmName } from '../model/ids.ts';

/** What is wrong with a nested value, and where in it: keys and indexes from the value down. */
export interface Flaw {
  readonly path: readonly (string | number)[];
  readonly says: string;
}

const FIELDS = ['user', 'group', 'may', 'vm', 'deviceClass'];
export const ACCESS_TAKES =
  'a list of entries, each with `user` or `group` (a name or a number), `may` (read, attach, control or write), and, to limit it, `vm` and `deviceClass` (one or a list)';

/** Reads the entries; all flaws are told. */
export function readAccess(
  untrusted: unknown,
): { readonly value: readonly AccessEntry[] } | { readonly flaws: readonly Flaw[] } {
  if (!Array.isArray(untrusted)) return { flaws: [{ path: [], says: `"access" is ${ACCESS_TAKES}.` }] };
  const flaws: Flaw[] = [];
  const value = untrusted.flatMap((entry: unknown, i) => readEntry(entry, i, flaws) ?? []);
  return flaws.length > 0 ? { flaws } : { value };
}

function readEntry(untrustedEntry: unknown, index: number, flaws: Flaw[]): AccessEntry | undefined {
  const complain = (says: string, ...path: (string | number)[]) => {
    flaws.push({ path: [index, ...path], says });
    return undefined;
  };
  if (typeof untrustedEntry !== 'object' || untrustedEntry === null || Array.isArray(untrustedEntry)) {
    return complain('An entry of "access" is written as "group: lab", "may: control" and so on.');
  }
  const before = flaws.length;
  const fields = untrustedEntry as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(fields)) if (!FIELDS.includes(name)) complain(unknownField(name), name);
  const to = readGrantee(fields, complain);
  const { may } = fields;
  if (may === undefined) complain(`"may" is missing: ${listWords(RIGHTS)}.`);
  else if (!(RIGHTS as readonly unknown[]).includes(may)) complain(`"may" is ${listWords(RIGHTS)}.`, 'may');
  const vms = readList(fields['vm'], 'vm', 'the name or the uuid of a VM', isVmRef, complain);
  const classes = `${listWords(Object.keys(DEVICE_CLASSES))}, or hex digits of a class, quoted: '0806'`;
  const deviceClasses = readList(fields['deviceClass'], 'deviceClass', classes, isDeviceClass, complain);
  if (to === undefined || flaws.length > before) return undefined;
  return {
    to,
    may: may as Right,
    ...(vms === undefined ? {} : { vms }),
    ...(deviceClasses === undefined ? {} : { deviceClasses }),
  };
}

type Complain = (says: string, ...path: (string | number)[]) => undefined;

function readGrantee({ user, group }: Readonly<Record<string, unknown>>, complain: Complain) {
  if ((user === undefined) === (group === undefined))
    return complain('An entry of "access" has either "user" or "group".');
  const kind = user === undefined ? 'group' : 'user';
  const account = readAccount(user ?? group);
  if (account === undefined) return complain(`"${kind}" is a name or a number.`, kind);
  return kind === 'user' ? { user: account } : { group: account };
}

/** Names as useradd(8) takes them, with room for what directory services make; digits are a number, quoted or not. */
function readAccount(untrusted: unknown): string | number | undefined {
  const text = typeof untrusted === 'number' ? String(untrusted) : untrusted;
  if (typeof text !== 'string') return undefined;
  if (/^\d{1,10}$/.test(text)) return Number(text) < 0xffff_ffff ? Number(text) : undefined;
  return /^[A-Za-z_][A-Za-z0-9._@\\-]{0,63}\$?$/.test(text) ? text : undefined;
}

/** Reads one or a list of them; an empty list would look like a limit and be one to nothing. */
function readList(
  untrusted: unknown,
  field: string,
  takes: string,
  accepts: (text: string) => boolean,
  complain: Complain,
): readonly string[] | undefined {
  if (untrusted === undefined) return undefined;
  const isList = Array.isArray(untrusted);
  const items: readonly unknown[] = isList ? untrusted : [untrusted];
  if (items.length === 0) return complain(`"${field}" is ${takes}.`, field);
  return items.flatMap((item, i) => {
    const text = typeof item === 'string' ? item : undefined;
    if (text !== undefined && accepts(text)) return [text];
    complain(`"${field}" is ${takes}.`, field, ...(isList ? [i] : []));
    return [];
  });
}

function isVmRef(text: string): boolean {
  return [parseVmName, parseUuid].some((parse) => {
    try {
      return parse(text) !== undefined;
    } catch {
      return false;
    }
  });
}

function unknownField(name: string): string {
  const known = name.length > 40 ? undefined : nearest(name, FIELDS);
  const guess = known === undefined ? '' : ` Did you mean "${known}"?`;
  return `An entry of "access" has no "${printable(name, 40)}".${guess}`;
}
