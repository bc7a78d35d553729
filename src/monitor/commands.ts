/**
 * The commands of xenvm: what each is called, by the readme or by the programs, and what it takes. How a command is written
 * is text-dialect.ts and framed-rpc.ts, what it does is the daemon's business. Pure.
 */
import { Fault } from '../lib/fault.ts';
import { nearest, printable } from '../lib/text.ts';
import { checkValue, type ParameterKind, valueWord } from './parameters.ts';

/** What is asked for, in the words of Usher's operations. */
export type CommandParams = Readonly<Record<string, string | number | boolean>>;

export interface MonitorCommand {
  readonly name: CommandName;
  readonly params: CommandParams;
}

/** Values that were given, each of its kind, by the names of the parameters. */
type Given = Readonly<Record<string, string>>;

interface ParameterRow {
  readonly name: string;
  readonly kind: ParameterKind;
  readonly aliases?: readonly string[];
  /** Takes a value that is written without a name. */
  readonly isMain?: boolean;
  readonly isNeeded?: boolean;
}

interface CommandRow {
  /** Every spelling besides: of the readme, of the first xenvm and of the last. */
  readonly aliases?: readonly string[];
  readonly parameters?: readonly ParameterRow[];
  /** Gives what is asked for; absent: nothing but the command itself. */
  readonly params?: (given: Given) => CommandParams;
  readonly doc: string;
}

const FILE: ParameterRow = { name: 'file', kind: 'path', isMain: true, isNeeded: true };
const PAUSED: ParameterRow = { name: 'paused', kind: 'yes-no' };
const FORCED: ParameterRow = { name: 'forced', kind: 'yes-no' };
const TIMEOUT: ParameterRow = { name: 'timeout', kind: 'seconds' };
const LIVE: ParameterRow = { name: 'live', kind: 'yes-no' };
const DISKS: ParameterRow = { name: 'disks', kind: 'ignore' };
const VIRTPATH: ParameterRow = { name: 'virtpath', kind: 'disk', aliases: ['target'], isNeeded: true };

const isYes = (value: string | undefined) => value === 'true';
const power = ({ paused, forced, timeout, file, live, disks, delete: isDeleted }: Given): CommandParams => ({
  ...(paused === undefined ? {} : { isPaused: isYes(paused) }),
  ...(forced === undefined ? {} : { isForced: isYes(forced) }),
  ...(timeout === undefined ? {} : { timeoutSeconds: Number(timeout) }),
  ...(file === undefined ? {} : { file }),
  ...(live === undefined ? {} : { isLive: isYes(live) }),
  ...(disks === undefined ? {} : { disks }),
  ...(isDeleted === undefined ? {} : { isKept: !isYes(isDeleted) }),
});
/** Parts of a value that the config file writes as `name=value,name=value`. */
const parts = (names: readonly string[], given: Given): string =>
  names.flatMap((name) => (given[name] === undefined ? [] : [`${name}=${given[name]}`])).join(',');

