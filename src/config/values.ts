/** Parsers of single values in config files: integers, words, paths. Each tells what is wrong and gives `undefined`. */
import { dirname, isAbsolute, resolve } from 'node:path';
import { listWords, nearest, printable } from '../lib/text.ts';
import type { DiskEncryption } from '../model/vm.ts';

/** Where a value stands, and how to say what is wrong with it. */
export interface ValueContext {
  readonly key: string;
  /** The folder that relative paths start from; absent when the text came from no file. */
  readonly folder: string | undefined;
  /** Says why the key of an encrypted disk cannot be had, as half a sentence. Absent: nobody looks for keys now. */
  readonly whyNoKey?: ((encryption: DiskEncryption) => string | undefined) | undefined;
  /** Tells an error; `offset` counts characters into the value. */
  error(message: string, offset?: number): undefined;
  warn(message: string, offset?: number): void;
}

/** Decimal, or with 0x, 0o, 0b, underscores allowed, as xenvm (OCaml) takes them. */
const INTEGER = /^-?(0x[0-9a-f][0-9a-f_]*|0o[0-7][0-7_]*|0b[01][01_]*|[0-9][0-9_]*)$/i;

/** Parses an integer from `min` to `max`. */
export function parseInteger(text: string, context: ValueContext, min: number, max: number): number | undefined {
  if (!INTEGER.test(text)) return context.error(`"${context.key}" is a whole number, not "${printable(text, 40)}".`);
  const digits = text.replaceAll('_', '').replace(/^-/, '');
  const value = Number(digits) * (text.startsWith('-') ? -1 : 1) || 0; // Not -0, which is printed as 0.
  if (value >= min && value <= max) return value;
  return context.error(`"${context.key}" is from ${min} to ${max}, not ${printable(text, 40)}.`);
}

/** Parses one of some words; `aliases` are other spellings of them. */
export function parseWord<W extends string>(
  text: string,
  context: ValueContext,
  words: readonly W[],
  aliases: Readonly<Record<string, W>> = {},
): W | undefined {
  const word = words.find((other) => other === text) ?? (Object.hasOwn(aliases, text) ? aliases[text] : undefined);
  if (word !== undefined) return word;
  const meant = text.length > 2 && text.length <= 40 ? nearest(text, words) : undefined;
  const guess = meant === undefined ? '' : ` Did you mean "${meant}"?`;
  return context.error(`"${context.key}" is ${listWords(words)}, not "${printable(text, 40)}".${guess}`);
}

const BOOLEANS = { yes: 'true', y: 'true', '1': 'true', no: 'false', n: 'false', '0': 'false' } as const;

/** Parses a boolean in any of xenvm's spellings. */
export function parseBoolean(text: string, context: ValueContext): boolean | undefined {
  const word = parseWord(text, context, ['true', 'false'], BOOLEANS);
  return word === undefined ? undefined : word === 'true';
}

/** One `key=value` of a list with commas; `value` is absent when there is no `=`. */
export interface ListItem {
  readonly key: string;
  readonly value: string | undefined;
  /** Tells findings at the item's place. */
  readonly context: ValueContext;
}

/** Splits `key=value,key,…` into its items; empty ones, as behind a last comma, are left out. */
export function splitItems(text: string, context: ValueContext, start = 0): ListItem[] {
  let offset = start;
  return text
    .slice(start)
    .split(',')
    .flatMap((part) => {
      const at = offset + (part.length - part.trimStart().length);
      offset += part.length + 1;
      const item = part.trim();
      if (item === '') return [];
      const equals = item.indexOf('=');
      const key = equals === -1 ? item : item.slice(0, equals).trimEnd();
      const value = equals === -1 ? undefined : item.slice(equals + 1).trimStart();
      const placed: ValueContext = {
        ...context,
        key: `${context.key} ${printable(key, 20)}`,
        error: (message) => context.error(message, at),
        warn: (message) => context.warn(message, at),
      };
      return [{ key, value, context: placed }];
    });
}

/** Parses the path of a file; a relative one starts from the folder of the config file. */
export function parsePath(text: string, context: ValueContext): string | undefined {
  if (text === '') return context.error(`"${context.key}" needs a path.`);
  if (Buffer.byteLength(text) > 4095) return context.error(`The path of "${context.key}" is longer than 4095 bytes.`);
  if (isAbsolute(text) || context.folder !== undefined) {
    const path = resolve(context.folder ?? '/', text);
    // Without its last slash it would end in a blank, which the end of a line cannot have.
    if (!/\s$/.test(path) || /\s$/.test(text)) return path;
    return context.error(`The path of "${context.key}" ends in a blank.`);
  }
  const shown = printable(text, 80);
  return context.error(`"${shown}" is a relative path, and there is no config file that it could start from.`);
}

/** Gives the folder that the relative paths of a file start from. */
export function folderOf(fileName: string): string | undefined {
  return isAbsolute(fileName) ? dirname(fileName) : undefined;
}
