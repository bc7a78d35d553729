/** The commands `usher vm …` about what a VM has besides its life: its next config, CD drives, memory, buttons, display. */
import { resolve } from 'node:path';
import type { ConfigView, PowerResult } from '../../api/views.ts';
import { Fault } from '../../lib/fault.ts';
import { TRIGGERS } from '../../model/vm.ts';
import type { ArgumentSpec, CommandSpec, Context } from '../command.ts';
import { given, pathOption, show, textOption, wholeNumber, word } from '../values.ts';

const VM: ArgumentSpec = { name: 'vm', doc: 'name or uuid of the VM', completion: 'vm' };
const TARGET: ArgumentSpec = { name: 'target', doc: 'the drive as its config calls it, such as hdc' };

export const VM_BOARD_COMMANDS: readonly CommandSpec[] = [
  {
    noun: 'vm',
    verb: 'config',
    about: { operation: 'vm.config' },
    args: [VM],
    options: [{ flags: '--key <key>', doc: 'only this key' }],
    examples: ['usher vm config work', 'usher vm config work --key memory'],
    async run(context) {
      const params = { vm: word(context, 0), ...given({ key: textOption(context, 'key') }) };
      return told(context, await (await context.daemon()).call('vm.config', params));
    },
  },
  {
    noun: 'vm',
    verb: 'configure',
    about: { operation: 'vm.configure' },
    args: [VM, { name: 'key', doc: 'a key of its config file' }, { name: 'value', doc: 'as in the file' }],
    options: [{ flags: '--add', doc: 'as one more line, such as one more disk' }],
    examples: ['usher vm configure work memory 512', 'usher vm configure work disk /srv/b.img:file:sdb:w:disk --add'],
    async run(context) {
      const [vm, key, value] = [word(context, 0), word(context, 1), word(context, 2)];
      const params = { vm, key, value, ...given({ isAdded: context.options['add'] === true }) };
      return told(context, await (await context.daemon()).call('vm.configure', params));
    },
  },
  {
    noun: 'vm',
    verb: 'reread',
    about: { operation: 'vm.reread' },
    args: [VM],
    options: [{ flags: '--file <file>', doc: 'another file, which is its config file from now on' }],
    examples: ['usher vm reread work'],
    async run(context) {
      const params = { vm: word(context, 0), ...given({ path: pathOption(context, 'file') }) };
      return told(context, await (await context.daemon()).call('vm.reread', params));
    },
  },
  {
    noun: 'vm',
    verb: 'insert',
    about: { operation: 'vm.insert' },
    args: [VM, TARGET, { name: 'file', doc: 'the image of the medium', completion: 'file' }],
    examples: ['usher vm insert work hdc /srv/debian.iso'],
    async run(context) {
      const params = { vm: word(context, 0), target: word(context, 1), file: resolve(word(context, 2)) };
      const vm = await (await context.daemon()).call('vm.insert', params);
      return done(context, vm, `${params.file} is in ${params.target}`);
    },
  },
  {
    noun: 'vm',
    verb: 'eject',
    about: { operation: 'vm.eject' },
    args: [VM, TARGET],
    examples: ['usher vm eject work hdc'],
    async run(context) {
      const params = { vm: word(context, 0), target: word(context, 1) };
      return done(context, await (await context.daemon()).call('vm.eject', params), `${params.target} is empty`);
    },
  },
  {
    noun: 'vm',
    verb: 'memory',
    about: { operation: 'vm.memory' },
    args: [VM, { name: 'number', doc: 'MiB' }],
    examples: ['usher vm memory work 256'],
    async run(context) {
      const params = { vm: word(context, 0), memoryMiB: wholeNumber(word(context, 1), 'the memory') };
      const vm = await (await context.daemon()).call('vm.memory', params);
      return done(context, vm, `asked to do with ${params.memoryMiB} MiB`);
    },
  },
  {
    noun: 'vm',
    verb: 'trigger',
    about: { operation: 'vm.trigger' },
    args: [VM, { name: 'trigger', doc: TRIGGERS.join(', '), completion: TRIGGERS }],
    examples: ['usher vm trigger work power'],
    async run(context) {
      const trigger = TRIGGERS.find((one) => one === word(context, 1));
      if (trigger === undefined) throw new Fault('usage', { what: `A trigger is one of ${TRIGGERS.join(', ')}` });
      const vm = await (await context.daemon()).call('vm.trigger', { vm: word(context, 0), trigger });
      return done(context, vm, `sent "${trigger}"`);
    },
  },
  {
    noun: 'vm',
    verb: 'vnc',
    about: { operation: 'vm.vnc' },
    args: [VM],
    examples: ['usher vm vnc work'],
    async run(context) {
      const vnc = await (await context.daemon()).call('vm.vnc', { vm: word(context, 0) });
      return show(context, vnc, () => (vnc.port === undefined ? 'it has no VNC display' : `${vnc.host}:${vnc.port}`));
    },
  },
];

function told(context: Context, view: ConfigView): undefined {
  for (const warning of view.warnings) context.out.tell(`warning: ${warning}`);
  return show(context, view, () =>
    view.settings
      .map(({ key, value, isChanged }) => `${key} = ${value}${isChanged ? '    # not from its file' : ''}`)
      .join('\n'),
  );
}

function done(context: Context, result: PowerResult, says: string): undefined {
  return show(context, result, () => `${result.name}: ${says}`);
}
