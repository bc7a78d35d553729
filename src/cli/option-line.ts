/** Command lines of the compatible commands: words to options by node:util, its complaints to faults, options to help. */
import { parseArgs } from 'node:util';
import { Fault } from '../lib/fault.ts';

/** An option, as `parseArgs` takes it, and what help says of it. */
export interface LineOption {
  readonly type: 'boolean' | 'string';
  readonly short?: string;
  readonly multiple?: boolean;
  /** What its value is, for help: `DOMAIN`. */
  readonly value?: string;
  readonly doc: string;
}
export type LineOptions = Readonly<Record<string, LineOption>>;

export interface ParsedLine {
  readonly words: readonly string[];
  has(name: string): boolean;
  /** How often it stands there. */
  count(name: string): number;
  text(name: string): string | undefined;
  texts(name: string): readonly string[];
}

/** Parses a line; options and other words may stand in any order. @throws Fault `usage` */
export function parseLine(words: readonly string[], options: LineOptions): ParsedLine {
  const { values, positionals } = parse(words, options);
  const all = (name: string) => [values[name] ?? []].flat();
  const texts = (name: string) => all(name).filter((value) => typeof value === 'string');
  return {
    words: positionals,
    has: (name) => all(name).length > 0,
    count: (name) => all(name).length,
    text: (name) => texts(name).at(-1),
    texts,
  };
}

function parse(words: readonly string[], options: LineOptions) {
  try {
    return parseArgs({ args: [...words], options, allowPositionals: true, strict: true });
  } catch (error) {
    // "Unknown option '--x'. To specify a positional argument …": the first sentence says it.
    const what = (error as Error).message.split('. ')[0] ?? '';
    throw new Fault('usage', { what });
  }
}

/** Writes options as lines of help. */
export function optionHelp(options: LineOptions): string {
  const rows = Object.entries(options).map(([name, { short, value, doc }]) => {
    const long = `--${name}${value === undefined ? '' : ` ${value}`}`;
    return [short === undefined ? `    ${long}` : `-${short}, ${long}`, doc] as const;
  });
  const width = Math.max(...rows.map(([flags]) => flags.length));
  return rows.map(([flags, doc]) => `  ${flags.padEnd(width)}  ${doc}`).join('\n');
}

/** Gives the option that a word of a line is, when a value follows it. */
export function valuedOption(word: string | undefined, options: LineOptions): string | undefined {
  return Object.entries(options).find(
    ([name, { type, short }]) =>
      type === 'string' && word !== undefined && (word === `--${name}` || word === `-${short ?? ''}`),
  )?.[0];
}
