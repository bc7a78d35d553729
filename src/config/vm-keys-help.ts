/** The table of keys as text for people: `usher vm keys`, and the help of commands that read config files. */
import type { DriverName } from '../model/vm.ts';
import { VM_KEYS } from './vm-keys.ts';

const WIDTH = 100;

/** Gives every key with its aliases, what it takes, means and defaults to, and what the drivers make of it. */
export function configHelp(drivers: readonly DriverName[] = ['xen', 'qemu']): string {
  return VM_KEYS.map((row) => {
    const names = [row.key, ...row.aliases].join(', ');
    const title = `${names} = ${row.takes}${row.isList ? ' (any number of lines)' : ''}`;
    const parts = [
      row.meaning,
      `Without it: ${row.otherwise}.`,
      ...drivers.map((driver) => `${driver}: ${row.honours[driver].says}`),
    ];
    return [...wrap(title, 0), ...parts.flatMap((part) => wrap(part, 4))].join('\n');
  }).join('\n\n');
}

/** Breaks a text at blanks; lines behind the first are indented a little more. */
function wrap(text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = ' '.repeat(indent);
  let isEmpty = true;
  for (const word of text.split(' ')) {
    if (!isEmpty && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = `${' '.repeat(indent + 2)}${word}`;
    } else line += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...lines, line];
}
