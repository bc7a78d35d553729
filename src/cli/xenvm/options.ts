/** The command line of xenvm: its options and help. */
import { resolve } from 'node:path';
import { Fault } from '../../lib/fault.ts';
import { parseUuid, type VmUuid } from '../../model/ids.ts';
import { type LineOptions, optionHelp, parseLine } from '../option-line.ts';

export const OPTIONS = {
  config: { type: 'string', value: 'FILE', doc: 'the config file, which may also be written alone' },
  uuid: { type: 'string', value: 'UUID', doc: 'the uuid, when the file has none; without, one is made up' },
  'strict-config': { type: 'boolean', doc: 'take a key that is not known for an error' },
  adopt: { type: 'boolean', doc: 'go on with the domain that a former xenvm has left' },
  daemonize: { type: 'boolean', doc: 'go into the background, when the VM is up' },
  'no-daemonize': { type: 'boolean', doc: 'stay in the foreground; so it does anyway' },
  'monitor-dbus': { type: 'string', value: 'BOOL', doc: 'taken; there is no D-Bus here' },
  'monitor-dbus-session': { type: 'boolean', doc: 'taken; there is no D-Bus here' },
  'monitor-json': { type: 'string', value: 'BOOL', doc: 'taken; the socket speaks text and JSON' },
  'help-config': { type: 'boolean', doc: 'print the keys of the config file' },
  help: { type: 'boolean', short: 'h', doc: 'print this' },
  version: { type: 'boolean', short: 'V', doc: 'print the version' },
} as const satisfies LineOptions;

export const HELP = `Runs one VM, as its monitor, in this process; the VM goes on when this ends.

  xenvm [options] FILE

${optionHelp(OPTIONS)}

Prints the uuid, by which xenvm-cmd finds it. SIGHUP has it read the config file again, SIGINT and SIGTERM end it as
"xenvm-cmd UUID quit" does. Devices of this host are given to the VMs of usherd alone.
Exit status: 0 it was ended; 1 another xenvm or usherd has this VM, or it could not be started; 2 a domain with that
uuid is there; 3 the line or the config is wrong.`;

export interface Asked {
  readonly file: string;
  readonly uuid: VmUuid | undefined;
  readonly isStrict: boolean;
  readonly isAdopting: boolean;
  readonly isDaemonizing: boolean;
}

/** Parses a line. @throws Fault `usage`, `vm.uuid_invalid` */
export function readAsked(words: readonly string[]): Asked | 'help' | 'help-config' | 'version' {
  const line = parseLine(words, OPTIONS);
  for (const one of ['help', 'help-config', 'version'] as const) if (line.has(one)) return one;
  const [bare, more] = line.words;
  const named = line.text('config');
  const extra = more ?? (named === undefined ? undefined : bare);
  if (extra !== undefined) throw new Fault('usage', { what: `"${extra}" is too much: one VM, one xenvm` });
  const file = named ?? bare;
  if (file === undefined)
    throw new Fault('usage', { what: 'A config file is expected' }, { hint: 'See: xenvm --help' });
  if (line.has('daemonize') && line.has('no-daemonize')) {
    throw new Fault('usage', { what: 'Give either --daemonize or --no-daemonize' });
  }
  for (const name of ['monitor-dbus', 'monitor-json'] as const) {
    const text = line.text(name);
    if (text !== undefined && !/^(true|false)$/.test(text)) {
      throw new Fault('usage', { what: `--${name} takes true or false, not "${text}"` });
    }
  }
  const uuid = line.text('uuid');
  return {
    file: resolve(file),
    uuid: uuid === undefined ? undefined : parseUuid(uuid),
    isStrict: line.has('strict-config'),
    isAdopting: line.has('adopt'),
    isDaemonizing: line.has('daemonize'),
  };
}
