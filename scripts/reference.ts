/**
 * `npm run reference`: writes docs/reference/ from the tables of the code: operations, commands, config keys, settings,
 * faults. What the tables do not say is not in the pages; test/house/reference.test.ts refuses pages that are behind.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { GenericSchema } from 'valibot';
import { NEEDS, rightFor } from '../src/api/access.ts';
import { OPERATIONS, type OperationName } from '../src/api/operations.ts';
import type { CommandSpec } from '../src/cli/command.ts';
import { POLICY_COMMANDS } from '../src/cli/commands/policy.ts';
import { SYSTEM_COMMANDS } from '../src/cli/commands/system.ts';
import { USB_COMMANDS } from '../src/cli/commands/usb.ts';
import { VM_COMMANDS } from '../src/cli/commands/vm.ts';
import { SETTINGS } from '../src/config/settings.ts';
import { VM_KEYS } from '../src/config/vm-keys.ts';
import { EXIT, FAULTS } from '../src/lib/fault.ts';

const ROOT = join(import.meta.dirname, '..');

/** What an exit status means, for people. */
const EXIT_MEANING: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'it worked',
  failed: 'it failed; the sentence says why',
  usage: 'the command line or an input file makes no sense',
  unreachable: 'no daemon answers, or it speaks another protocol',
  notFound: 'the VM, device, port or number does not exist',
  conflict: 'the state does not allow it, or the thing is busy or exists already',
  denied: 'the user may not',
  timeout: 'it took too long',
  partly: 'some of it was done; no command gives it yet',
  offline: 'it needs a hypervisor in offline mode; no command gives it yet',
};

/** Gives every page: path below the project's folder, content. */
export function referencePages(): ReadonlyMap<string, string> {
  const pages: [string, string, string][] = [
    ['operations.md', 'src/api/operations.ts', operationsPage()],
    ['commands.md', 'src/cli/commands/', commandsPage()],
    ['vm-config.md', 'src/config/vm-keys.ts', vmConfigPage()],
    ['settings.md', 'src/config/settings.ts', settingsPage()],
    ['faults.md', 'src/lib/fault.ts', faultsPage()],
  ];
  return new Map(
    pages.map(([name, source, text]) => [
      `docs/reference/${name}`,
      `<!-- Written by npm run reference from ${source}: change that, not this. -->\n${text.trimEnd()}\n`,
    ]),
  );
}

function operationsPage(): string {
  const results = resultNames();
  const parts = Object.entries(OPERATIONS).map(([name, { class: kind, params, doc }]) => {
    const rows = Object.entries(entriesOf(params)).map(([field, schema]) => [
      code(field),
      typeOf(schema),
      schema.type === 'exact_optional' ? 'no' : 'yes',
    ]);
    return [
      `### ${name}`,
      '',
      `${doc} Class \`${kind}\`, answers ${code(results.get(name) ?? 'nothing')}. ${sayNeed(name as OperationName)}`,
      ...(rows.length === 0 ? [] : ['', table(['parameter', 'takes', 'needed'], rows)]),
      '',
    ].join('\n');
  });
  return `# Operations

The closed list of what Usher can be asked, by RPC ([protocol](../protocols/rpc.md)) and so by every command. A \`read\` changes nothing; a \`write\` changes what
is stored; a \`control\` changes what runs. All but reads are written into the audit trail. The shapes of the answers are in [src/api/views.ts](../../src/api/views.ts). Rights: [access.md](../access.md).

${parts.join('\n')}`;
}

function commandsPage(): string {
  const commands: readonly CommandSpec[] = [...VM_COMMANDS, ...USB_COMMANDS, ...POLICY_COMMANDS, ...SYSTEM_COMMANDS];
  const parts = commands.map((spec) => {
    const args = (spec.args ?? []).map(({ name, isOptional }) => (isOptional ? `[${name}]` : `<${name}>`));
    const head = ['usher', ...(spec.noun === undefined ? [] : [spec.noun]), spec.verb, ...args].join(' ');
    const { about } = spec;
    const says = about.says ?? ('operation' in about ? OPERATIONS[about.operation].doc : '');
    const also = spec.aliases === undefined ? '' : ` Also: ${spec.aliases.map(code).join(', ')}.`;
    const rows = [
      ...(spec.args ?? []).map(({ name, doc }) => [code(name), doc]),
      ...(spec.options ?? []).map(({ flags, doc, choices, isRequired }) => [
        code(flags),
        [doc, ...(choices === undefined ? [] : [choices.join(', ')]), ...(isRequired ? ['needed'] : [])].join('; '),
      ]),
    ];
    return [
      `### ${code(head)}`,
      '',
      `${says}${also}`,
      ...(rows.length === 0 ? [] : ['', table(['word', 'meaning'], rows)]),
      '',
      '```sh',
      ...(spec.examples ?? []),
      '```',
      '',
    ].join('\n');
  });
  return `# Commands

Every command takes \`--json\` (the answer as JSON) and \`--help\`; those that change something take \`--dry-run\`, which only says what would happen. Exit statuses: [faults.md](faults.md).

${parts.join('\n')}`;
}

