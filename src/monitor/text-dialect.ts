/**
 * The text dialect of a monitor's socket, as xenvm speaks it: a line becomes a command, an outcome becomes lines. Pure.
 * The grammar is words parted by blanks: a command, `name=value` parameters, or one bare value for the main parameter;
 * quotes (`'…'`, `"…"`) and a backslash keep blanks.
 */
import { Fault } from '../lib/fault.ts';
import { nearest, printable } from '../lib/text.ts';
import type { Verb } from './states.ts';
import type { VerbArgs } from './verbs.ts';

/** A line, understood. `help` and `quit` are the socket's own; the rest is for whom the socket was given. */
export interface TextCommand {
  readonly verb: Verb | 'status' | 'help' | 'quit';
  readonly args: VerbArgs;
}

interface ParameterRow {
  readonly name: string;
  readonly kind: 'path' | 'yes-no' | 'seconds' | 'ignore';
  /** Takes a bare value. */
  readonly isMain?: boolean;
  readonly isNeeded?: boolean;
  readonly toArgs: (value: string) => VerbArgs;
}

interface CommandRow {
  readonly verb: TextCommand['verb'];
  readonly aliases?: readonly string[];
  readonly parameters?: readonly ParameterRow[];
  readonly doc: string;
}

const FILE: ParameterRow = { name: 'file', kind: 'path', isMain: true, isNeeded: true, toArgs: (file) => ({ file }) };
const PAUSED: ParameterRow = { name: 'paused', kind: 'yes-no', toArgs: (value) => ({ isPaused: value === 'true' }) };
const TIMEOUT: ParameterRow = {
  name: 'timeout',
  kind: 'seconds',
  toArgs: (value) => ({ timeoutMs: Number(value) * 1000 }),
};
const DELETE: ParameterRow = { name: 'delete', kind: 'yes-no', toArgs: (value) => ({ isKept: value === 'false' }) };
const FORCED: ParameterRow = { name: 'forced', kind: 'yes-no', toArgs: (value) => ({ isForced: value === 'true' }) };
const LIVE: ParameterRow = { name: 'live', kind: 'yes-no', toArgs: (value) => ({ isLive: value === 'true' }) };
const DISKS: ParameterRow = { name: 'disks', kind: 'ignore', toArgs: () => ({ disks: 'ignore' }) };

const COMMANDS: readonly CommandRow[] = [
  { verb: 'help', doc: 'lists the commands' },
  { verb: 'status', doc: 'prints the power state' },
  { verb: 'start', parameters: [PAUSED], doc: 'starts the VM from its config file' },
  { verb: 'pause', doc: 'stops its virtual CPUs' },
  { verb: 'unpause', aliases: ['resume'], doc: 'lets them run again' },
  { verb: 'shutdown', aliases: ['halt'], parameters: [TIMEOUT], doc: 'asks the guest to power off and waits for it' },
  { verb: 'restart', aliases: ['reboot'], parameters: [FORCED, TIMEOUT], doc: 'shuts the VM down and starts it again' },
  { verb: 'reset', doc: 'resets it as the reset button does' },
  { verb: 'destroy', doc: 'ends it at once' },
  { verb: 'suspend', parameters: [FILE, LIVE], doc: 'saves it to a file and stops it' },
  {
    verb: 'restore',
    parameters: [{ ...FILE, isNeeded: false }, PAUSED, DELETE, DISKS],
    doc: 'goes on from the file, which is then deleted',
  },
  { verb: 'checkpoint', parameters: [FILE, LIVE, DISKS], doc: 'saves it to a file and lets it go on' },
  { verb: 'quit', doc: 'ends this monitor; the VM stays as it is' },
];

const BY_NAME: ReadonlyMap<string, CommandRow> = new Map(
  COMMANDS.flatMap((row) => [row.verb, ...(row.aliases ?? [])].map((name) => [name, row] as const)),
);

const MAX_PATH_CHARACTERS = 4096;
const MAX_SECONDS = 86_400;

/** Parses one line that is not blank. @throws Fault `usage`, `params.invalid` */
export function parseCommand(untrustedLine: string): TextCommand {
  const [untrustedName = '', ...words] = splitWords(untrustedLine);
  const row = BY_NAME.get(untrustedName.toLowerCase());
  if (row === undefined) throw unknownCommand(untrustedName);
  let args: VerbArgs = {};
  const given = new Set<ParameterRow>();
  for (const untrustedWord of words) {
    const { parameter, untrustedValue } = pickParameter(row, untrustedWord);
    if (given.has(parameter)) throw usage(row, `"${parameter.name}" is given twice`);
    given.add(parameter);
    const value = checkValue(parameter, untrustedValue);
    args = { ...args, ...parameter.toArgs(value) };
  }
  const missing = row.parameters?.find((parameter) => parameter.isNeeded && !given.has(parameter));
  if (missing !== undefined) throw usage(row, `"${row.verb}" needs ${missing.name}=${valueWord(missing)}`);
  return { verb: row.verb, args };
}

