/**
 * Reads values out of a YAML tree: maps with known keys, texts by their readers, one text or a list of them. Tells what
 * is wrong at its place and goes on, and keeps where everything stands.
 */
import { listWords, nearest, printable } from '../lib/text.ts';
import type { Diagnostics } from './diagnostics.ts';
import type { Place, Tree } from './yaml-tree.ts';

/** Turns a text into a value, or says what is wrong with it: half a sentence. */
export type TextReader<T> = (untrustedText: string) => { readonly value: T } | { readonly wrong: string };

/** The values of a map by key, and where each stands. */
export type Entries = ReadonlyMap<string, { readonly tree: Tree; readonly path: string; readonly place: Place }>;

const MAX_ITEMS = 200;
/** A device id with all that a device may say has some 1700 characters. */
const MAX_TEXT = 2_000;

export class TreeReading {
  /** Where things stand, by paths such as `rules.3.match`. */
  readonly places = new Map<string, Place>();
  readonly #diagnostics: Diagnostics;

  constructor(diagnostics: Diagnostics) {
    this.#diagnostics = diagnostics;
  }

  error({ line, column }: Place, message: string): undefined {
    this.#diagnostics.error(line, column, message);
  }

  /** Reads a map whose keys are known; `what` names it in errors: `a rule`. */
  map(tree: Tree, path: string, what: string, keys: readonly string[]): Entries | undefined {
    this.places.set(path, tree.place);
    if (tree.is === 'unread') return undefined;
    if (tree.is !== 'map') return this.error(tree.place, `Here ${what} is written as "name: value", a line each.`);
    const entries = new Map<string, { tree: Tree; path: string; place: Place }>();
    for (const { key, place, value } of tree.entries) {
      const entry = { tree: value, path: path === '' ? key : `${path}.${key}`, place };
      if (keys.includes(key)) {
        entries.set(key, entry);
        this.places.set(entry.path, place);
      } else this.error(place, unknownKey(key, what, keys));
    }
    return entries;
  }

  /** Tells that a key is missing, unless the map has one that is not known: that may have been meant. */
  missing(tree: Tree, entries: Entries, message: string): undefined {
    if (tree.is === 'map' && tree.entries.length === entries.size) this.error(tree.place, message);
  }

  /** Reads a list; nothing at all is an empty one. */
  list(tree: Tree, path: string, what: string): readonly Tree[] | undefined {
    this.places.set(path, tree.place);
    if (tree.is === 'unread') return undefined;
    if (tree.is === 'list') return tree.items;
    if (isNothing(tree)) return [];
    return this.error(tree.place, `Here is a list of ${what}: each begins with "- ".`);
  }

  text<T>(tree: Tree, path: string, reader: TextReader<T>): T | undefined {
    const key = path.slice(path.lastIndexOf('.') + 1);
    this.places.set(path, tree.place);
    if (tree.is === 'unread') return undefined;
    if (tree.is !== 'text') return this.error(tree.place, `"${key}" is one value.`);
    if (isNothing(tree)) return this.error(tree.place, `"${key}" has no value.`);
    if (tree.text.length > MAX_TEXT) {
      return this.error(tree.place, `"${key}" is longer than ${MAX_TEXT} characters.`);
    }
    const read = reader(tree.text);
    return 'value' in read ? read.value : this.error(tree.place, `"${key}": ${read.wrong.replace(/[.?]?$/, endOf)}`);
  }

  /** Reads one text or a list of them, each once; what is wrong with any of them leaves nothing. */
  texts<T>(tree: Tree, path: string, reader: TextReader<T>): readonly T[] | undefined {
    this.places.set(path, tree.place);
    if (tree.is === 'unread') return undefined;
    const key = path.slice(path.lastIndexOf('.') + 1);
    if (tree.is === 'map') return this.error(tree.place, `"${key}" is one value, or a list of them.`);
    const items = tree.is === 'list' ? tree.items : [tree];
    if (items.length === 0) return this.error(tree.place, `"${key}" is an empty list.`);
    if (items.length > MAX_ITEMS) {
      return this.error(tree.place, `"${key}" has ${items.length} values; ${MAX_ITEMS} is the most.`);
    }
    const values = items.map((item, i) => {
      const value = this.text(item, path, reader);
      this.places.set(`${path}.${i}`, item.place);
      return value;
    });
    this.places.set(path, tree.place);
    const known = values.filter((value) => value !== undefined);
    return known.length === values.length ? [...new Set(known)] : undefined;
  }

  /** Finds where something stands, or what it is part of. */
  placeOf(path: string): Place {
    for (let at = path; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('.')))) {
      const place = this.places.get(at);
      if (place !== undefined) return place;
    }
    return { line: 1, column: 1 };
  }
}

/** Whether nothing stands after the colon. */
function isNothing(tree: Tree): boolean {
  return tree.is === 'text' && tree.text === '' && !tree.isQuoted;
}

function unknownKey(key: string, what: string, keys: readonly string[]): string {
  const meant = key.length > 40 ? undefined : nearest(key, keys);
  const guess = meant === undefined ? `It has ${listWords(keys, 'and')}.` : `Did you mean "${meant}"?`;
  return `There is no "${printable(key, 40)}" in ${what}. ${guess}`;
}

function endOf(mark: string): string {
  return mark === '' ? '.' : mark;
}
