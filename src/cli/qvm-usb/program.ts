/** qvm-usb as a whole: which form a line has, help, completion, and what a fault is to those who call it from scripts. */
import { asFault, EXIT, type Fault, type FaultCode } from '../../lib/fault.ts';
import { type LineOptions, optionHelp, parseLine, valuedOption } from '../option-line.ts';
import { VERSION } from '../version.ts';
import { OLD_OPTIONS, runOldForm } from './old-forms.ts';
import type { Means } from './places.ts';
import { VERBS, type Verb } from './verbs.ts';

/** The line is wrong: exit status 2, as the option parsers of the originals gave it. Anything else is 1. */
const LINE_FAULTS: ReadonlySet<FaultCode> = new Set<FaultCode>([
  'usage',
  'params.invalid',
  'vm.not_found',
  'vm.name_invalid',
  'usb.device_not_found',
  'usb.device_invalid',
]);

/** Runs one line; gives the exit status. Writes what goes wrong on standard error, and throws nothing. */
export async function runQvmUsb(words: readonly string[], means: Means): Promise<number> {
  try {
    return await run(words, means);
  } catch (error) {
    return report(asFault(error), means);
  }
}

async function run(words: readonly string[], means: Means): Promise<number> {
  const verb = verbOf(words[0]);
  if (verb !== undefined) {
    const line = parseLine(words.slice(1), { ...verb.options, help: OLD_OPTIONS.help });
    if (line.has('help')) return print(means, verbHelp(verb));
    return (await verb.run(means, line)) ?? EXIT.ok;
  }
  const line = parseLine(words, OLD_OPTIONS);
  if (line.has('help')) return print(means, HELP);
  if (line.has('version')) return print(means, `qvm-usb of Usher ${VERSION}`);
  if (line.has('list-device-classes')) return print(means, 'usb');
  return await runOldForm(means, line);
}

/** Gives what may stand in the place of the last of `words`. Names come from the daemon; without one there are none. */
export async function completeQvmUsb(words: readonly string[], daemon: Means['daemon']): Promise<readonly string[]> {
  const typed = words.slice(0, -1);
  const last = words.at(-1) ?? '';
  const verb = verbOf(typed[0]);
  const options: LineOptions = verb?.options ?? OLD_OPTIONS;
  if (last.startsWith('-')) return Object.keys(options).map((name) => `--${name}`);
  const valued = valuedOption(typed.at(-1), options);
  if (valued !== undefined) return valued === 'exclude' ? await names(daemon) : [];
  if (typed.length === 0) return VERBS.map(({ name }) => name);
  const taken = typed.filter((word, i) => !word.startsWith('-') && valuedOption(typed[i - 1], options) === undefined);
  if (verb !== undefined) {
    const place = taken.length - 1;
    const kind = verb.words[place] ?? (verb.isRepeated ? verb.words.at(-1) : undefined);
    return kind === undefined ? [] : await candidates(kind, daemon);
  }
  const isAsked = (name: 'attach' | 'detach') =>
    typed.includes(`--${name}`) || typed.includes(`-${options[name]?.short}`);
  if (isAsked('attach') && taken.length < 2) return await candidates(taken.length === 0 ? 'vm' : 'device', daemon);
  return isAsked('detach') && taken.length === 0 ? await candidates('device', daemon) : [];
}

async function candidates(kind: 'vm' | 'device', daemon: Means['daemon']): Promise<readonly string[]> {
  if (kind === 'vm') return await names(daemon);
  return (await (await daemon()).call('usb.list', {})).map(({ device }) => device);
}

async function names(daemon: Means['daemon']): Promise<readonly string[]> {
  return (await (await daemon()).call('vm.list', {})).map(({ name }) => name);
}

function verbOf(word: string | undefined): Verb | undefined {
  return VERBS.find(({ name, aliases }) => word !== undefined && (name === word || aliases.includes(word)));
}

function report(fault: Fault, { out }: Means): number {
  const isOfLine = LINE_FAULTS.has(fault.code);
  out.tell(isOfLine ? `qvm-usb: error: ${fault.message}` : `ERROR: ${fault.message}`);
  if (fault.hint !== undefined) out.tell(`       ${fault.hint}`);
  return isOfLine ? EXIT.usage : EXIT.failed;
}

function print({ out }: Means, text: string): number {
  out.print(text);
  return EXIT.ok;
}

const SYNOPSES = VERBS.map(({ name, takes }) => `  qvm-usb ${name} ${takes}`).join('\n');

const HELP = `Lists USB devices and moves them between VMs, through Usher's daemon.

  qvm-usb -l
  qvm-usb -a [--no-auto-detach] VM BACKEND:PORT
  qvm-usb -d VM:CONTROLLER-PORT | BACKEND:PORT | VM
${SYNOPSES}

${optionHelp(OLD_OPTIONS)}

Verbs have short forms: ${VERBS.map(({ name, aliases }) => `${name} (${aliases.join(', ')})`).join(', ')}.
Each has help of its own: qvm-usb VERB --help. Exit status: 0 done, 1 it failed, 2 the line is wrong.`;

function verbHelp({ name, aliases, takes, says, options }: Verb): string {
  const own = Object.keys(options).length === 0 ? [] : ['', optionHelp(options)];
  return [`qvm-usb ${name} ${takes}`, '', `${says} Also: ${aliases.join(', ')}.`, ...own].join('\n');
}
