/** Makes untrusted strings harmless where people see them. USB descriptors are attacker-controlled. */

/**
 * What does harm on a terminal or misleads the eye: controls, bidirectional and other format marks, invisible
 * characters, line and paragraph separators, surrogates, private use.
 */
const HARMFUL = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** What most strings are: nothing in it does harm, and a letter is a character. */
const PLAIN = /^[\x20-\x7e]*$/;

/** Escapes harmful characters as `\u{202e}` and cuts to `maxLength` characters with an ellipsis. */
export function printable(untrusted: string, maxLength = 126): string {
  if (untrusted.length <= maxLength && PLAIN.test(untrusted)) return untrusted;
  const characters = [...untrusted];
  const cut = characters.length > maxLength ? [...characters.slice(0, maxLength - 1), '…'] : characters;
  return cut.join('').replaceAll(HARMFUL, (mark) => `\\u{${mark.codePointAt(0)?.toString(16)}}`);
}

/** Escapes harmful characters in JSON without line ends, where they can stand only in strings: it means the same still. */
export function printableJson(json: string): string {
  const escapeUnit = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return json.replaceAll(HARMFUL, (mark) => mark.split('').map(escapeUnit).join(''));
}

/** Replaces each harmful character by a space and trims: for names that are shown where an escape would only disturb. */
export function plainName(untrusted: string, maxLength = 126): string {
  return printable(untrusted.replaceAll(HARMFUL, ' ').replaceAll(/\s+/g, ' ').trim(), maxLength);
}

/** Joins words as a person would: `a`, `a or b`, `a, b or c`. */
export function listWords(words: readonly string[], conjunction = 'or'): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} ${conjunction} ${words.at(-1)}`;
}

/** Gives `1.5 MiB` for 1572864. */
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const step = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** step;
  return `${step === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

/** Gives the candidate nearest to `word` by edit distance, if it is near enough to be a slip of the pen. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