export const COMMANDS = {
  help: { doc: 'lists the commands' },
  status: { aliases: ['get-status'], doc: 'prints the state' },
  'get-domid': { aliases: ['domid'], doc: "prints the hypervisor's number of the domain, -1 when there is none" },
  'get-stubdomid': { doc: 'prints the domid of its stub domain, -1 when there is none' },
  'get-vnc': { aliases: ['vnc'], doc: 'prints the port of its VNC display, nothing when there is none' },
  start: { parameters: [PAUSED], params: power, doc: 'starts the VM from its config file' },
  pause: { doc: 'stops its virtual CPUs' },
  unpause: { aliases: ['resume'], doc: 'lets them run again' },
  shutdown: {
    aliases: ['halt'],
    parameters: [FORCED, TIMEOUT],
    params: power,
    doc: 'asks the guest to power off and waits for it; forced: ends it at once',
  },
  restart: {
    aliases: ['reboot'],
    // `reboot` of the last xenvm leaves the VM stopped without auto-start=true, which nobody wants who says reboot.
    parameters: [FORCED, TIMEOUT, { name: 'auto-start', kind: 'yes-no' }],
    params: power,
    doc: 'shuts the VM down and starts it again',
  },
  reset: { doc: 'resets it as the reset button does' },
  destroy: { doc: 'ends it at once' },
  suspend: { parameters: [FILE, LIVE], params: power, doc: 'saves it to a file and stops it' },
  restore: {
    parameters: [{ ...FILE, isNeeded: false }, PAUSED, { name: 'delete', kind: 'yes-no' }, DISKS],
    params: power,
    doc: 'goes on from the file, which is then deleted',
  },
  checkpoint: { parameters: [FILE, LIVE, DISKS], params: power, doc: 'saves it to a file and lets it go on' },
  get: {
    parameters: [{ name: 'field', kind: 'key', isMain: true, isNeeded: true }],
    params: ({ field = '' }) => ({ key: field }),
    doc: 'prints a setting of the next config',
  },
  set: {
    parameters: [
      { name: 'field', kind: 'key', isNeeded: true },
      { name: 'value', kind: 'text', isMain: true, isNeeded: true },
    ],
    params: ({ field = '', value = '' }) => ({ key: field, value }),
    doc: 'changes a setting of the next config; nothing behind value= takes it out',
  },
  'disk-list': { doc: 'lists the disks of the next config' },
  'disk-add': {
    parameters: [
      { name: 'physpath', kind: 'path', isNeeded: true },
      { name: 'phystype', kind: 'word' },
      { ...VIRTPATH },
      { name: 'mode', kind: 'word' },
      { name: 'devtype', kind: 'word' },
    ],
    params: ({ physpath, phystype = 'file', virtpath, mode = 'w', devtype = 'disk' }) => ({
      key: 'disk',
      value: [physpath, phystype, virtpath, mode, devtype].join(':'),
      isAdded: true,
    }),
    doc: 'adds a disk to the next config',
  },
  'nic-list': { aliases: ['vif-list'], doc: 'lists the network interfaces of the next config' },
  'nic-add': {
    aliases: ['vif-add'],
    parameters: ['id', 'network', 'bridge', 'model', 'mac'].map((name) => ({ name, kind: 'word' })),
    params: (given) => ({
      key: 'nic',
      value: parts(['id', 'network', 'bridge', 'model', 'mac'], given),
      isAdded: true,
    }),
    doc: 'adds a network interface to the next config',
  },
  'pci-list': { doc: 'lists the PCI devices of the next config' },
  'pci-add': {
    parameters: [
      { name: 'pci', kind: 'word', isMain: true, isNeeded: true },
      { name: 'id', kind: 'word' },
    ],
    params: ({ pci = '', id }) => ({ key: 'pci', value: id === undefined ? pci : `${id},${pci}`, isAdded: true }),
    doc: 'adds a PCI device, DOMAIN:BUS:SLOT.FUNCTION, to the next config',
  },
  'cd-insert': {
    aliases: ['cd-insert-file', 'cd-insert-real'],
    parameters: [VIRTPATH, { name: 'physpath', kind: 'path', aliases: ['file'], isMain: true, isNeeded: true }],
    params: ({ virtpath = '', physpath = '' }) => ({ target: virtpath, file: physpath }),
    doc: 'puts a medium into a CD drive',
  },
  'cd-eject': {
    parameters: [{ ...VIRTPATH, isMain: true }],
    params: ({ virtpath = '' }) => ({ target: virtpath }),
    doc: 'takes the medium out of a CD drive',
  },
  'set-mem-target': {
    parameters: [{ name: 'mb', kind: 'mib', isMain: true, isNeeded: true }],
    params: ({ mb }) => ({ memoryMiB: Number(mb) }),
    doc: 'has the guest give memory back, or take it, until it has so much',
  },
  trigger: {
    parameters: [{ name: 'params', kind: 'word', isMain: true, isNeeded: true }],
    params: ({ params = '' }) => ({ trigger: params }),
    doc: 'sends it power, sleep, s3resume or nmi',
  },
  'read-config': {
    aliases: ['reload'],
    parameters: [{ name: 'path', kind: 'path', isMain: true }],
    params: ({ path }) => (path === undefined ? {} : { path }),
    doc: 'reads the config file again, or another, and forgets what set and add have changed',
  },
  subscribe: { doc: 'sends a line of notification at each change, until the client hangs up' },
  quit: { doc: 'ends this monitor; the VM stays as it is' },
} as const satisfies Record<string, CommandRow>;

export type CommandName = keyof typeof COMMANDS;