/** Gives the lines of `help`: each command with its parameters, the needed ones without brackets. */
export function helpLines(): string[] {
  const heads = COMMANDS.map((row) => ({ head: usageOf(row), row }));
  const width = Math.max(...heads.map(({ head }) => head.length));
  return heads.map(({ head, row }) => {
    const also = row.aliases === undefined ? '' : ` (also: ${row.aliases.join(', ')})`;
    return `${head.padEnd(width)}  ${row.doc}${also}`;
  });
}

/** Makes the bytes of a good answer: the lines, made harmless, and `ok`. */
export function formatOk(lines: readonly string[]): string {
  return [...lines.map((line) => printable(line, 1000)), 'ok', ''].join('\n');
}

/** Makes the bytes of a bad answer: `error CODE message`, one line, with the hint behind the message. */
export function formatError(fault: Fault): string {
  const message = fault.hint === undefined ? fault.message : `${fault.message} ${fault.hint}`;
  return `error ${fault.code} ${printable(message, 1000)}\n`;
}

/** Splits at blanks, minding quotes and backslashes. @throws Fault `usage` when a quote is not closed. */
function splitWords(line: string): string[] {
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

function pickParameter(row: CommandRow, untrustedWord: string) {
  const parameters = row.parameters ?? [];
  const equals = untrustedWord.indexOf('=');
  const named = parameters.find((parameter) => equals > 0 && parameter.name === untrustedWord.slice(0, equals));
  if (named !== undefined) return { parameter: named, untrustedValue: untrustedWord.slice(equals + 1) };
  const main = parameters.find((parameter) => parameter.isMain);
  if (main !== undefined && (equals === -1 || untrustedWord.startsWith('/'))) {
    return { parameter: main, untrustedValue: untrustedWord };
  }
  const name = printable(equals > 0 ? untrustedWord.slice(0, equals) : untrustedWord, 40);
  throw usage(row, `"${row.verb}" has no parameter "${name}"`);
}

function checkValue(parameter: ParameterRow, untrustedValue: string): string {
  const refuse = (what: string) => new Fault('params.invalid', { field: parameter.name, what });
  switch (parameter.kind) {
    case 'path':
      if (!untrustedValue.startsWith('/') || untrustedValue.includes('\0'))
        throw refuse('an absolute path is expected');
      if (untrustedValue.length > MAX_PATH_CHARACTERS) throw refuse('the path is too long');
      return untrustedValue;
    case 'yes-no':
      if (untrustedValue !== 'true' && untrustedValue !== 'false') throw refuse('true or false is expected');
      return untrustedValue;
    case 'ignore':
      if (untrustedValue !== 'ignore') throw refuse('only the word ignore is expected');
      return untrustedValue;
    case 'seconds':
      if (!/^\d{1,5}(\.\d{1,3})?$/.test(untrustedValue) || Number(untrustedValue) > MAX_SECONDS) {
        throw refuse(`a number of seconds up to ${MAX_SECONDS} is expected`);
      }
      return untrustedValue;
  }
}

function unknownCommand(untrustedName: string): Fault {
  const near = nearest(untrustedName.slice(0, 40), BY_NAME.keys());
  const hint = near === undefined ? '"help" lists the commands.' : `Did you mean "${near}"?`;
  return new Fault('usage', { what: `There is no command "${printable(untrustedName, 40)}"` }, { hint });
}

function usage(row: CommandRow, what: string): Fault {
  return new Fault('usage', { what }, { hint: `Usage: ${usageOf(row)}` });
}

function usageOf(row: CommandRow): string {
  const parameters = (row.parameters ?? []).map((parameter) => {
    const text = `${parameter.name}=${valueWord(parameter)}`;
    return parameter.isNeeded ? text : `[${text}]`;
  });
  return [row.verb, ...parameters].join(' ');
}

function valueWord(parameter: ParameterRow): string {
  return { path: 'PATH', 'yes-no': 'true|false', seconds: 'SECONDS', ignore: 'ignore' }[parameter.kind];
}
