/**
 * The line grammar of xenvm's files: `key = value`, comments, nothing else. Knows no key. After OpenXT's xenvm
 * (`libs/common/config.ml`), but a line that it skips in silence is an error here.
 */
import { printable } from '../lib/text.ts';
import type { Diagnostics } from './diagnostics.ts';

/** One `key = value`; the value has no blanks around it and may be empty. */
export interface KeyLine {
  readonly key: string;
  readonly value: string;
  readonly line: number;
  readonly keyColumn: number;
  readonly valueColumn: number;
}

export const MAX_LINE_LENGTH = 8192;
export const MAX_FILE_LENGTH = 1024 * 1024;

/** Reads the lines of a file; what is not understood is told to `diagnostics`, and the rest is read all the same. */
export function readKeyLines(untrustedText: string, diagnostics: Diagnostics): KeyLine[] {
  if (untrustedText.length > MAX_FILE_LENGTH) {
    diagnostics.error(1, 1, `The file has more than ${MAX_FILE_LENGTH} characters.`);
    return [];
  }
  const text = untrustedText.replace(/^\u{feff}/u, ''); // Editors on Windows begin a file with a byte order mark.
  const entries: KeyLine[] = [];
  for (const [index, untrustedLine] of text.split('\n').entries()) {
    const entry = readLine(untrustedLine, index + 1, diagnostics);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

function readLine(untrustedLine: string, line: number, diagnostics: Diagnostics): KeyLine | undefined {
  if (untrustedLine.length > MAX_LINE_LENGTH) {
    diagnostics.error(line, MAX_LINE_LENGTH + 1, `The line is longer than ${MAX_LINE_LENGTH} characters.`);
    return undefined;
  }
  const text = untrustedLine.trim(); // Carriage returns of CRLF too.
  if (text === '' || text.startsWith('#')) return undefined;
  const start = untrustedLine.indexOf(text);
  const control = text.search(/[^\P{Cc}\t]/u);
  if (control !== -1) {
    const mark = printable(text.charAt(control));
    diagnostics.error(line, start + control + 1, `The control character ${mark} has no place in a config file.`);
    return undefined;
  }
  const equals = text.indexOf('=');
  const key = text.slice(0, Math.max(0, equals)).trimEnd();
  if (key === '' || /\s/.test(key)) {
    diagnostics.error(line, start + 1, `"key = value" is expected, not "${printable(text, 60)}".`);
    return undefined;
  }
  const value = text.slice(equals + 1).trimStart();
  return { key, value, line, keyColumn: start + 1, valueColumn: start + text.length - value.length + 1 };
}
