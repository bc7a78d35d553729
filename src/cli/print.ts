/** Tables, JSON and sizes for people. Texts come escaped from the daemon; here they are only laid out. */
import { stripVTControlCharacters, styleText } from 'node:util';
import type { Output } from './command.ts';

export interface Column<T> {
  readonly title: string;
  readonly of: (row: T) => string;
  /** When the table is wider than the terminal: columns of turn 1 are shortened first, none below its `least`. */
  readonly yields?: { readonly turn: 1 | 2 | 3; readonly least: number };
}

const GAP = '  ';

/** Lays rows out in columns; wider than the terminal, columns that yield are shortened. No rows: the titles alone. */
export function table<T>(rows: readonly T[], columns: readonly Column<T>[], out: Output): string {
  const cells = rows.map((row) => columns.map((column) => column.of(row)));
  // A question to the whole table instead of three to each cell: most tables are plain, and may have thousands of cells.
  const measure = PLAIN.test(cells.flat().join('')) ? lengthOf : widthOf;
  const widths = columns.map(({ title }) => title.length);
  for (const line of cells) {
    for (let i = 0; i < widths.length; i++) widths[i] = Math.max(widths[i] ?? 0, measure(line[i] ?? ''));
  }
  if (out.columns !== undefined) shrink(widths, columns, out.columns);
  const layOut = (line: readonly string[]) =>
    line
      .map((cell, i) => fit(cell, widths[i] ?? 0, measure))
      .join(GAP)
      .trimEnd();
  const title = layOut(columns.map((column) => column.title));
  return [out.isTerminal ? styleText('bold', title) : title, ...cells.map(layOut)].join('\n');
}

/** Makes columns narrower, turn by turn, of a turn the widest first, until the table fits or none can give more. */
function shrink(widths: number[], columns: readonly Pick<Column<never>, 'yields'>[], available: number): void {
  let excess = widths.reduce((sum, width) => sum + width + GAP.length, -GAP.length) - available;
  for (const turn of [1, 2, 3]) {
    while (excess > 0) {
      let widest = -1;
      for (const [i, { yields }] of columns.entries()) {
        const width = widths[i] ?? 0;
        if (yields?.turn === turn && width > yields.least && width > (widths[widest] ?? 0)) widest = i;
      }
      if (widest === -1) break;
      widths[widest] = (widths[widest] ?? 0) - 1;
      excess--;
    }
  }
}

/** Makes the cell that wide: fills it up, or cuts it. */
function fit(cell: string, width: number, measure: (text: string) => number): string {
  const own = measure(cell);
  if (own <= width) return cell + ' '.repeat(width - own);
  let kept = '';
  for (const character of cell) {
    if (measure(kept + character) >= width) break;
    kept += character;
  }
  return `${kept}…${' '.repeat(Math.max(0, width - measure(kept) - 1))}`;
}

/** Text in which each character takes one column and is one. */
const PLAIN = /^[ -~]*$/;

function lengthOf(plain: string): number {
  return plain.length;
}

/** Characters that take two columns: East Asian scripts, their full-width forms, pictures. */
const WIDE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\uff01-\uff60\uffe0-\uffe6]/u;

function widthOf(cell: string): number {
  let width = 0;
  for (const character of stripVTControlCharacters(cell)) {
    width += /\p{Mn}/u.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  }
  return width;
}
