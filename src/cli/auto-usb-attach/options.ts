/** The command line of auto-usb-attach: its options, and the settings that come of them and of a file. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import {
  AUTO_ATTACH_SETTINGS,
  type AutoAttachSettings,
  type AutoAttachWords,
  completeWords,
  joinWords,
} from '../../config/auto-usb-attach.ts';
import { configFault, formatDiagnostic } from '../../config/diagnostics.ts';
import { Fault, messageOf } from '../../lib/fault.ts';
import { type LineOptions, optionHelp, type ParsedLine, parseLine } from '../option-line.ts';
import type { Verbosity } from './journal.ts';

export const OPTIONS = {
  domain: { type: 'string', short: 'd', value: 'DOMAIN', doc: 'the VM that gets the devices' },
  hub: { type: 'string', short: 'u', multiple: true, value: 'HUB', doc: 'watch this hub: usb3, 1-1; may come again' },
  'specific-device': {
    ...{ type: 'string', short: 'x', multiple: true, value: 'VID:PID' },
    doc: 'watch for this kind of device anywhere; may come again',
  },
  config: { type: 'string', short: 'c', value: 'FILE', doc: 'read settings from a YAML file' },
  'wait-on-shutdown': { type: 'boolean', short: 'w', doc: 'when the VM shuts down, wait for its next start' },
  'no-wait': { type: 'boolean', short: 'n', doc: 'end at once when the VM does not run' },
  'usb-version': { type: 'string', value: '1|2|3', doc: 'taken; the daemon chooses the controllers that it adds' },
  'qmp-socket': { type: 'string', short: 's', value: 'PATH', doc: 'taken; the daemon has its own way to QEMU' },
  'log-file': { type: 'string', short: 'l', value: 'PATH', doc: 'add what is said to this file, too' },
  'no-daemon': { type: 'boolean', doc: 'taken; it always stays in the foreground' },
  verbose: { type: 'boolean', short: 'v', multiple: true, doc: 'say more; up to three times' },
  quiet: { type: 'boolean', short: 'q', doc: 'say only what is wrong' },
  help: { type: 'boolean', short: 'h', doc: 'print this' },
  version: { type: 'boolean', short: 'V', doc: 'print the version' },
} as const satisfies LineOptions;

export const HELP = `Gives a VM whatever is plugged into certain hubs, for as long as this runs.

  auto-usb-attach -d DOMAIN -u HUB [-u HUB ...] [-x VID:PID ...]
  auto-usb-attach -c FILE

${optionHelp(OPTIONS)}

Keys of the file: ${Object.values(AUTO_ATTACH_SETTINGS)
  .map(({ key }) => key)
  .join(', ')}. Options go before them; hubs and devices of both are watched.
Devices that are attached when this ends stay so until they are unplugged. Without a daemon this is one itself.
To have the same for good, without this: usher usb assign DOMAIN 'dom0:1-1.*' --auto
Exit status: 0 it was ended, or the VM was shut down; 1 it failed; 2 the line or the file is wrong.`;

export interface Asked {
  readonly settings: AutoAttachSettings;
  readonly verbosity: Verbosity;
  /** What of the file is not understood, a line each. */
  readonly warnings: readonly string[];
}

/** Parses a line, and reads its file. @throws Fault `usage`, `config.invalid`, `file.unreadable` */
export async function readAsked(words: readonly string[]): Promise<Asked | 'help' | 'version'> {
  const line = parseLine(words, OPTIONS);
  if (line.has('help')) return 'help';
  if (line.has('version')) return 'version';
  const [more] = line.words;
  if (more !== undefined) refuse(`"${more}" is too much`);
  if (line.has('quiet') && line.has('verbose')) refuse('give either -v or -q');
  const verbosity = line.has('quiet') ? -1 : (Math.min(3, line.count('verbose')) as Verbosity);
  const file = line.text('config');
  const { words: ofFile, warnings } = file === undefined ? { words: {}, warnings: [] } : await readWords(file);
  const settings = completeWords(joinWords(ofFile, ofLine(line)));
  if ('missing' in settings) refuse(settings.missing);
  return { settings, verbosity, warnings };
}

/** Lists all settings, as they are told at the start. */
export function settingLines(settings: AutoAttachSettings): string[] {
  return Object.entries(AUTO_ATTACH_SETTINGS).map(([name, { key }]) => {
    const value = settings[name as keyof AutoAttachSettings];
    const text = Array.isArray(value) ? value.join(' ') : String(value ?? '');
    return `${key}: ${text === '' ? '-' : text}`;
  });
}

async function readWords(file: string): Promise<{ words: AutoAttachWords; warnings: readonly string[] }> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new Fault('file.unreadable', { file, what: messageOf(error) }, { cause: error });
  });
  const { parseAutoAttachFile } = await import('../../config/auto-usb-attach-file.ts');
  const { words, errors, warnings } = parseAutoAttachFile(text, file);
  if (words === undefined) throw configFault(errors);
  return { words: absolute(words), warnings: warnings.map(formatDiagnostic) };
}

function ofLine(line: ParsedLine): AutoAttachWords {
  const { domain, hubs, devices, usbVersion } = AUTO_ATTACH_SETTINGS;
  const take = <T>(
    option: string,
    row: { takes: string; accept(value: unknown): T | undefined },
    value: unknown,
  ): T => {
    const accepted = row.accept(value);
    if (accepted === undefined) refuse(`--${option} takes ${row.takes}, not "${value}"`);
    return accepted;
  };
  const one = <T>(name: string, value: T | undefined) => (value === undefined ? {} : { [name]: value });
  const name = line.text('domain');
  const version = line.text('usb-version');
  return absolute({
    ...one('domain', name === undefined ? undefined : take('domain', domain, name)),
    hubs: line.texts('hub').map((text) => take('hub', hubs, text)),
    devices: line.texts('specific-device').map((text) => take('specific-device', devices, text)),
    ...one('qmpSocket', line.text('qmp-socket')),
    ...one('usbVersion', version === undefined ? undefined : take('usb-version', usbVersion, Number(version))),
    ...(line.has('wait-on-shutdown') ? { isWaitingOnShutdown: true } : {}),
    ...(line.has('no-wait') ? { isWaitingForDomain: false } : {}),
    ...one('logFile', line.text('log-file')),
  });
}

function absolute(words: AutoAttachWords): AutoAttachWords {
  return words.logFile === undefined ? words : { ...words, logFile: resolve(words.logFile) };
}

function refuse(what: string): never {
  throw new Fault('usage', { what });
}
