/** Shell completion: scripts that ask `usher __complete WORDS…`, and the answers. */
import type { Client } from '../api/client.ts';
import { Fault } from '../lib/fault.ts';
import type { CommandSpec, Completion, OptionSpec } from './command.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;

/** Asked for by the scripts; a word that no person types. */
export const COMPLETE = '__complete';

/** The commands that answer `__complete`. */
const PROGRAMS = ['usher', 'qvm-usb', 'auto-usb-attach'] as const;

const SCRIPTS: Record<(typeof SHELLS)[number], (program: string, name: string) => string> = {
  bash: (program, name) => `${name}() {
  local IFS=$'\\n' word="\${COMP_WORDS[COMP_CWORD]}" line
  line=$(COMP_WORDBREAKS=\${COMP_WORDBREAKS//:/} ; ${program} ${COMPLETE} "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [ "$line" = __files ]; then COMPREPLY=($(compgen -f -- "$word")); else COMPREPLY=($(compgen -W "$line" -- "$word")); fi
}
COMP_WORDBREAKS=\${COMP_WORDBREAKS//:/}
complete -o filenames -F ${name} ${program}`,
  zsh: (program, name) => `${name}() {
  local -a answer
  answer=("\${(@f)$(${program} ${COMPLETE} "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ "$answer[1]" == __files ]]; then _files; else compadd -a answer; fi
}
compdef ${name} ${program}`,
  fish: (program, name) => `function _${name}_complete
  set -l answer (${program} ${COMPLETE} (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
  if test "$answer[1]" = __files; __fish_complete_path (commandline -ct); else; printf '%s\\n' $answer; end
end
complete -c ${program} -f -a '(_${name}_complete)'`,
};

/** Gives a shell's script, for all our commands. @throws Fault `usage` */
export function completionScript(shell: string): string {
  if (!(SHELLS as readonly string[]).includes(shell)) {
    throw new Fault('usage', { what: `"${shell}" is not one of ${SHELLS.join(', ')}` });
  }
  const script = SCRIPTS[shell as (typeof SHELLS)[number]];
  const parts = PROGRAMS.map((program) => script(program, `_${program.replaceAll('-', '_')}`));
  return [...(shell === 'zsh' ? [`#compdef ${PROGRAMS.join(' ')}`] : []), ...parts].join('\n');
}

/**
 * Gives what may stand in the place of the last of `words` (it may be empty). `__files` means: names of files. Names of
 * VMs and devices come from the daemon; without one there are none.
 */
export async function complete(
  words: readonly string[],
  commands: readonly CommandSpec[],
  daemon: () => Promise<Client>,
): Promise<readonly string[]> {
  const typed = words.slice(0, -1);
  const last = words.at(-1) ?? '';
  const [first, second] = typed.filter((word) => !word.startsWith('-'));
  if (first === undefined) return unique(commands.map((command) => command.noun ?? command.verb));
  const ofNoun = commands.filter((command) => command.noun === first);
  if (ofNoun.length > 0 && second === undefined) return ofNoun.map((command) => command.verb);
  const command =
    ofNoun.find((spec) => spec.verb === second || spec.aliases?.includes(second ?? '')) ??
    commands.find((spec) => spec.noun === undefined && spec.verb === first);
  if (command === undefined) return [];
  if (last.startsWith('-')) return (command.options ?? []).flatMap((option) => longName(option.flags));
  const option = valuedOption(command, typed.at(-1));
  if (option !== undefined) return option.choices ?? ['__files'];
  const before = typed.filter((word, i) => !word.startsWith('-') && valuedOption(command, typed[i - 1]) === undefined);
  const place = before.length - (command.noun === undefined ? 1 : 2);
  return await candidates(command.args?.[place]?.completion, daemon);
}

/** Gives the option that the word is, if a value follows it. */
function valuedOption({ options = [] }: CommandSpec, word = ''): OptionSpec | undefined {
  return options.find(({ flags }) => flags.includes('<') && flags.match(/--?[a-z-]+/g)?.includes(word));
}

async function candidates(
  completion: Completion | undefined,
  daemon: () => Promise<Client>,
): Promise<readonly string[]> {
  if (completion === undefined) return [];
  if (typeof completion !== 'string') return completion;
  if (completion === 'file') return ['__files'];
  const client = await daemon();
  if (completion === 'vm') return (await client.call('vm.list', {})).map((vm) => vm.name);
  if (completion === 'device') return (await client.call('usb.list', {})).map((device) => device.device);
  if (completion === 'hold') return (await client.call('usb.holds', {})).map((hold) => hold.device);
  return (await client.call('usb.assignments', {})).map((assignment) => String(assignment.id));
}

function longName(flags: string): string[] {
  return flags.match(/--[a-z-]+/g) ?? [];
}

function unique(words: readonly string[]): readonly string[] {
  return [...new Set(words)];
}
