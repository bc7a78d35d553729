/** What replies say, taken out of their payloads. Each gives `WRONG_FORM` for what no xenstored answers. No I/O. */
import { type Permission, parsePermission } from './permissions.ts';

/** A reply that cannot be one; the connection is then broken. */
export const WRONG_FORM = Symbol('wrong form');

export type Decoded<T> = T | typeof WRONG_FORM;

/** Part of a directory that is larger than a packet. */
export interface DirectoryPart {
  /** Changes whenever the node does. */
  readonly generation: string;
  readonly names: readonly string[];
  /** Length of the names with their NULs: how far the next part's offset lies. */
  readonly bytes: number;
  readonly isLast: boolean;
}

export interface WatchEvent {
  readonly path: string;
  readonly token: string;
}

const NUL = 0;
const DECIMAL = /^\d{1,20}$/;

/** A value as text: UTF-8, with U+FFFD for what is none. */
export function decodeText(body: Buffer): string {
  return body.toString();
}

/** A value as it is, in memory of its own. */
export function decodeBytes(body: Buffer): Buffer {
  return Buffer.from(body);
}

/** `OK` and nothing else. */
export function decodeOk(body: Buffer): Decoded<true> {
  return isWord(body, 'OK') ? true : WRONG_FORM;
}

/** `T` or `F`. */
export function decodeTruth(body: Buffer): Decoded<boolean> {
  if (isWord(body, 'T')) return true;
  return isWord(body, 'F') ? false : WRONG_FORM;
}

/** One string, with the NUL at its end or without. */
export function decodeString(body: Buffer): Decoded<string> {
  const end = body.indexOf(NUL);
  if (end !== -1 && end !== body.length - 1) return WRONG_FORM;
  return body.toString('utf8', 0, end === -1 ? body.length : end);
}

/** Words with spaces between them. */
export function decodeWords(body: Buffer): Decoded<string[]> {
  const text = decodeString(body);
  return text === WRONG_FORM ? WRONG_FORM : text.split(' ').filter((word) => word !== '');
}

/** A decimal number of 32 bits. */
export function decodeNumber(body: Buffer): Decoded<number> {
  const text = decodeString(body);
  if (text === WRONG_FORM || !DECIMAL.test(text)) return WRONG_FORM;
  const value = Number(text);
  return value <= 0xffff_ffff ? value : WRONG_FORM;
}

/** Names of children, each with a NUL at its end. */
export function decodeNames(body: Buffer): Decoded<string[]> {
  if (body.length === 0) return [];
  const names = splitStrings(body);
  return names === undefined || !names.every(isName) ? WRONG_FORM : names;
}

/** Generation, then names; an empty name ends the last part. */
export function decodeDirectoryPart(body: Buffer): Decoded<DirectoryPart> {
  const [generation, ...names] = splitStrings(body) ?? [];
  if (generation === undefined || !DECIMAL.test(generation)) return WRONG_FORM;
  const isLast = names.at(-1) === '';
  if (isLast) names.pop();
  if (!names.every(isName)) return WRONG_FORM;
  return { generation, names, bytes: names.reduce((sum, name) => sum + name.length + 1, 0), isLast };
}

/** Entries like `n0`, each with a NUL at its end. */
export function decodePermissions(body: Buffer): Decoded<Permission[]> {
  const entries = splitStrings(body)?.map(parsePermission);
  if (entries === undefined || entries.length === 0) return WRONG_FORM;
  const permissions = entries.filter((entry) => entry !== undefined);
  return permissions.length === entries.length ? permissions : WRONG_FORM;
}

/** The changed path and the token of the watch; what a kernel adds behind them means nothing to us. */
export function decodeWatchEvent(body: Buffer): Decoded<WatchEvent> {
  const pathEnd = body.indexOf(NUL);
  const tokenEnd = pathEnd === -1 ? -1 : body.indexOf(NUL, pathEnd + 1);
  if (tokenEnd === -1) return WRONG_FORM;
  return { path: body.toString('latin1', 0, pathEnd), token: body.toString('latin1', pathEnd + 1, tokenEnd) };
}

/** Strings that each end in a NUL; `undefined` when the last does not. */
function splitStrings(body: Buffer): string[] | undefined {
  if (body.at(-1) !== NUL) return undefined;
  return body.toString('latin1', 0, body.length - 1).split('\0');
}

function isName(name: string): boolean {
  return name !== '' && !name.includes('/');
}

function isWord(body: Buffer, word: string): boolean {
  const length = body.at(-1) === NUL ? body.length - 1 : body.length;
  return length === word.length && body.toString('latin1', 0, length) === word;
}
