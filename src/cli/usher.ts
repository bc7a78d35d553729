/** The program `usher`: turns a command line into one request to the daemon. All commands are data, in commands/. */
import { asFault, EXIT, type Fault } from '../lib/fault.ts';
import { type CommandSpec, isCalled } from './command.ts';
import { POLICY_COMMANDS } from './commands/policy.ts';
import { SYSTEM_COMMANDS } from './commands/system.ts';
import { USB_COMMANDS } from './commands/usb.ts';
import { VM_COMMANDS } from './commands/vm.ts';
import { COMPLETE, complete } from './completion.ts';
import { connectLazily } from './connection.ts';
import { Previewed, previewInstead } from './dry-run.ts';
import type { Run } from './grammar.ts';
import { endWithReader, terminal } from './terminal.ts';

const COMMANDS: readonly CommandSpec[] = [...VM_COMMANDS, ...USB_COMMANDS, ...POLICY_COMMANDS, ...SYSTEM_COMMANDS];

/** Runs one command line; gives the exit status of the table in docs/specification.md. */
async function main(words: readonly string[]): Promise<number> {
  const connection = connectLazily('usher');
  try {
    if (words[0] === COMPLETE) {
      for (const answer of await complete(words.slice(1), COMMANDS, connection.get).catch(() => []))
        terminal.print(answer);
      return EXIT.ok;
    }
    const previewing = async () => previewInstead(await connection.get());
    const run: Run = async (spec, values, options, isJson) =>
      await spec
        .run({ words: values, options, isJson, out: terminal, daemon: options['dryRun'] ? previewing : connection.get })
        .catch((thrown: unknown) => {
          if (!(thrown instanceof Previewed)) throw thrown;
          terminal.print(isJson ? JSON.stringify(thrown.view, null, 2) : thrown.view.says.join('\n'));
          return undefined;
        });
    const bare = bareCommand(words);
    if (bare !== undefined) return (await run(bare, [], {}, words.includes('--json'))) ?? EXIT.ok;
    const { runLine } = await import('./grammar.ts');
    return await runLine(words, COMMANDS, run);
  } catch (error) {
    terminal.progress('');
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

function report(fault: Fault, isJson: boolean): void {
  if (isJson) terminal.tell(JSON.stringify({ error: fault.toWire() }));
  else terminal.tell(`usher: ${fault.message}${fault.hint === undefined ? '' : `\n       ${fault.hint}`}`);
}

endWithReader();
void main(process.argv.slice(2)).then((status) => {
  process.exitCode = status;
});