function vmConfigPage(): string {
  const names = ({ key, aliases }: (typeof VM_KEYS)[number]) => [key, ...aliases].map(code).join(', ');
  const rows = VM_KEYS.map((row) => [
    names(row),
    row.type,
    `${row.takes}${row.isList ? '; any number of lines' : ''}`,
    row.otherwise,
    row.meaning,
  ]);
  const honours = VM_KEYS.map((row) => [names(row), row.honours.xen.says, row.honours.qemu.says]);
  return `# A VM's config file

One \`key = value\` a line; \`#\` begins a comment line. It is the format of xenvm, with keys of Usher's own (\`driver\`, \`usbctrl\`). Relative paths start from the
file's folder. A line that makes no sense is refused with file, line and column; an unknown key is a warning, or an error with \`--strict\`. Several names of a key mean the same. When
a key that is no list stands twice, the last line counts. The file is read again at each start; when it is gone or broken by then, the last good content serves, with a warning.

${table(['key', 'type', 'takes', 'without it', 'meaning'], rows)}

## What the drivers make of them

A key is honoured, as it says here, or ignored with a warning, or refused. \`usher vm check FILE --driver xen\` tells it for each line of a file. With the driver simulator
every key is taken, and a simulated guest shows nothing of it.

${table(['key', 'xen', 'qemu'], honours)}`;
}

function settingsPage(): string {
  const rows = Object.entries(SETTINGS).map(([name, { takes, otherwise, meaning }]) => [
    code(name),
    takes,
    String(otherwise) || 'none',
    meaning,
  ]);
  return `# The daemon's settings

\`usherd.yaml\`, \`name: value\` a line: in \`/etc/usher\` for root, in \`$XDG_CONFIG_HOME/usher\` for others, in \`$USHER_HOME\` when that is set. No file is needed. It is
read when the daemon starts.

${table(['setting', 'takes', 'without it', 'meaning'], rows)}`;
}

function faultsPage(): string {
  const exits = Object.entries(EXIT).map(([name, status]) => [
    String(status),
    EXIT_MEANING[name as keyof typeof EXIT_MEANING],
  ]);
  const faults = Object.entries(FAULTS).map(([name, { exit, http, text }]) => [
    code(name),
    String(exit),
    String(http),
    text,
  ]);
  return `# Exit statuses and faults

## Exit statuses of \`usher\` and \`usherd\`

${table(['status', 'meaning'], exits)}

\`usher audit verify\` gives 1 when the trail is not whole, \`usher doctor\` when it found an error.

## Faults

What a user may see has a code of this table. Over RPC it is \`error.data\`: \`code\`, \`message\`, \`details\` (the words in braces), and often a \`hint\` that says what to do. With
\`--json\` the command prints the same on standard error. The HTTP statuses are kept for an HTTP interface, which does not exist yet.

${table(['code', 'exit', 'HTTP', 'sentence'], faults)}`;
}

/** Says which right an operation needs, over what. */
function sayNeed(name: OperationName): string {
  const { about, files = [] } = NEEDS[name];
  const right = code(rightFor(name));
  const isVmOptional = entriesOf(OPERATIONS[name].params)['vm']?.type === 'exact_optional';
  const needs = {
    nothing: 'Needs no right.',
    host: `Needs ${right} on the whole host.`,
    vm: `Needs ${right} over the VM${isVmOptional ? ', on the whole host without one' : ''}.`,
    device: `Needs ${right} over the device.`,
    'device and vm': `Needs ${right} over the device and the VM.`,
    'list of VMs': `Gives the VMs that one may ${right}.`,
    'list of devices': `Gives what is about devices and VMs that one may ${right}.`,
  }[about];
  const withFile = files.map((file) => ` With ${code(file)}: ${code('write')} on the whole host.`);
  return needs + withFile.join('');
}

/** What answers an operation, by the interface `Results` of operations.ts: types leave no trace but in the source. */
function resultNames(): ReadonlyMap<string, string> {
  const source = readFileSync(join(ROOT, 'src/api/operations.ts'), 'utf8');
  const body = /export interface Results \{\n(.*?)\n\}/s.exec(source)?.[1] ?? '';
  return new Map([...body.matchAll(/^ {2}'?([\w.]+)'?: (.+);$/gm)].map(([, name = '', type = '']) => [name, type]));
}

interface AnySchema {
  readonly type: string;
  readonly entries?: Readonly<Record<string, AnySchema>>;
  readonly wrapped?: AnySchema;
  readonly options?: readonly string[];
  readonly pipe?: readonly { readonly type: string; readonly requirement?: unknown; readonly message?: unknown }[];
}

function entriesOf(schema: GenericSchema): Readonly<Record<string, AnySchema>> {
  return (schema as unknown as AnySchema).entries ?? {};
}

/** Says what a schema takes, for people. */
function typeOf(schema: AnySchema): string {
  if (schema.wrapped !== undefined) return typeOf(schema.wrapped);
  if (schema.options !== undefined) return schema.options.map(code).join(', ');
  const isInteger = schema.pipe?.some(({ type }) => type === 'integer');
  const limits = (schema.pipe ?? []).flatMap(({ type, requirement, message }) => {
    if (type === 'max_length') return [`${requirement} characters at most`];
    if (type === 'min_value') return [`${requirement} or more`];
    if (type === 'max_value') return [`${requirement} at most`];
    if (type === 'regex') return [`matching ${code(String(requirement))}`];
    return type === 'check' ? [String(message)] : [];
  });
  return [isInteger ? 'whole number' : schema.type, ...limits].join('; ');
}

function code(text: string): string {
  return `\`${text}\``;
}

function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(titles), `|${titles.map(() => '---|').join('')}`, ...rows.map(line)].join('\n');
}

if (import.meta.main) {
  for (const [path, text] of referencePages()) {
    mkdirSync(dirname(join(ROOT, path)), { recursive: true });
    writeFileSync(join(ROOT, path), text);
  }
}
