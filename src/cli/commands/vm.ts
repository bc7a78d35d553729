/** The commands `usher vm …`: a VM's life and place in the inventory. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { OperationName, Params, Results } from '../../api/operations.ts';
import type { PowerResult, Progress, SaveResult, VmView } from '../../api/views.ts';
import { size } from '../../lib/text.ts';
import type { ArgumentSpec, CommandSpec, Context } from '../command.ts';
import { showConsole } from '../console.ts';
import { type Column, table } from '../print.ts';
import { given, numberOption, pathOption, show, textOption, word } from '../values.ts';
import { VM_BOARD_COMMANDS } from './vm-board.ts';
import { VM_CONFIG_COMMANDS } from './vm-config.ts';

const VM: ArgumentSpec = { name: 'vm', doc: 'name or uuid of the VM', completion: 'vm' };

export const VM_COMMANDS: readonly CommandSpec[] = [
  {
    noun: 'vm',
    verb: 'create',
    about: { operation: 'vm.create' },
    args: [
      { name: 'file', doc: 'config file, key = value a line; "-" reads it from standard input', completion: 'file' },
    ],
    options: [
      { flags: '--name <name>', doc: 'name of the VM, if the file has none or another' },
      { flags: '--autostart', doc: 'start it with the host' },
    ],
    examples: ['usher vm create work.cfg', 'usher vm create work.cfg --name work --autostart'],
    async run(context) {
      const [file = ''] = context.words;
      const source = file === '-' ? { content: await readInput() } : { path: resolve(file) };
      const more = given({ name: textOption(context, 'name'), autostart: context.options['autostart'] === true });
      const params = { ...source, ...more };
      const vm = await (await context.daemon()).call('vm.create', params);
      return show(context, vm, () => `created ${vm.name} (${vm.uuid}); next: usher vm start ${vm.name}`);
    },
  },
  ...VM_CONFIG_COMMANDS,
  {
    noun: 'vm',
    verb: 'adopt',
    about: { operation: 'vm.adopt' },
    args: [{ name: 'domain', doc: 'name or uuid of the domain, see usher vm list --all' }],
    options: [
      { flags: '--name <name>', doc: 'name of the VM, if it is to have another' },
      { flags: '--file <file>', doc: 'where its config is written, to be completed there; it must not exist' },
    ],
    examples: ['usher vm adopt work', 'usher vm adopt work --file /etc/xen/work.vm'],
    async run(context) {
      const more = given({ name: textOption(context, 'name'), file: pathOption(context, 'file') });
      const vm = await (await context.daemon()).call('vm.adopt', { domain: word(context, 0), ...more });
      for (const warning of vm.warnings) context.out.tell(`warning: ${warning}`);
      return show(context, vm, () => `adopted ${vm.name} (${vm.uuid}); it is ${vm.state}`);
    },
  },
  {
    noun: 'vm',
    verb: 'list',
    aliases: ['ls'],
    about: { operation: 'vm.list' },
    options: [{ flags: '-a, --all', doc: 'show domains that belong to no VM, too' }],
    examples: ['usher vm list', 'usher vm list --all --json'],
    async run(context) {
      const params = given({ isAll: context.options['all'] === true });
      const vms = await (await context.daemon()).call('vm.list', params);
      return show(context, vms, () => (vms.length === 0 ? NO_VMS : table(vms, VM_COLUMNS, context.out)));
    },
  },
  {
    noun: 'vm',
    verb: 'show',
    about: { operation: 'vm.show' },
    args: [VM],
    examples: ['usher vm show work'],
    async run(context) {
      const vm = await (await context.daemon()).call('vm.show', { vm: word(context, 0) });
      return show(context, vm, () => {
        const lines: [string, string | undefined][] = [
          ['name', vm.name],
          ['uuid', vm.uuid],
          ['state', vm.state],
          ['driver', vm.handle === undefined ? vm.driver : `${vm.driver}, process or domain ${vm.handle}`],
          ['config file', vm.path],
          ['memory', `${vm.memoryMiB} MiB`],
          ['vcpus', String(vm.vcpus)],
          ['virtmode', vm.virtMode],
          ['kernel', vm.kernel],
          ['autostart', vm.autostart ? 'yes' : 'no'],
          ['on crash', vm.onCrash],
          ['on halt', vm.onHalt],
          ['on reboot', vm.onReboot],
          ['saved in', vm.suspendFile],
          ['monitor', vm.socket],
          ['console', vm.console.socket],
          ['console log', vm.console.log],
          ['usb trouble', vm.usbTrouble],
          ...vm.controllers.map((c): [string, string] => [
            `usbctrl ${c.index}`,
            `version ${c.version}, ${c.ports} ports`,
          ]),
          ...vm.attachments.map((a): [string, string] => [`usb ${a.slot}`, `${a.device}  ${a.deviceId}`]),
          ...vm.warnings.map((warning): [string, string] => [
            'warning',
            warning.replaceAll('\n', `\n${' '.repeat(13)}`),
          ]),
        ];
        return lines.flatMap(([key, value]) => (value === undefined ? [] : [`${key.padEnd(12)} ${value}`])).join('\n');
      });
    },
  },
  {
    noun: 'vm',
    verb: 'remove',
    aliases: ['rm'],
    about: { operation: 'vm.remove' },
    args: [VM],
    examples: ['usher vm remove work'],
    async run(context) {
      const vm = await (await context.daemon()).call('vm.remove', { vm: word(context, 0) });
      return show(context, vm, () => `removed ${vm.name}; its config file is where it was`);
    },
  },
  {
    noun: 'vm',
    verb: 'set',
    about: { operation: 'vm.set' },
    args: [VM],
    options: [
      { flags: '--autostart <yes|no>', doc: 'start it with the host', choices: ['yes', 'no'], isRequired: true },
    ],
    examples: ['usher vm set work --autostart yes'],
    async run(context) {
      const autostart = context.options['autostart'] === 'yes';
      const vm = await (await context.daemon()).call('vm.set', { vm: word(context, 0), autostart });
      return show(context, vm, () => `${vm.name}: autostart ${vm.autostart ? 'yes' : 'no'}`);
    },
  },
  power('start', 'vm.start', {
    options: [{ flags: '--paused', doc: 'leave its virtual CPUs stopped' }],
    examples: ['usher vm start work', 'usher vm start work --paused'],
    params: (context) => given({ isPaused: context.options['paused'] === true }),
  }),
  power('pause', 'vm.pause', {}),
  power('unpause', 'vm.unpause', { aliases: ['resume'] }),
  power('shutdown', 'vm.shutdown', {
    aliases: ['halt'],
    options: [{ flags: '--timeout <seconds>', doc: 'how long the guest may take' }],
    examples: ['usher vm shutdown work --timeout 120'],
    params: (context) => given({ timeoutSeconds: numberOption(context, 'timeout') }),
  }),
  power('restart', 'vm.restart', {
    aliases: ['reboot'],
    options: [
      { flags: '--force', doc: 'do not ask the guest, end it' },
      { flags: '--timeout <seconds>', doc: 'how long the guest may take' },
    ],
    params: (context) =>
      given({ timeoutSeconds: numberOption(context, 'timeout'), isForced: context.options['force'] === true }),
  }),
  power('reset', 'vm.reset', {}),
  power('destroy', 'vm.destroy', { aliases: ['kill'] }),
  power('suspend', 'vm.suspend', {
    options: [
      { flags: '--file <file>', doc: 'where to save it; default: a file of its own below the state folder' },
      { flags: '--live', doc: 'let the guest run while its memory is copied' },
    ],
    examples: ['usher vm suspend work', 'usher vm suspend work --live --file /srv/work.save'],
    params: (context) => given({ file: pathOption(context, 'file'), isLive: context.options['live'] === true }),
  }),
  power('restore', 'vm.restore', {
    options: [
      { flags: '--file <file>', doc: 'save file; default: the one that it was suspended to' },
      { flags: '--paused', doc: 'leave its virtual CPUs stopped' },
      { flags: '--keep', doc: 'do not remove the save file' },
      { flags: '--ignore-disks', doc: 'restore though a disk has changed since, and revert none' },
    ],
    examples: ['usher vm restore work', 'usher vm restore work --file /srv/work-monday.save --keep'],
    params: (context) =>
      given({
        file: pathOption(context, 'file'),
        isPaused: context.options['paused'] === true,
        isKept: context.options['keep'] === true,
        ...ignoredDisks(context),
      }),
  }),
  {
    noun: 'vm',
    verb: 'checkpoint',
    about: { operation: 'vm.checkpoint' },
    args: [VM, { name: 'file', doc: 'where to save it', completion: 'file' }],
    options: [
      { flags: '--live', doc: 'let the guest run while its memory is copied, whatever the risk' },
      { flags: '--still', doc: 'stop the guest while its memory is copied' },
      { flags: '--ignore-disks', doc: 'save the memory though a disk gets no snapshot' },
    ],
    examples: ['usher vm checkpoint work /srv/work-monday.save'],
    async run(context) {
      const client = await context.daemon();
      const { live, still } = context.options;
      const how = live === true ? { isLive: true } : still === true ? { isLive: false } : {};
      const params = { vm: word(context, 0), file: resolve(word(context, 1)), ...how, ...ignoredDisks(context) };
      return told(context, await client.call('vm.checkpoint', params, progressOf(context)));
    },
  },
  {
    noun: 'vm',
    verb: 'console',
    about: {
      operation: 'vm.console',
      says: 'Connects the terminal with the serial console of a VM; with --json, tells where its unix socket is.',
    },
    args: [VM],
    examples: ['usher vm console work        # leave with Ctrl-]'],
    async run(context) {
      const { socket } = await (await context.daemon()).call('vm.console', { vm: word(context, 0) });
      return context.isJson ? show(context, { socket }, () => '') : await showConsole(socket, context.out);
    },
  },
  {
    noun: 'vm',
    verb: 'log',
    about: { operation: 'vm.log' },
    args: [VM],
    options: [{ flags: '-n, --lines <number>', doc: 'how many of the last lines (100)' }],
    examples: ['usher vm log work -n 20'],
    async run(context) {
      const lines = numberOption(context, 'lines') ?? 100;
      const log = await (await context.daemon()).call('vm.log', { vm: word(context, 0), lines });
      return show(context, log, () => log.lines.join('\n'));
    },
  },
  ...VM_BOARD_COMMANDS,
];

function ignoredDisks(context: Context): { readonly disks?: 'ignore' } {
  return context.options['ignoreDisks'] === true ? { disks: 'ignore' } : {};
}

const NO_VMS = 'There is no VM yet. Make one: usher vm create FILE';

const VM_COLUMNS: readonly Column<VmView>[] = [
  { title: 'NAME', of: (vm) => vm.name, yields: { turn: 2, least: 12 } },
  { title: 'STATE', of: (vm) => vm.state },
  { title: 'DRIVER', of: (vm) => (vm.isStranger ? `${vm.driver}, stranger` : vm.driver) },
  { title: 'MEMORY', of: (vm) => (vm.isStranger ? '-' : `${vm.memoryMiB} MiB`) },
  { title: 'VCPUS', of: (vm) => (vm.isStranger ? '-' : String(vm.vcpus)) },
  { title: 'USB', of: (vm) => vm.devices.join(' ') || '-', yields: { turn: 1, least: 12 } },
];

type PowerOperation = {
  [O in OperationName]: Results[O] extends PowerResult ? O : never;
}[OperationName];

/** Makes the command of an operation that takes a VM and changes its power state. */
function power<O extends PowerOperation>(
  verb: string,
  operation: O,
  more: Pick<CommandSpec, 'options' | 'aliases' | 'examples'> & { params?: (context: Context) => object },
): CommandSpec {
  const { params, ...spec } = more;
  return {
    noun: 'vm',
    verb,
    about: { operation },
    args: [VM],
    examples: [`usher vm ${verb} work`],
    ...spec,
    async run(context) {
      const all = { vm: word(context, 0), ...params?.(context) } as unknown as Params<O>;
      const client = await context.daemon();
      return told(context, (await client.call(operation, all, progressOf(context))) as PowerResult);
    },
  };
}

function told(context: Context, result: PowerResult | SaveResult): number | undefined {
  context.out.progress('');
  for (const warning of result.warnings) context.out.tell(`warning: ${warning}`);
  const saved =
    'file' in result
      ? `, ${size(result.bytes)} in ${result.file}; it stood still for ${(result.pausedMs / 1000).toFixed(2)} s`
      : '';
  return show(context, result, () => `${result.name}: ${result.state}${saved}`);
}

/** Shows on a terminal what a long operation is doing. */
function progressOf(context: Context): (notice: object) => void {
  return (notice) => {
    const { says, bytes, ofBytes } = notice as Progress;
    const share =
      bytes === undefined ? '' : ofBytes === undefined ? ` ${size(bytes)}` : ` ${size(bytes)} of ${size(ofBytes)}`;
    context.out.progress(`${says}${share}`);
  };
}

async function readInput(): Promise<string> {
  return await readFile('/dev/stdin', 'utf8');
}
