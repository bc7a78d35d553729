/** The grammar of command lines that have words to understand: commander's program, made of the table of commands. */
import { Argument, Command, CommanderError, Option } from 'commander';
import { isPreviewed } from '../api/previewed.ts';
import { EXIT } from '../lib/fault.ts';
import { type CommandSpec, isCalled } from './command.ts';
import { VERSION } from './version.ts';

const NOUNS: Readonly<Record<string, string>> = {
  vm: 'VMs: their life and the inventory',
  usb: 'USB devices: where they are, where they belong, and why',
  policy: 'rules about USB devices in general',
  audit: 'the trail of who did what',
  service: 'the daemon as a service of this host',
};

/**
 * Parses a line and runs its command; gives the exit status. Help, versions and complaints about the line are written
 * here. What the command throws is thrown.
 */
export async function runLine(words: readonly string[], commands: readonly CommandSpec[], run: Run): Promise<number> {
  try {
    let status: number | undefined;
    const program = await build(words, commands, async (...all) => {
      status = await run(...all);
    });
    await program.parseAsync([...words], { from: 'user' });
    return status ?? EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    throw error;
  }
}

/** Runs a command with what was found in its line. */
export type Run = (
  spec: CommandSpec,
  words: readonly (string | undefined)[],
  options: Readonly<Record<string, string | boolean | undefined>>,
  isJson: boolean,
) => Promise<number | undefined>;

/** Makes commander's program of the table. The doc sentences are loaded only when somebody is going to read them. */
async function build(
  words: readonly string[],
  commands: readonly CommandSpec[],
  run: (...all: Parameters<Run>) => Promise<void>,
): Promise<Command> {
  const isRead = words.length < 2 || words.some((word) => word === '--help' || word === '-h' || word === 'help');
  const docs = isRead ? (await import('../api/operations.ts')).OPERATIONS : undefined;
  const program = new Command('usher')
    .description('Shows every USB device to its VM and stays with every VM for its whole life.')
    .version(VERSION, '-V, --version')
    .option('--json', 'answer as JSON')
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'usher: ')) })
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', '\nBegin with: usher doctor, usher vm create FILE, usher usb list. Docs: README.md');
  const nouns = new Map<string, Command>();
  for (const spec of commandsFor(words, commands)) {
    let parent = program;
    if (spec.noun !== undefined) {
      parent = nouns.get(spec.noun) ?? program.command(spec.noun).description(NOUNS[spec.noun] ?? '');
      nouns.set(spec.noun, parent);
    }
    const command = parent.command(spec.verb).aliases([...(spec.aliases ?? [])]);
    const { about } = spec;
    command.description(about.says ?? ('operation' in about ? docs?.[about.operation].doc : undefined) ?? '');
    for (const arg of spec.args ?? [])
      command.addArgument(new Argument(arg.isOptional ? `[${arg.name}]` : `<${arg.name}>`, arg.doc));
    for (const option of spec.options ?? []) {
      const made = new Option(option.flags, option.doc).makeOptionMandatory(option.isRequired === true);
      command.addOption(option.choices === undefined ? made : made.choices(option.choices));
    }
    if ('operation' in about && isPreviewed(about.operation)) command.option('--dry-run', 'only say what would happen');
    command.option('--json', 'answer as JSON');
    if (spec.examples !== undefined) {
      command.addHelpText('after', `\nExamples:\n${spec.examples.map((example) => `  ${example}`).join('\n')}`);
    }
    command.action(async (...all: unknown[]) => {
      const values = all.slice(0, spec.args?.length ?? 0) as (string | undefined)[];
      const options = command.opts<Record<string, string | boolean | undefined>>();
      await run(spec, values, options, options['json'] === true || program.opts()['json'] === true);
    });
  }
  return program;
}

/** The command that a line begins with is enough to run it; all of them are needed to list, to guess, or to complain. */
function commandsFor(words: readonly string[], commands: readonly CommandSpec[]): readonly CommandSpec[] {
  const meant = commands.filter((spec) => isCalled(spec, words));
  return meant.length === 1 ? meant : commands;
}
