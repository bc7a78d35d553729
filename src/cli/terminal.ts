/** Where the commands write: standard output and standard error of this process. */
import { EXIT } from '../lib/fault.ts';
import type { Output } from './command.ts';

export const terminal: Output = {
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

/** Ends the process quietly when the reader of a pipe leaves early: `usher … | head`. */
export function endWithReader(): void {
  process.stdout.on('error', () => process.exit(EXIT.ok));
}
