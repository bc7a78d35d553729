/** Writes the syntax of xl.cfg(5): settings, numbers, strings, lists of strings. Knows no key. */

/** What a value may be. */
export type CfgValue = string | number | readonly string[];

/**
 * Prints settings, one a line; those without a value are left out. @throws RangeError for a string with a NUL, which ends
 * a text in C
 */
export function printCfg(comment: string, settings: readonly (readonly [string, CfgValue | undefined])[]): string {
  const lines = settings.flatMap(([key, value]) => (value === undefined ? [] : [`${key} = ${printValue(value)}`]));
  return [`# ${comment.replaceAll(/[\r\n]/g, ' ')}`, ...lines, ''].join('\n');
}

function printValue(value: CfgValue): string {
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return quote(value);
  return value.length === 0 ? '[]' : `[\n${value.map((item) => `  ${quote(item)},\n`).join('')}]`;
}

/**
 * Quotes a string. Only the escapes `\\`, `\"` and `\n` are used: those by number are broken in libxlu (libxlu_cfg.c,
 * `xlu__cfgl_dequote`, skips a digit of `\x41`), and every other character may stand as it is.
 */
function quote(text: string): string {
  if (text.includes('\0')) throw new RangeError('a string with a NUL cannot be told to xl');
  return `"${text.replaceAll(/["\\]/g, '\\$&').replaceAll('\n', '\\n')}"`;
}
