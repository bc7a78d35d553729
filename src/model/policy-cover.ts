/**
 * What can be said of rules without any device: that one matches whatever another matches, or that one matches nothing.
 * Each yes is sure; a no may also mean that it is not known.
 */
import { areGlobsDisjoint, globCovers, matchesGlob } from '../lib/glob.ts';
import {
  type ClassMatch,
  MATCH_FIELDS,
  type MatchField,
  type Rule,
  type RuleConditions,
  type RuleMatch,
} from './policy.ts';
import {
  areSetsDisjoint,
  compileClass,
  type InterfaceSet,
  setCovers,
  setsOf,
  setsWithCompanions,
} from './policy-class.ts';
import { partsOfPlace, prefixBelow } from './policy-patterns.ts';

/** Tells whether `former`, whenever `later` would decide, decides before it. */
export function decidesBefore(former: Rule, later: Rule): boolean {
  return holdsWhenever(former.when, later.when) && matchesWhatever(former.match, later.match);
}

/** Names two fields, or one field twice, that no device can match together; `undefined` when none are known. */
export function findContradiction(match: RuleMatch): readonly [MatchField, MatchField] | undefined {
  const ids = match.id ?? match.switches;
  const idField = match.id === undefined ? 'switches' : 'id';
  const { port, hub, backend, serial } = match;
  if (match.class !== undefined && isClassEmpty(match.class)) return ['class', 'class'];
  if (match.class !== undefined && ids?.every(isWithoutClass(match.class)) === true) return [idField, 'class'];
  if (clash(ids, serial, (id, pattern) => areGlobsDisjoint(id.split(':')[2] ?? '*', pattern)))
    return [idField, 'serial'];
  if (clash(port, backend, areBackendsDisjoint)) return ['port', 'backend'];
  if (clash(hub, backend, areBackendsDisjoint)) return ['hub', 'backend'];
  if (clash(port, hub, isOutside)) return ['port', 'hub'];
  return undefined;
}

/** Only what cannot change while the one holds and the other does not counts: places that are taken can. */
function holdsWhenever(former: RuleConditions = {}, later: RuleConditions = {}): boolean {
  if (former.atMost !== undefined) return false;
  if (former.running?.some((vm) => later.running?.includes(vm) !== true) === true) return false;
  if (former.time === undefined && former.days === undefined) return true;
  return sameItems(former.time, later.time) && sameItems(former.days, later.days);
}

function sameItems(a: readonly string[] = [], b: readonly string[] = []): boolean {
  return a.length === b.length && a.every((item) => b.includes(item));
}

function matchesWhatever(wide: RuleMatch, narrow: RuleMatch): boolean {
  return MATCH_FIELDS.every((field) => {
    if (field === 'class') return wide.class === undefined || isClassImplied(wide.class, narrow);
    const asked = wide[field];
    return asked === undefined || IMPLIED[field](asked, narrow);
  });
}

/** Whether every device that `narrow` matches has what the field asks for. */
const IMPLIED: {
  readonly [F in Exclude<MatchField, 'class'>]: (wide: readonly string[], narrow: RuleMatch) => boolean;
} = {
  id: isIdImplied,
  switches: isIdImplied,
  vendor: (wide, { vendor }) => everyCovered(wide, vendor, coversAnyCase),
  product: (wide, { product }) => everyCovered(wide, product, coversAnyCase),
  serial: (wide, { serial, id, switches }) =>
    everyCovered(wide, serial, globCovers) ||
    everyCovered(
      wide,
      (id ?? switches)?.map((pattern) => pattern.split(':')[2] ?? '*'),
      globCovers,
    ),
  port: (wide, { port, hub }) =>
    everyCovered(wide, port, portCovers) || everyCovered(wide, hub?.map(portsBelow), portCovers),
  hub: (wide, { port, hub }) =>
    everyCovered(wide.map(portsBelow), port, portCovers) ||
    everyCovered(wide.map(portsBelow), hub?.map(portsBelow), portCovers),
  location: (wide, { location }) => everyCovered(wide, location, globCovers),
  speed: (wide, { speed }) => everyCovered(wide, speed, (a, b) => a === b),
  backend: (wide, { backend, port, hub }) =>
    [backend, port?.map(backendOf), hub?.map(backendOf)].some((narrow) => everyCovered(wide, narrow, globCovers)),
  attachedAs: (wide, { attachedAs }) => everyCovered(wide, attachedAs, (a, b) => a === b),
};