const ROWS: ReadonlyMap<string, CommandRow & { readonly name: CommandName }> = new Map(
  (Object.keys(COMMANDS) as CommandName[]).flatMap((name) => {
    const row: CommandRow = COMMANDS[name];
    return [name, ...(row.aliases ?? [])].map((spelling) => [spelling, { ...row, name }] as const);
  }),
);

/** Lists every spelling of every command, with the command that it stands for. */
export function spellings(): readonly (readonly [spelling: string, name: CommandName])[] {
  return [...ROWS].map(([spelling, { name }]) => [spelling, name]);
}

/** Tells whether there is a command that is called so. */
export function isCommand(untrustedName: string): boolean {
  return findRow(untrustedName) !== undefined;
}

/** A value as it came, with the parameter's name if it was written. */
export interface UntrustedArgument {
  readonly name: string | undefined;
  readonly value: string;
}

/**
 * Makes a command of a name and what came with it. A value that has no name, or a path in which a `=` stands, is for the
 * main parameter. @throws Fault `usage`, `params.invalid`
 */
export function makeCommand(untrustedName: string, untrustedArguments: readonly UntrustedArgument[]): MonitorCommand {
  const row = findRow(untrustedName);
  if (row === undefined) throw unknownCommand(untrustedName);
  const given: Record<string, string> = {};
  for (const argument of untrustedArguments) {
    const { parameter, untrustedValue } = pickParameter(row, argument);
    if (Object.hasOwn(given, parameter.name)) throw usage(row, `"${parameter.name}" is given twice`);
    given[parameter.name] = checkValue(parameter, untrustedValue);
  }
  const missing = row.parameters?.find(({ name, isNeeded }) => isNeeded && !Object.hasOwn(given, name));
  if (missing !== undefined) throw usage(row, `"${row.name}" needs ${missing.name}=${valueWord(missing.kind)}`);
  return { name: row.name, params: row.params?.(given) ?? {} };
}

/** Gives the lines of `help`: each command with its parameters, the needed ones without brackets. */
export function helpLines(): string[] {
  const rows = (Object.keys(COMMANDS) as CommandName[]).map((name) => ({ ...(COMMANDS[name] as CommandRow), name }));
  const heads = rows.map((row) => ({ head: usageOf(row), row }));
  const width = Math.min(44, Math.max(...heads.map(({ head }) => head.length)));
  return heads.map(({ head, row: { aliases, doc } }) => {
    const also = aliases === undefined ? '' : ` (also: ${aliases.join(', ')})`;
    return `${head.padEnd(width)}  ${doc}${also}`;
  });
}

/** On D-Bus the names had underscores. */
function findRow(untrustedName: string) {
  return untrustedName.length > 40 ? undefined : ROWS.get(untrustedName.toLowerCase().replaceAll('_', '-'));
}

function pickParameter(row: CommandRow & { readonly name: string }, { name, value }: UntrustedArgument) {
  const parameters = row.parameters ?? [];
  const named = parameters.find((parameter) => parameter.name === name || parameter.aliases?.includes(name ?? ''));
  if (named !== undefined) return { parameter: named, untrustedValue: value };
  const main = parameters.find((parameter) => parameter.isMain);
  const whole = name === undefined ? value : `${name}=${value}`;
  if (main !== undefined && (name === undefined || whole.startsWith('/'))) {
    return { parameter: main, untrustedValue: whole };
  }
  throw usage(row, `"${row.name}" has no parameter "${printable(name ?? value, 40)}"`);
}

function unknownCommand(untrustedName: string): Fault {
  const near = nearest(untrustedName.slice(0, 40), ROWS.keys());
  const hint = near === undefined ? '"help" lists the commands.' : `Did you mean "${near}"?`;
  return new Fault('usage', { what: `There is no command "${printable(untrustedName, 40)}"` }, { hint });
}

function usage(row: CommandRow & { readonly name: string }, what: string): Fault {
  return new Fault('usage', { what }, { hint: `Usage: ${usageOf(row)}` });
}

function usageOf({ name, parameters = [] }: CommandRow & { readonly name: string }): string {
  const words = parameters.map((parameter) => {
    const text = `${parameter.name}=${valueWord(parameter.kind)}`;
    return parameter.isNeeded ? text : `[${text}]`;
  });
  return [name, ...words].join(' ');
}
