/**
 * Changes to a VM's config that are kept beside its file, which is not ours to write: what the file says with them, as a
 * text of the same grammar, in which every line that stays keeps its number. Pure.
 */
import { Diagnostics } from './diagnostics.ts';
import { readKeyLines } from './key-lines.ts';
import { keyNamed } from './vm-keys.ts';

export interface ConfigChange {
  readonly key: string;
  /** Empty: the key is taken out, unless it is added. */
  readonly value: string;
  /** One more line, beside those that are there. */
  readonly isAdded?: boolean;
}

/** Gives the name under which a key is known; `undefined` for one that is not. */
export function canonicalKey(untrustedKey: string): string | undefined {
  return keyNamed(untrustedKey)?.key;
}

/** Adds a change to those that there are: a value that is set replaces whatever was said of that key before. */
export function withChange(changes: readonly ConfigChange[], change: ConfigChange): readonly ConfigChange[] {
  if (change.isAdded) return [...changes, change];
  return [...changes.filter(({ key }) => canonicalKey(key) !== canonicalKey(change.key)), change];
}

/** Gives the file's text with the changes: lines that no longer count are left empty, new ones come at the end. */
export function changedText(text: string, changes: readonly ConfigChange[]): string {
  if (changes.length === 0) return text;
  const replaced = new Set(changes.filter(({ isAdded }) => !isAdded).map(({ key }) => canonicalKey(key)));
  const gone = new Set(
    keyLines(text)
      .filter(({ key }) => replaced.has(canonicalKey(key)))
      .map(({ line }) => line),
  );
  const kept = text.split('\n').map((line, index) => (gone.has(index + 1) ? '' : line));
  if (kept.at(-1) === '') kept.pop();
  const added = changes
    .filter(({ value, isAdded }) => isAdded || value !== '')
    .map(({ key, value }) => `${key} = ${value}`);
  return [...kept, ...added, ''].join('\n');
}

function keyLines(text: string) {
  return readKeyLines(text, new Diagnostics(''));
}
