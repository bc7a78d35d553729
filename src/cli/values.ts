/** Takes words and options out of a command line, and shows what came of it. */
import { resolve } from 'node:path';
import { Fault } from '../lib/fault.ts';
import { printableJson } from '../lib/text.ts';
import type { Context } from './command.ts';
import { parseSince } from './since.ts';

/** Gives a positional word; commander has already refused a line that lacks it. */
export function word(context: Context, index: number): string {
  return context.words[index] ?? '';
}

/** Gives an option that is text. */
export function textOption(context: Context, name: string): string | undefined {
  const value = context.options[name];
  return typeof value === 'string' ? value : undefined;
}

/** Gives an option that is a path, made absolute: the daemon has another working folder. */
export function pathOption(context: Context, name: string): string | undefined {
  const value = textOption(context, name);
  return value === undefined ? undefined : resolve(value);
}

/** Gives an option that is a whole number. @throws Fault `usage` */
export function numberOption(context: Context, name: string): number | undefined {
  const value = textOption(context, name);
  return value === undefined ? undefined : wholeNumber(value, `--${name}`);
}

/** Gives the option `--since` as milliseconds since 1970. @throws Fault `usage` */
export function sinceOption(context: Context): number | undefined {
  const value = textOption(context, 'since');
  return value === undefined ? undefined : parseSince(value, '--since', Date.now());
}

/** Parses a whole number. @throws Fault `usage` */
export function wholeNumber(text: string, what: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new Fault('usage', { what: `${what} expects a whole number, not "${text}"` });
  return Number(text);
}

/** Leaves out what is undefined or false, so that absent options are absent parameters. */
export function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined | false> } {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined && value !== false),
  ) as never;
}

/** Prints the answer: as JSON when asked, else the text for people. */
export function show(context: Context, answer: object, text: () => string): undefined {
  context.out.print(context.isJson ? prettyJson(answer) : text());
}

/** Makes JSON with a line a value; what would do harm on a terminal is escaped inside its strings. */
function prettyJson(value: object): string {
  return JSON.stringify(value, null, 2).split('\n').map(printableJson).join('\n');
}
