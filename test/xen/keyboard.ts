/** A real keyboard of a host of the lab, typed on from outside, and what dom0 hears of it: its event nodes (linux/input.h). */
import type { Dom0Usher } from './dom0-usher.ts';

/** What dom0 heard, as it came. */
const HEARD = '/run/heard';
/** struct input_event: two 64-bit words of time, then type, code and value. */
const EVENT_BYTES = 24;
const EV_KEY = 1;
const PRESSED = 1;
/** Of each letter: pressed and released, each as a scan code, a key and a report. */
const EVENTS_A_LETTER = 6;
/** How long dom0 is listened to when nothing comes, in tenths of a second. */
const PATIENCE = 30;

/** Codes of keys, from the one of the first letter of a row on (linux/input-event-codes.h). */
const ROWS = [
  ['qwertyuiop', 16],
  ['asdfghjkl', 30],
  ['zxcvbnm', 44],
] as const;

export class Keyboard {
  readonly #usher: Dom0Usher;

  constructor(usher: Dom0Usher) {
    this.#usher = usher;
  }

  /** Types letters on the keyboard that was plugged last, and gives those that came to any event node of dom0. */
  async heard(letters: string): Promise<string> {
    await this.#usher.check(
      `: > ${HEARD}; : > ${HEARD}.pids
      for node in /dev/input/event*; do
        [ -e "$node" ] || continue
        setsid cat "$node" >> ${HEARD} 2> /dev/null < /dev/null &
        echo $! >> ${HEARD}.pids
        until readlink /proc/$!/fd/3 | grep -q ^/dev/input; do sleep 0.02; done
      done`,
    );
    await this.#usher.hands.type(letters);
    const bytes = letters.length * EVENTS_A_LETTER * EVENT_BYTES;
    const heard = await this.#usher.check(
      `for ((tries = 0; tries < ${PATIENCE}; tries++)); do
        [ "$(stat -c %s ${HEARD})" -ge ${bytes} ] && break
        sleep 0.1
      done
      while read -r pid; do kill "$pid"; done < ${HEARD}.pids
      base64 -w 0 ${HEARD}`,
    );
    return lettersOf(Buffer.from(heard.trim(), 'base64'));
  }
}

function lettersOf(events: Buffer): string {
  let letters = '';
  for (let at = 0; at + EVENT_BYTES <= events.length; at += EVENT_BYTES) {
    const [type, code, value] = [
      events.readUInt16LE(at + 16),
      events.readUInt16LE(at + 18),
      events.readInt32LE(at + 20),
    ];
    if (type === EV_KEY && value === PRESSED) letters += letterOf(code);
  }
  return letters;
}

function letterOf(code: number): string {
  for (const [letters, first] of ROWS) {
    const letter = letters[code - first];
    if (letter !== undefined) return letter;
  }
  return `<${code}>`;
}
