/**
 * The text dialect of a monitor's socket, as xenvm speaks it: a line becomes a command, an outcome becomes lines. Pure.
 * The words of a line (../lib/words.ts): a command, `name=value` parameters, or one bare value for the main parameter.
 */
import type { Fault } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';
import { splitWords } from '../lib/words.ts';
import { type MonitorCommand, makeCommand } from './commands.ts';
import { inStateWords } from './state-words.ts';

/** Parses one line that is not blank. @throws Fault `usage`, `params.invalid` */
export function parseCommand(untrustedLine: string): MonitorCommand {
  const [untrustedName = '', ...words] = splitWords(untrustedLine);
  const untrustedArguments = words.map((word) => {
    const equals = word.indexOf('=');
    return equals > 0
      ? { name: word.slice(0, equals), value: word.slice(equals + 1) }
      : { name: undefined, value: word };
  });
  return makeCommand(untrustedName, untrustedArguments);
}

/** The longest that a setting of a config can be when each of its characters is escaped: no answer is cut. */
const MAX_ANSWER_CHARACTERS = 96 * 1024;

/** Makes the bytes of a good answer: the lines, made harmless, and `ok`. */
export function formatOk(lines: readonly string[]): string {
  return [...lines.map((line) => printable(line, MAX_ANSWER_CHARACTERS)), 'ok', ''].join('\n');
}

/** Makes the bytes of a bad answer: `error CODE message`, one line, with the hint behind the message. */
export function formatError(fault: Fault): string {
  return `error ${fault.code} ${printable(sentenceOf(fault), 1000)}\n`;
}

/** Says what went wrong in one line, and what to do about it, with the original's words for states. */
export function sentenceOf(fault: Fault): string {
  const { message, hint } = inStateWords(fault);
  return hint === undefined ? message : `${message} ${hint}`;
}
