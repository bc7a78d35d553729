/** Keys of a VM's life: what a start makes of it, what its deaths are answered by, what is logged. */
import type { DeathAction, Startup } from '../model/vm.ts';
import { DEATH_ACTIONS } from '../model/vm.ts';
import { parseNotify, printNotify } from './notify.ts';
import { parsePath, parseWord, type ValueContext } from './values.ts';
import { booleanRow, depends, type HonourRule, type Honours, honoured, row, type VmKey } from './vm-key.ts';

export const DEFAULT_DEATH_ACTIONS = { onCrash: 'destroy', onHalt: 'destroy', onReboot: 'restart' } as const;

const byMonitor = (says: string): Honours => {
  const rule = honoured(says);
  return { xen: rule, qemu: rule, simulator: rule };
};

const deathKey = (
  field: 'onCrash' | 'onHalt' | 'onReboot',
  key: string,
  when: string,
  aliases: readonly string[] = [],
) =>
  row(field, {
    key,
    aliases,
    type: 'word',
    takes: 'destroy, restart (or reboot) or preserve',
    otherwise: DEFAULT_DEATH_ACTIONS[field],
    meaning: `What is done when the guest ${when} by itself: gone, started again from its file, or left for inspection.`,
    honours: byMonitor("done by the VM's monitor"),
    parse: (text, context) => parseWord<DeathAction>(text, context, DEATH_ACTIONS, { reboot: 'restart' }),
    print: (value) => value,
  });

const NOTIFIED: HonourRule = depends("told by the VM's monitor; tcp and dbus are ignored", (text) =>
  /^(tcp|dbus)/.test(text)
    ? { does: 'ignored', why: 'Usher tells by unix sockets alone; other programs can follow "usher events"' }
    : { does: 'honoured', says: "told by the VM's monitor" },
);

export const LIFE_KEYS: readonly VmKey[] = [
  row('startup', {
    key: 'startup',
    type: 'text',
    takes: 'started, paused, shutdown or restore FILE',
    otherwise: 'started',
    meaning:
      'What a start makes of the VM: it runs, it is left paused, or it goes on from a save file, which is kept. With shutdown it is not started with the host.',
    honours: byMonitor("done by the VM's monitor"),
    parse: parseStartup,
    print: (value) => (value.do === 'restore' ? `restore ${value.file}` : value.do),
  }),
  deathKey('onCrash', 'on_crash', 'crashes'),
  deathKey('onHalt', 'on_halt', 'powers off'),
  deathKey('onReboot', 'on_reboot', 'reboots', ['on_restart']),
  booleanRow('isDebugged', {
    key: 'debug',
    otherwise: 'false',
    meaning:
      "Whether all that is done to the VM is written into a log of its own: UUID.debug.log in the folder of the VMs' logs, which is Usher's alone.",
    honours: byMonitor('what the driver is asked for, and what comes of it'),
  }),
  row('notify', {
    key: 'notify',
    type: 'text',
    takes: 'unix,PATH, or none; tcp,HOST:PORT and dbus are ignored',
    otherwise: 'none',
    meaning:
      'The unix socket of a program that is told what becomes of the VM, a line each, as after the command subscribe. It is connected to while the monitor is there, again and again when nobody listens.',
    empty: 'as no line',
    honours: { xen: NOTIFIED, qemu: NOTIFIED, simulator: NOTIFIED },
    parse: parseNotify,
    print: printNotify,
  }),
];

const STARTUP_WORDS = { start: 'started', poweroff: 'shutdown', 'restore-del': 'restore' } as const;

function parseStartup(text: string, context: ValueContext): Startup | undefined {
  const space = text.search(/\s/);
  const word = space === -1 ? text : text.slice(0, space);
  const rest = space === -1 ? '' : text.slice(space).trim();
  const startup = parseWord(word, context, ['started', 'paused', 'shutdown', 'restore'], STARTUP_WORDS);
  if (startup === undefined) return undefined;
  if (startup !== 'restore') {
    if (rest === '') return { do: startup };
    return context.error(`Nothing is expected behind "${word}".`, text.length - rest.length);
  }
  if (word === 'restore-del') context.warn('The file is kept after it was restored: Usher removes none by itself.');
  const file = parsePath(rest, { ...context, key: 'startup restore' });
  return file === undefined ? undefined : { do: 'restore', file };
}
