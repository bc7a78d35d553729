/** What a command of the CLI is: data from which parsing, help, examples and completion come. Types, and how a line calls one. */
import type { Daemon } from '../api/client.ts';
import type { OperationName } from '../api/operations.ts';

/** Where words of a command line can come from, for completion. */
export type Completion = 'vm' | 'device' | 'assignment' | 'hold' | 'file' | readonly string[];

export interface ArgumentSpec {
  readonly name: string;
  readonly doc: string;
  readonly isOptional?: boolean;
  readonly completion?: Completion;
}

export interface OptionSpec {
  /** As commander writes them: `--mode <mode>`, `-f, --follow`. */
  readonly flags: string;
  readonly doc: string;
  readonly choices?: readonly string[];
  readonly isRequired?: boolean;
}

/** What a command may use. */
export interface Context {
  /** Words of the arguments, by their order; absent optional ones are `undefined`. */
  readonly words: readonly (string | undefined)[];
  /** Options by their camel-case names. */
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
  readonly isJson: boolean;
  readonly out: Output;
  /** Connects to the daemon, once. With `--dry-run` what changes something is previewed, and ends the command. */
  readonly daemon: () => Promise<Daemon>;
}

/** Where a command writes, and what that place can show. */
export interface Output {
  readonly columns: number | undefined;
  readonly isTerminal: boolean;
  print(text: string): void;
  /** For people only, on standard error: warnings, hints, what goes on. */
  tell(text: string): void;
  /** One line that is written over again; only on a terminal. An empty text wipes it. */
  progress(text: string): void;
}

export interface CommandSpec {
  readonly noun?: string;
  readonly verb: string;
  readonly aliases?: readonly string[];
  /** The operation, whose doc sentence is the command's if it has none of its own; or a sentence, where there is none. */
  readonly about: { readonly operation: OperationName; readonly says?: string } | { readonly says: string };
  readonly args?: readonly ArgumentSpec[];
  readonly options?: readonly OptionSpec[];
  readonly examples?: readonly string[];
  /** Gives the exit status; nothing means 0. */
  run(context: Context): Promise<number | undefined>;
}

/** Tells whether a line begins with the command's name, or one of its other names. */
export function isCalled({ noun, verb, aliases = [] }: CommandSpec, words: readonly string[]): boolean {
  const [first = '', second = ''] = words;
  const word = noun === undefined ? first : second;
  return (noun === undefined || noun === first) && (verb === word || aliases.includes(word));
}
