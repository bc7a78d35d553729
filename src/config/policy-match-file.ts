/** What rules match and when they hold, as a policy file writes it: one table a map of the file. */
import { withoutAbsent } from '../lib/absent.ts';
import {
  CLASS_PARTS,
  type ClassMatch,
  DAYS,
  type Day,
  MATCH_FIELDS,
  type MatchField,
  type RuleConditions,
  type RuleMatch,
} from '../model/policy.ts';
import { readClassPattern } from '../model/policy-class.ts';
import {
  type Reading,
  readBackendPattern,
  readHubPattern,
  readIdPattern,
  readLocationPattern,
  readNamePattern,
  readPortPattern,
  readSerialPattern,
  readSwitchPattern,
  wordReader,
} from '../model/policy-patterns.ts';
import { readDays, readHours } from '../model/policy-time.ts';
import { ATTACHED_AS, USB_SPEEDS } from '../model/usb.ts';
import { readNumber, readVm } from './policy-texts.ts';
import type { TreeReading } from './tree-reader.ts';
import type { Tree } from './yaml-tree.ts';

/** What a rule says that is for every device. */
export const EVERYTHING = 'everything';

type Patterns = { readonly [F in Exclude<MatchField, 'class'>]: (text: string) => Reading<string> };
const PATTERNS: Patterns = {
  id: readIdPattern,
  switches: readSwitchPattern,
  vendor: readNamePattern,
  product: readNamePattern,
  serial: readSerialPattern,
  port: readPortPattern,
  location: readLocationPattern,
  hub: readHubPattern,
  speed: wordReader(USB_SPEEDS),
  backend: readBackendPattern,
  attachedAs: wordReader(ATTACHED_AS),
};

/** Reads `match`: `everything`, or a map of fields. */
export function readMatch(tree: Tree, path: string, reading: TreeReading): RuleMatch | undefined {
  if (tree.is === 'text' && tree.text === EVERYTHING) return {};
  if (tree.is !== 'map' && tree.is !== 'unread') {
    return reading.error(tree.place, '"match" has fields, a line each; for every device write "match: everything".');
  }
  const entries = reading.map(tree, path, '"match"', MATCH_FIELDS);
  if (entries === undefined) return undefined;
  if (entries.size === 0) {
    return reading.missing(tree, entries, '"match" is empty; for every device write "match: everything".');
  }
  const switches = entries.get('switches');
  if (switches !== undefined && entries.has('id')) {
    reading.error(switches.place, 'A rule has "id" or "switches": both list ids, "switches" those of one device.');
  }
  const fields = [...entries].map(([field, entry]) => {
    if (field === 'class') return [field, readClass(entry.tree, entry.path, reading)];
    return [field, reading.texts(entry.tree, entry.path, PATTERNS[field as keyof Patterns])];
  });
  return withoutAbsent(Object.fromEntries(fields));
}

/** Reads `when`. */
export function readConditions(tree: Tree, path: string, reading: TreeReading): RuleConditions | undefined {
  const entries = reading.map(tree, path, '"when"', ['running', 'time', 'days', 'atMost']);
  if (entries === undefined) return undefined;
  if (entries.size === 0) {
    return reading.missing(tree, entries, '"when" has no condition; without it a rule always holds.');
  }
  const [running, time, days, atMost] = ['running', 'time', 'days', 'atMost'].map((key) => entries.get(key));
  const list = <T>(entry: typeof running, reader: (text: string) => Reading<T>) =>
    entry === undefined ? undefined : reading.texts(entry.tree, entry.path, reader);
  const parts = {
    running: list(running, readVm),
    time: list(time, readHours),
    days: sortDays(list(days, readDays)),
    atMost: atMost === undefined ? undefined : reading.text(atMost.tree, atMost.path, readNumber(1, 1_000)),
  };
  return withoutAbsent(parts);
}

/** A word, some words, or a map of `any`, `all` and `only`. */
function readClass(tree: Tree, path: string, reading: TreeReading): ClassMatch | undefined {
  if (tree.is !== 'map') {
    const any = reading.texts(tree, path, readClassPattern);
    return any === undefined ? undefined : { any };
  }
  const entries = reading.map(tree, path, '"class"', CLASS_PARTS);
  if (entries === undefined) return undefined;
  if (entries.size === 0) return reading.missing(tree, entries, '"class" has any, all or only.');
  const parts = [...entries].map(([part, entry]) => [part, reading.texts(entry.tree, entry.path, readClassPattern)]);
  return withoutAbsent(Object.fromEntries(parts));
}

/** Each once, in the order of the week. */
function sortDays(ranges: readonly (readonly Day[])[] | undefined): readonly Day[] | undefined {
  return ranges === undefined ? undefined : DAYS.filter((day) => ranges.some((range) => range.includes(day)));
}