function everyCovered(
  wide: readonly string[],
  narrow: readonly string[] | undefined,
  covers: (wide: string, narrow: string) => boolean,
): boolean {
  return narrow?.every((one) => wide.some((other) => covers(other, one))) === true;
}

function isIdImplied(wide: readonly string[], { id, switches }: RuleMatch): boolean {
  return everyCovered(wide, id ?? switches, (a, b) => {
    const fields = b.split(':');
    return a.split(':').every((field, i) => globCovers(field, fields[i] ?? ''));
  });
}

function coversAnyCase(wide: string, narrow: string): boolean {
  return globCovers(wide.toLowerCase(), narrow.toLowerCase());
}

function portCovers(wide: string, narrow: string): boolean {
  const [a, b] = [partsOfPlace(wide), partsOfPlace(narrow)];
  return globCovers(a.backend, b.backend) && globCovers(a.place, b.place);
}

/** A hub is like the ports that begin as those below it do. */
function portsBelow(hub: string): string {
  const { backend, place } = partsOfPlace(hub);
  return `${backend}:${prefixBelow(place)}*`;
}

function backendOf(place: string): string {
  return partsOfPlace(place).backend;
}

type Sets = readonly InterfaceSet[];

/** What is asked for, as sets: one interface in `any`, one in each of `all`, none outside of `only`. */
function setsIn({ any, all, only }: ClassMatch): {
  readonly any?: Sets;
  readonly all: readonly Sets[];
  readonly only?: Sets;
} {
  return {
    ...(any === undefined ? {} : { any: any.flatMap(setsOf) }),
    all: all?.map(setsOf) ?? [],
    ...(only === undefined ? {} : { only: only.flatMap(setsWithCompanions) }),
  };
}

function isClassImplied(wideMatch: ClassMatch, { class: narrowMatch }: RuleMatch): boolean {
  if (narrowMatch === undefined) return false;
  const [wide, narrow] = [setsIn(wideMatch), setsIn(narrowMatch)];
  const within = (sets: Sets | undefined, others: Sets) =>
    sets?.every((set) => others.some((other) => setCovers(other, set))) === true;
  // One interface is among these if one has to be among fewer, or if all are.
  const hasOneOf = (sets: Sets) => [narrow.any, ...narrow.all, narrow.only].some((those) => within(those, sets));
  return (
    (wide.any === undefined || hasOneOf(wide.any)) &&
    wide.all.every(hasOneOf) &&
    (wide.only === undefined || within(narrow.only, wide.only))
  );
}

/** Whether an interface has to be there that `only` does not bear. */
function isClassEmpty(match: ClassMatch): boolean {
  const { any, all, only } = setsIn(match);
  if (only === undefined) return false;
  return [...(any === undefined ? [] : [any]), ...all].some((sets) =>
    sets.every((set) => only.every((other) => areSetsDisjoint(set, other))),
  );
}

/** Whether the interfaces that an id names are not of the class. */
function isWithoutClass(match: ClassMatch): (idPattern: string) => boolean {
  const isClass = compileClass(match);
  return (idPattern) => {
    const interfaces = idPattern.split(':')[3] ?? '*';
    if (interfaces.includes('*')) return false;
    const numbers = interfaces === '' ? [] : interfaces.split('.').map((triple) => Number.parseInt(triple, 16));
    return !isClass(numbers);
  };
}

function clash(
  a: readonly string[] | undefined,
  b: readonly string[] | undefined,
  areDisjoint: (a: string, b: string) => boolean,
): boolean {
  return a !== undefined && b !== undefined && a.every((one) => b.every((other) => areDisjoint(one, other)));
}

function areBackendsDisjoint(place: string, backend: string): boolean {
  return areGlobsDisjoint(backendOf(place), backend);
}

function isOutside(port: string, hub: string): boolean {
  const below = partsOfPlace(portsBelow(hub));
  const { backend, place } = partsOfPlace(port);
  if (areGlobsDisjoint(backend, below.backend)) return true;
  return place.includes('*') ? areGlobsDisjoint(place, below.place) : !matchesGlob(below.place, place);
}
