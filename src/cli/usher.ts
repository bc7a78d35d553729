/** The program `usher`: turns a command line into one request to the daemon. All commands are data, in commands/. */
import { Client } from '../api/client.ts';
import { placesOf } from '../config/places.ts';
import { asFault, EXIT, type Fault } from '../lib/fault.ts';
import { type CommandSpec, isCalled, type Output } from './command.ts';
import { SYSTEM_COMMANDS } from './commands/system.ts';
import { USB_COMMANDS } from './commands/usb.ts';
import { VM_COMMANDS } from './commands/vm.ts';
import { COMPLETE, complete } from './completion.ts';
import type { Run } from './grammar.ts';
import { VERSION } from './version.ts';

const COMMANDS: readonly CommandSpec[] = [...VM_COMMANDS, ...USB_COMMANDS, ...SYSTEM_COMMANDS];

/** Runs one command line; gives the exit status of the table in docs/specification.md. */
async function main(words: readonly string[]): Promise<number> {
  const connection = lazily(() => Client.connect(placesOf(process.env).socket, `usher ${VERSION}`));
  try {
    if (words[0] === COMPLETE) {
      for (const answer of await complete(words.slice(1), COMMANDS, connection.get).catch(() => []))
        output.print(answer);
      return EXIT.ok;
    }
    const run: Run = async (spec, values, options, isJson) =>
      await spec.run({ words: values, options, isJson, out: output, daemon: connection.get });
    const bare = bareCommand(words);
    if (bare !== undefined) return (await run(bare, [], {}, words.includes('--json'))) ?? EXIT.ok;
    const { runLine } = await import('./grammar.ts');
    return await runLine(words, COMMANDS, run);
  } catch (error) {
    output.progress('');
    report(asFault(error), words.includes('--json'));
    return asFault(error).exit;
  } finally {
    await connection.close();
  }
}

/** Finds the command of a line that is nothing but its name, `--json` aside: such a line needs no grammar. */
function bareCommand(words: readonly string[]): CommandSpec | undefined {
  const names = words.filter((word) => word !== '--json');
  const spec = COMMANDS.find((other) => isCalled(other, names));
  if (spec === undefined || names.length !== (spec.noun === undefined ? 1 : 2)) return undefined;
  const isComplete = !spec.args?.some((arg) => !arg.isOptional) && !spec.options?.some((option) => option.isRequired);
  return isComplete ? spec : undefined;
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
