/**
 * Interface classes in rules: words such as `storage`, and hex digits of class, subclass and protocol, as sets of the
 * 24-bit numbers that interfaces have (USB-IF, "Defined Class Codes"). Knows no rules; those are in policy-match.ts.
 */
import { listWords, nearest, printable } from '../lib/text.ts';
import type { ClassMatch } from './policy.ts';
import type { Reading } from './policy-patterns.ts';

/** The interfaces whose bits under `mask` are `value`: whole hex digits are fixed or free. */
export interface InterfaceSet {
  readonly mask: number;
  readonly value: number;
}

export interface ClassWord {
  readonly patterns: readonly string[];
  /** Interfaces that come with them and say nothing by themselves: `only` bears them. */
  readonly companions?: readonly string[];
  readonly meaning: string;
}

/** Every word once. Hex digits as in {@link readClassPattern}. */
export const CLASS_WORDS: Readonly<Record<string, ClassWord>> = {
  audio: { patterns: ['01'], meaning: 'sound cards, headsets, microphones' },
  cdc: { patterns: ['02', '0a'], meaning: 'communication: modems, serial ports, network adapters by the standard' },
  serial: { patterns: ['0202'], companions: ['0a'], meaning: 'serial ports by the standard (CDC-ACM)' },
  network: {
    patterns: ['0206', '020c', '020d', '020e', 'e00103', 'ef0401'],
    companions: ['0a'],
    meaning: 'network adapters that say so: ECM, EEM, NCM, MBIM, RNDIS; many only say vendor',
  },
  hid: { patterns: ['03'], meaning: 'input devices, also those that do not say which' },
  keyboard: { patterns: ['03*01'], meaning: 'input devices that say that they are keyboards' },
  mouse: { patterns: ['03*02'], meaning: 'input devices that say that they are mice' },
  image: { patterns: ['06'], meaning: 'cameras and phones as stores of pictures (PTP, MTP)' },
  printer: { patterns: ['07'], meaning: 'printers' },
  storage: { patterns: ['08'], meaning: 'sticks, disks, card readers' },
  hub: { patterns: ['09'], meaning: 'hubs; never given to a VM, so no rule needs it' },
  smartcard: { patterns: ['0b'], meaning: 'smart card readers, security keys with a card (CCID)' },
  video: { patterns: ['0e'], meaning: 'cameras and capture devices' },
  wireless: { patterns: ['e0'], meaning: 'Bluetooth, RNDIS and other radio' },
  bluetooth: { patterns: ['e00101'], meaning: 'Bluetooth adapters' },
  misc: { patterns: ['ef'], meaning: 'miscellaneous' },
  application: { patterns: ['fe'], meaning: 'application specific: firmware update, test and measurement' },
  dfu: { patterns: ['fe01'], meaning: 'firmware update' },
  vendor: { patterns: ['ff'], meaning: 'only the vendor knows; many network adapters, serial converters, scanners' },
};

const DIGITS = 6;

/**
 * Reads a class: a word of {@link CLASS_WORDS}, or hex digits: `03` is a class, `0301` a class and subclass, `030101` all
 * three. One `*`, or a run of them, stands for digits: `08*` is `08`, `03**01` any keyboard.
 */
