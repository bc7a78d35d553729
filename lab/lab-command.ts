/** What a person can say to the lab (`npm run lab -- …`): the words, their usage text, and what they mean. No I/O. */
import { parseArgs } from 'node:util';
import { Fault } from '../src/lib/fault.ts';
import { DEVICE_KINDS, type DeviceKind } from './device-hands.ts';

export const LAB_USAGE = `The Xen lab: a real Xen host, emulated, with a shell in its dom0.

  npm run lab                               starts it and opens the shell; leaving the shell (Ctrl-\\) ends the lab
  npm run lab -- start [--guests] [--oxenstored]
                                            the same, with the guests pv and hvm, which boots them first when they
                                            are not in the cache (minutes); or booted with oxenstored in place of
                                            the C daemon

While it runs, from another terminal:

  npm run lab -- plug KIND [--serial S] [--port N] [--name NAME] [--file FILE]
                                            plugs a USB device into the host; KIND is one of
                                            ${DEVICE_KINDS.join(', ')}
  npm run lab -- pull NAME                  pulls it out; names are those that plug and list print
  npm run lab -- list                       lists what is plugged in
  npm run lab -- run 'COMMAND' [--seconds N]
                                            runs a bash command in dom0, for 60 seconds at most
  npm run lab -- freeze | thaw              stops the whole host, and lets it go on
  npm run lab -- reboot [--power-cut]       boots the host anew from its disk; what is plugged in stays so
  npm run lab -- logs                       prints what host, hypervisor, guests and store have to say
  npm run lab -- stop                       ends the lab

In dom0: xl list; in-guest pv lsusb; xl console pv (leave with Ctrl-]); hands '{"plug":"keyboard"}'.
`;

export type LabCommand =
  | { readonly verb: 'help' }
  | { readonly verb: 'start'; readonly hasGuests: boolean; readonly xenstored: 'xenstored' | 'oxenstored' }
  | {
      readonly verb: 'plug';
      readonly kind: DeviceKind;
      readonly serial?: string | undefined;
      readonly port?: string | undefined;
      readonly name?: string | undefined;
      readonly file?: string | undefined;
    }
  | { readonly verb: 'pull'; readonly name: string }
  | { readonly verb: 'run'; readonly script: string; readonly seconds: number }
  | { readonly verb: 'reboot'; readonly isPowerCut: boolean }
  | { readonly verb: 'list' | 'freeze' | 'thaw' | 'logs' | 'stop' };

const DEFAULT_SECONDS = 60;
const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  guests: { type: 'boolean' },
  oxenstored: { type: 'boolean' },
  serial: { type: 'string' },
  port: { type: 'string' },
  name: { type: 'string' },
  file: { type: 'string' },
  seconds: { type: 'string' },
  'power-cut': { type: 'boolean' },
} as const;

/** How many words a verb takes after it, and which options. */
const VERBS: Readonly<Record<string, { readonly words?: string; readonly options?: readonly string[] }>> = {
  start: { options: ['guests', 'oxenstored'] },
  plug: { words: 'KIND', options: ['serial', 'port', 'name', 'file'] },
  pull: { words: 'NAME' },
  list: {},
  run: { words: 'COMMAND', options: ['seconds'] },
  freeze: {},
  thaw: {},
  reboot: { options: ['power-cut'] },
  logs: {},
  stop: {},
};

/** Understands the words after `npm run lab --`; none mean `start`. @throws Fault `usage`, with a hint. */
export function parseLabCommand(words: readonly string[]): LabCommand {
  const { values, positionals } = parse(words);
  const [verb = 'start', word, ...rest] = positionals;
  if (values.help || verb === 'help') return { verb: 'help' };
  const known = VERBS[verb];
  if (known === undefined) throw usage(`"${verb}" is not a command of the lab`);
  for (const option of Object.keys(values))
    if (!known.options?.includes(option)) throw usage(`"${verb}" takes no --${option}`);
  if (known.words !== undefined && word === undefined) throw usage(`"${verb}" needs a ${known.words}`);
  const extra = known.words === undefined ? word : rest[0];
  if (extra !== undefined) throw usage(`"${verb}" takes no "${extra}"; a command of several words stands in quotes`);
  return commandOf(verb, word ?? '', values);
}

type Values = ReturnType<typeof parse>['values'];

function parse(words: readonly string[]) {
  try {
    return parseArgs({ args: [...words], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw usage((error as Error).message.replace(/\.? To specify.*/s, ''));
  }
}

function commandOf(verb: string, word: string, values: Values): LabCommand {
  switch (verb) {
    case 'start': {
      const isOxenstored = values.oxenstored === true;
      const hasGuests = values.guests === true;
      if (hasGuests && isOxenstored) throw usage('--guests and --oxenstored exclude each other');
      return { verb, hasGuests, xenstored: isOxenstored ? 'oxenstored' : 'xenstored' };
    }
    case 'plug': {
      const kind = DEVICE_KINDS.find((other) => other === word);
      if (kind === undefined) throw usage(`"${word}" is no kind of device: ${DEVICE_KINDS.join(', ')}`);
      const { serial, port, name, file } = values;
      if (file !== undefined && kind !== 'storage') throw usage(`a ${kind} has no --file`);
      return { verb, kind, serial, port, name, file };
    }
    case 'pull':
      return { verb, name: word };
    case 'run': {
      const seconds = Number(values.seconds ?? DEFAULT_SECONDS);
      if (!Number.isInteger(seconds) || seconds < 1) throw usage('--seconds takes a whole number from 1 on');
      return { verb, script: word, seconds };
    }
    case 'reboot':
      return { verb, isPowerCut: values['power-cut'] === true };
    default:
      return { verb: verb as 'list' | 'freeze' | 'thaw' | 'logs' | 'stop' };
  }
}

function usage(what: string): Fault {
  return new Fault('usage', { what }, { hint: 'npm run lab -- help says what there is.' });
}
