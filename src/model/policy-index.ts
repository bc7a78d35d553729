/**
 * Finds the rules that may match a device, in their order, without trying all of them: by product and serial, by port, by
 * class. Never leaves out a rule that matches; whether one does is asked of it.
 */
import type { Rule } from './policy.ts';
import { classByteOf, type InterfaceSet, setsOf, setsWithCompanions } from './policy-class.ts';
import type { Subject } from './policy-match.ts';

/** Gives the numbers of the rules that may match, ascending. */
export type RuleIndex = (subject: Subject) => Iterable<number>;

/** Makes the index. A rule has one or more keys, of which a device that it matches has at least one; or it is always tried. */
export function indexRules(rules: readonly Rule[]): RuleIndex {
  const byKey = new Map<string, number[]>();
  const always: number[] = [];
  for (const [index, rule] of rules.entries()) {
    const keys = keysOf(rule);
    if (keys === undefined) always.push(index);
    for (const key of keys ?? []) {
      const list = byKey.get(key);
      if (list === undefined) byKey.set(key, [index]);
      else list.push(index);
    }
  }
  return (subject) => {
    const lists = [always];
    for (const key of keysOfSubject(subject)) {
      const list = byKey.get(key);
      if (list !== undefined) lists.push(list);
    }
    return lists.length === 1 ? always : merge(lists);
  };
}

/** Gives the rule's keys, of the field that leaves the fewest devices; `undefined` when no field has any. */
function keysOf({ match }: Rule): readonly string[] | undefined {
  const ids = match.id ?? match.switches;
  return unique(ids?.map(idKey)) ?? unique(match.port?.map(portKey)) ?? unique(classKeys(match.class));
}

function idKey(pattern: string): string | undefined {
  const [vendor = '*', product = '*', serial = '*'] = pattern.split(':');
  if (vendor.includes('*')) return undefined;
  if (product.includes('*')) return `v ${vendor}`;
  return serial.includes('*') ? `p ${vendor}:${product}` : `s ${vendor}:${product}:${serial}`;
}

function portKey(pattern: string): string | undefined {
  return pattern.includes('*') ? undefined : `at ${pattern}`;
}

function classKeys({
  any,
  all,
  only,
}: NonNullable<Rule['match']['class']> = {}): readonly (string | undefined)[] | undefined {
  // Every interface has to be of `only`, and there is one; of `all`, the first alone is as good as any.
  const sets = any?.flatMap(setsOf) ?? all?.slice(0, 1).flatMap(setsOf) ?? only?.flatMap(setsWithCompanions);
  return sets?.map(classKey);
}

function classKey(set: InterfaceSet): string | undefined {
  const byte = classByteOf(set);
  return byte === undefined ? undefined : `c ${byte}`;
}

/** A field serves only if each of its patterns has a key. */
function unique(keys: readonly (string | undefined)[] | undefined): readonly string[] | undefined {
  if (keys === undefined) return undefined;
  const known = keys.filter((key) => key !== undefined);
  return known.length === keys.length && known.length > 0 ? [...new Set(known)] : undefined;
}

function keysOfSubject({ device, idFields, interfaces }: Subject): Set<string> {
  const [vendor, product, serial] = idFields;
  const keys = new Set([
    `v ${vendor}`,
    `p ${vendor}:${product}`,
    `s ${vendor}:${product}:${serial}`,
    `at ${device.backend}:${device.busid}`,
  ]);
  for (const number of interfaces) keys.add(`c ${number >>> 16}`);
  return keys;
}

/** Merges ascending lists, each number once, and no further than the caller reads. */
function* merge(lists: readonly (readonly number[])[]): Generator<number> {
  const at = lists.map(() => 0);
  for (;;) {
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < lists.length; i++) {
      const next = lists[i]?.[at[i] ?? 0] ?? Number.POSITIVE_INFINITY;
      if (next < least) least = next;
    }
    if (least === Number.POSITIVE_INFINITY) return;
    for (let i = 0; i < lists.length; i++) if (lists[i]?.[at[i] ?? 0] === least) at[i] = (at[i] ?? 0) + 1;
    yield least;
  }
}
