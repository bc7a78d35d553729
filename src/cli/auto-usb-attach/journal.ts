/** What auto-usb-attach says: lines with the time before them, on standard output and in a log file, as much as asked. */
import { appendFileSync } from 'node:fs';
import { messageOf } from '../../lib/fault.ts';
import { printable } from '../../lib/text.ts';

/** -1 says nothing but what is wrong, 0 what happens, 1 why, 2 all about the VM, 3 everything that the daemon tells. */
export type Verbosity = -1 | 0 | 1 | 2 | 3;

export interface JournalOptions {
  readonly verbosity: Verbosity;
  readonly print: (line: string) => void;
  /** Told what is wrong, at every verbosity. */
  readonly complain: (line: string) => void;
  /** Lines are added there, too. */
  readonly file?: string | undefined;
  readonly now?: () => Date;
}

export class Journal {
  readonly #options: JournalOptions;
  #isFileBroken = false;

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  /** Says what happens, or what more is asked for from `least` on. */
  say(text: string, least: Verbosity = 0): void {
    if (this.#options.verbosity < least) return;
    const line = this.#line(least === 3 ? `DEBUG: ${text}` : text);
    this.#options.print(line);
    this.#write(line);
  }

  /** Says what is wrong. */
  warn(text: string): void {
    const line = this.#line(text);
    this.#options.complain(line);
    this.#write(line);
  }

  #line(text: string): string {
    const { now = () => new Date() } = this.#options;
    return `[${asctime(now())}] ${printable(text, 2_000)}`;
  }

  /** A log that cannot be written is said once, and stops nothing. */
  #write(line: string): void {
    const { file, complain } = this.#options;
    if (file === undefined || this.#isFileBroken) return;
    try {
      appendFileSync(file, `${line}\n`, { mode: 0o600 });
    } catch (error) {
      this.#isFileBroken = true;
      complain(this.#line(`The log file ${file} cannot be written: ${messageOf(error)}`));
    }
  }
}

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** Writes local time as asctime(3) does: `Sat Nov  8 09:05:07 2025`. */
export function asctime(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  const day = String(date.getDate()).padStart(2, ' ');
  return `${DAYS[date.getDay()]} ${MONTHS[date.getMonth()]} ${day} ${time} ${date.getFullYear()}`;
}
