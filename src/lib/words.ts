/** Lines of words parted by blanks; quotes (`'…'`, `"…"`) and a backslash keep blanks, as in a shell. Both ways. */
import { Fault } from './fault.ts';

/** Writes words as a line that `splitWords` reads as these words; a line end in one of them stays what it is. */
export function joinWords(words: readonly string[]): string {
  return words.map((word) => (/^[\w/.:=,+-]+$/.test(word) ? word : quoted(word))).join(' ');
}

function quoted(word: string): string {
  return `"${word.replaceAll(/["\\]/g, '\\$&')}"`;
}

/** Splits at blanks, minding quotes and backslashes. @throws Fault `usage` when a quote is not closed. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let i = 0; i < line.length; i++) {
    const character = line.charAt(i);
    if (quote !== '' && character === quote) quote = '';
    else if (quote === '' && (character === '"' || character === "'")) {
      quote = character;
      word ??= '';
    } else if (character === '\\' && quote !== "'" && i + 1 < line.length) word = (word ?? '') + line.charAt(++i);
    else if (quote === '' && (character === ' ' || character === '\t')) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + character;
  }
  if (quote !== '') throw new Fault('usage', { what: `A quote ${quote} is opened and not closed` });
  if (word !== undefined) words.push(word);
  return words;
}