export function readClassPattern(untrustedText: string): Reading<string> {
  const text = untrustedText.toLowerCase();
  if (Object.hasOwn(CLASS_WORDS, text)) return { value: text };
  const shown = printable(untrustedText, 40);
  const words = Object.keys(CLASS_WORDS);
  const [, before, stars, after] = /^([0-9a-f]*)(\**)([0-9a-f]*)$/.exec(text) ?? [];
  if (before === undefined || stars === undefined || after === undefined || text === '') {
    const meant = text.length > 40 ? undefined : nearest(text, words);
    const guess = meant === undefined ? `The words are ${listWords(words, 'and')}` : `Did you mean "${meant}"?`;
    return { wrong: `there is no class "${shown}", and it is not hex digits. ${guess}` };
  }
  const length = before.length + after.length;
  const isWhole = stars === '' && (length === 2 || length === 4 || length === DIGITS);
  if (!isWhole && (stars === '' || length > DIGITS || (stars.length > 1 && stars.length + length > DIGITS))) {
    return {
      wrong: `"${shown}" is not two, four or six hex digits, as 03, 0301, 030101, or fewer with one * among them`,
    };
  }
  if (after === '') return { value: before.length % 2 === 0 && before !== '' ? before : `${before}*` };
  return { value: stars === '' || length === DIGITS ? before + after : `${before}*${after}` };
}

/** Gives the sets of a class as {@link readClassPattern} gave it: an interface is of it if it is in any. */
export function setsOf(pattern: string): readonly InterfaceSet[] {
  return patternsOf(pattern).map(toSet);
}

/** Gives the sets that `only` bears for a class: its own, and its companions'. */
export function setsWithCompanions(pattern: string): readonly InterfaceSet[] {
  const companions = CLASS_WORDS[pattern]?.companions ?? [];
  return [...patternsOf(pattern), ...companions].map(toSet);
}

export function isInSet(set: InterfaceSet, number: number): boolean {
  return (number & set.mask) === set.value;
}

/** Tells whether every interface of `narrow` is one of `wide`. */
export function setCovers(wide: InterfaceSet, narrow: InterfaceSet): boolean {
  return (wide.mask & narrow.mask) === wide.mask && (narrow.value & wide.mask) === wide.value;
}

/** Tells whether no interface is in both. */
export function areSetsDisjoint(a: InterfaceSet, b: InterfaceSet): boolean {
  return ((a.value ^ b.value) & a.mask & b.mask) !== 0;
}

/** Gives the first class byte of the set's interfaces; `undefined` when it is not fixed. */
export function classByteOf({ mask, value }: InterfaceSet): number | undefined {
  return mask >>> 16 === 0xff ? value >>> 16 : undefined;
}

/** Gives an interface of the class: six hex digits, what is free is 0. */
export function exampleOf(pattern: string): string {
  return (setsOf(pattern)[0]?.value ?? 0).toString(16).padStart(DIGITS, '0');
}

/** Makes the function that tells whether interfaces, as numbers, are what is asked for. */
export function compileClass({ any, all, only }: ClassMatch): (interfaces: readonly number[]) => boolean {
  const anySets = any?.flatMap(setsOf);
  const allSets = all?.map(setsOf);
  const onlySets = only?.flatMap(setsWithCompanions);
  const has = (interfaces: readonly number[], sets: readonly InterfaceSet[]) =>
    interfaces.some((number) => isInAny(sets, number));
  return (interfaces) =>
    (anySets === undefined || has(interfaces, anySets)) &&
    (allSets === undefined || allSets.every((sets) => has(interfaces, sets))) &&
    (onlySets === undefined || (interfaces.length > 0 && interfaces.every((number) => isInAny(onlySets, number))));
}

function isInAny(sets: readonly InterfaceSet[], number: number): boolean {
  for (const set of sets) if (isInSet(set, number)) return true;
  return false;
}

function patternsOf(pattern: string): readonly string[] {
  return Object.hasOwn(CLASS_WORDS, pattern) ? (CLASS_WORDS[pattern]?.patterns ?? []) : [pattern];
}

function toSet(pattern: string): InterfaceSet {
  const [before = '', after = ''] = pattern.split('*');
  const digits = before + '*'.repeat(DIGITS - before.length - after.length) + after;
  const bits = (of: (digit: string) => string) => Number.parseInt(digits.replaceAll(/./g, of), 16);
  return { mask: bits((digit) => (digit === '*' ? '0' : 'f')), value: bits((digit) => (digit === '*' ? '0' : digit)) };
}
