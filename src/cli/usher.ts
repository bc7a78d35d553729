/** The program `usher`: turns a command line into one request to the daemon. All commands are data, in commands/. */
import { Argument, Command, CommanderError, Option } from 'commander';
import { Client } from '../api/client.ts';
import { placesOf } from '../config/places.ts';
import { asFault, EXIT, type Fault } from '../lib/fault.ts';
import type { CommandSpec, Output } from './command.ts';
import { SYSTEM_COMMANDS } from './commands/system.ts';
import { USB_COMMANDS } from './commands/usb.ts';
import { VM_COMMANDS } from './commands/vm.ts';
import { COMPLETE, complete } from './completion.ts';
import { VERSION } from './version.ts';

const COMMANDS: readonly CommandSpec[] = [...VM_COMMANDS, ...USB_COMMANDS, ...SYSTEM_COMMANDS];
const NOUNS: Readonly<Record<string, string>> = {
  vm: 'VMs: their life and the inventory',
  usb: 'USB devices: where they are, where they belong, and why',
  audit: 'the trail of who did what',
  service: 'the daemon as a service of this host',
};

/** Runs one command line; gives the exit status of the table in docs/specification.md. */
async function main(words: readonly string[]): Promise<number> {
  const connection = lazily(() => Client.connect(placesOf(process.env).socket, `usher ${VERSION}`));
  try {
    if (words[0] === COMPLETE) {
      for (const answer of await complete(words.slice(1), COMMANDS, connection.get).catch(() => []))
        output.print(answer);
      return EXIT.ok;
    }
    let status: number | undefined;
    const program = await build(words, async (spec, values, options, isJson) => {
      status = await spec.run({ words: values, options, isJson, out: output, daemon: connection.get });
    });
    await program.parseAsync([...words], { from: 'user' });
    return status ?? EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    output.progress('');
    report(asFault(error), words.includes('--json'));
    return asFault(error).exit;
  } finally {
    await connection.close();
  }
}

type Run = (
  spec: CommandSpec,
  words: (string | undefined)[],
  options: Record<string, string | boolean | undefined>,
  isJson: boolean,
) => Promise<void>;

/** Makes commander's program of the table. The doc sentences are loaded only when somebody is going to read them. */
async function build(words: readonly string[], run: Run): Promise<Command> {
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
  for (const spec of commandsFor(words)) {
    let parent = program;
    if (spec.noun !== undefined) {
      parent = nouns.get(spec.noun) ?? program.command(spec.noun).description(NOUNS[spec.noun] ?? '');
      nouns.set(spec.noun, parent);
    }
    const command = parent.command(spec.verb).aliases([...(spec.aliases ?? [])]);
    command.description('says' in spec.about ? spec.about.says : (docs?.[spec.about.operation].doc ?? ''));
    for (const arg of spec.args ?? [])
      command.addArgument(new Argument(arg.isOptional ? `[${arg.name}]` : `<${arg.name}>`, arg.doc));
    for (const option of spec.options ?? []) {
      const made = new Option(option.flags, option.doc).makeOptionMandatory(option.isRequired === true);
      command.addOption(option.choices === undefined ? made : made.choices(option.choices));
    }
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
function commandsFor(words: readonly string[]): readonly CommandSpec[] {
  const [first = '', second = ''] = words;
  const isCalled = ({ verb, aliases = [] }: CommandSpec, word: string) => verb === word || aliases.includes(word);
  const meant = COMMANDS.filter((spec) =>
    spec.noun === undefined ? isCalled(spec, first) : spec.noun === first && isCalled(spec, second),
  );
  return meant.length === 1 ? meant : COMMANDS;
}

const output: Output = {
  columns: process.stdout.isTTY ? process.stdout.columns : undefined,
  isTerminal: process.stdout.isTTY === true,
  print(text) {
    process.stdout.write(`${text}\n`);
  },
  tell(text) {
    process.stderr.write(`${text}\n`);
  },
  progress(text) {
    if (process.stderr.isTTY) process.stderr.write(text === '' ? '\r\u001b[K' : `\r${text}\u001b[K`);
  },
};

function report(fault: Fault, isJson: boolean): void {
  if (isJson) output.tell(JSON.stringify({ error: fault.toWire() }));
  else output.tell(`usher: ${fault.message}${fault.hint === undefined ? '' : `\n       ${fault.hint}`}`);
}

/** Connects at the first use, and only then. */
function lazily(connect: () => Promise<Client>): { get: () => Promise<Client>; close: () => Promise<void> } {
  let connection: Promise<Client> | undefined;
  return {
    get() {
      connection ??= connect();
      return connection;
    },
    async close() {
      await connection?.then((client) => client.close()).catch(() => undefined);
    },
  };
}

process.stdout.on('error', () => process.exit(EXIT.ok)); // The reader of a pipe may leave early: `usher … | head`.
void main(process.argv.slice(2)).then((status) => {
  process.exitCode = status;
});
