/**
 * YAML as a tree of maps, lists and texts, each with its place; every scalar is the text that stands there, so that 08,
 * 1e3 and no stay what they look like. Refuses what could hide something or blow up: aliases, tags, keys given twice.
 */
import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, type Pair, parseDocument } from 'yaml';
import { printable } from '../lib/text.ts';
import type { Diagnostics } from './diagnostics.ts';

export interface Place {
  readonly line: number;
  readonly column: number;
}

export type Tree =
  | { readonly is: 'map'; readonly place: Place; readonly entries: readonly TreeEntry[] }
  | { readonly is: 'list'; readonly place: Place; readonly items: readonly Tree[] }
  /** `isQuoted` tells "" from nothing at all. */
  | { readonly is: 'text'; readonly place: Place; readonly text: string; readonly isQuoted: boolean }
  /** What is wrong with it has been told. */
  | { readonly is: 'unread'; readonly place: Place };

export interface TreeEntry {
  readonly key: string;
  readonly place: Place;
  readonly value: Tree;
}

/** The parser needs a second or two for as much nonsense as this. */
const MAX_CHARACTERS = 256 * 1024;
/** Deeper than any file of ours, and far from where the parser's stack ends. */
const MAX_DEPTH = 50;
/** Controls but tab and line ends; marks that turn text around, so that what is read is not what is seen. */
const FORBIDDEN = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]|\r(?!\n)/u;

/** Reads YAML; `undefined` when nothing stands there, or what stands there is no YAML. Whatever is wrong is told. */
export function readYaml(untrustedText: string, diagnostics: Diagnostics): Tree | undefined {
  const text = untrustedText.replace(/^\ufeff/, '');
  if (text.length > MAX_CHARACTERS) {
    const limit = `${MAX_CHARACTERS / 1024} KiB`;
    diagnostics.error(1, 1, `The file is larger than ${limit}, far beyond what can be meant. Nothing of it was read.`);
    return undefined;
  }
  const forbidden = FORBIDDEN.exec(text);
  if (forbidden !== null) {
    const before = text.slice(0, forbidden.index).split('\n');
    const what =
      forbidden[0] === '\r' ? 'A carriage return without a line feed' : `The character ${printable(forbidden[0])}`;
    diagnostics.error(before.length, (before.at(-1) ?? '').length + 1, `${what} has no place in this file.`);
    return undefined;
  }
  const lineCounter = new LineCounter();
  // The library compares each key with each other one: a map of 100 000 keys takes it half an hour.
  const options = { lineCounter, prettyErrors: false, schema: 'failsafe', uniqueKeys: false } as const;
  const document = parseDocument(text, options);
  const reader = new TreeReader(lineCounter, diagnostics);
  const warnings = document.warnings.filter(({ code }) => code !== 'TAG_RESOLVE_FAILED');
  for (const { pos, code, message } of [...document.errors, ...warnings]) {
    reader.error(pos[0], EXPLAINED[code] ?? `${printable(message, 200).replace(/\.$/, '')}.`);
  }
  if (document.errors.length > 0 || document.contents === null) return undefined;
  return reader.read(document.contents, 0, 0);
}

const TAG = 'This has a tag (what begins with !), and those have no place in this file.';
const STAR = 'What begins with * has to be in quotes, as "*": YAML takes it for an alias otherwise.';

/** By the library's codes: what its own words do not say. */
const EXPLAINED: Readonly<Record<string, string>> = {
  BAD_ALIAS: STAR,
  MULTIPLE_DOCS: 'A second document begins here; the file has one.',
  RESOURCE_EXHAUSTION: 'It is nested too deeply.',
  TAB_AS_INDENT: 'Lines are indented by spaces; here is a tab.',
};

class TreeReader {
  readonly #lineCounter: LineCounter;
  readonly #diagnostics: Diagnostics;

  constructor(lineCounter: LineCounter, diagnostics: Diagnostics) {
    this.#lineCounter = lineCounter;
    this.#diagnostics = diagnostics;
  }

  /** `offset` is where it would stand: of what is left empty, the library does not tell. */
  read(node: unknown, offset: number, depth: number): Tree {
    const start = startOf(node) ?? offset;
    const place = this.#placeOf(start);
    if (depth > MAX_DEPTH) return this.error(start, EXPLAINED['RESOURCE_EXHAUSTION'] ?? '');
    if (isAlias(node)) return this.error(start, STAR);
    if (isNode(node) && node.tag !== undefined) return this.error(start, TAG);
    if (isSeq(node)) {
      return { is: 'list', place, items: node.items.map((item) => this.read(item, start, depth + 1)) };
    }
    if (isMap(node)) {
      const seen = new Set<string>();
      const entries = node.items.flatMap((pair) => this.#entry(pair, seen, start, depth) ?? []);
      return { is: 'map', place, entries };
    }
    const isQuoted = isScalar(node) && node.type !== 'PLAIN';
    return { is: 'text', place, text: isScalar(node) ? String(node.value ?? '') : '', isQuoted };
  }

  #entry({ key, value }: Pair, seen: Set<string>, offset: number, depth: number): TreeEntry | undefined {
    const start = startOf(key) ?? offset;
    if (!isScalar(key)) {
      this.error(start, isAlias(key) ? STAR : 'A key is a word.');
      return undefined;
    }
    const name = String(key.value ?? '');
    if (seen.has(name)) {
      this.error(start, `"${printable(name, 40)}" stands here for the second time.`);
      return undefined;
    }
    seen.add(name);
    return { key: name, place: this.#placeOf(start), value: this.read(value, start, depth + 1) };
  }

  error(offset: number, message: string): Tree {
    const place = this.#placeOf(offset);
    this.#diagnostics.error(place.line, place.column, message);
    return { is: 'unread', place };
  }

  #placeOf(offset: number): Place {
    const { line, col } = this.#lineCounter.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}
