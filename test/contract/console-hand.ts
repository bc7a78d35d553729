/** The guest's side of a domain over its console: a connection for each question, for a console serves one at a time. */
import type { GuestConsole } from '../../lab/console.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { newUuid } from '../../src/model/ids.ts';
import type { GuestHand } from './rig.ts';

export interface ConsoleHandOptions {
  /** Connects to the console as it is now; the domain may be another than at the last call. */
  connect(): Promise<GuestConsole>;
  /** How long a boot may take. */
  readonly bootTimeoutMs: number;
  kill(): Promise<void>;
}

const ANSWER_TIMEOUT_MS = 60_000;
/** The first wait for a ping; each later one is twice as long, so that a slow guest is not kept busy by the pings alone. */
const PING_TIMEOUT_MS = 500;
const MAX_PING_TIMEOUT_MS = 4_000;
/** After a while without an answer a question is put again: a serial port may sleep over the first one after a save. */
const ASK_AGAIN_MS = 3_000;
const SHELL_AGAIN_MS = 15_000;
const PANIC_TRIES = 4;

/** Makes the hand of one domain whose guest is the lab's (lab/guest.ts). */
export function consoleHand({ connect, bootTimeoutMs, kill }: ConsoleHandOptions): GuestHand {
  async function use<T>(talk: (console: GuestConsole) => Promise<T>): Promise<T> {
    const console = await connect();
    try {
      return await talk(console);
    } finally {
      console.close();
    }
  }
  /** Gives the words from the answer on: another program's line without an end may stand before it. */
  const ask = (words: string, answer: RegExp, timeoutMs: number) =>
    use(async (console) => {
      const { text } = await console.ask(words, answer, timeoutMs);
      return text.slice(text.search(answer)).split(' ');
    });
  const askUntilAnswered = (words: string, answer: RegExp) =>
    pollUntil({ what: `The answer of the guest to "${words}"`, timeoutMs: ANSWER_TIMEOUT_MS, everyMs: 10 }, () =>
      ask(words, answer, ASK_AGAIN_MS).catch(() => undefined),
    );
  /** Runs a command that may be run twice: it is given again when no answer comes. */
  const shell = async (command: string) => {
    const waiting = { what: `The end of "${command}" in the guest`, timeoutMs: 2 * ANSWER_TIMEOUT_MS, everyMs: 10 };
    const { status, lines } = await pollUntil(waiting, () =>
      use((console) => console.shell(command, SHELL_AGAIN_MS)).catch(() => undefined),
    );
    if (status !== 0) throw new Error(`"${command}" ended with ${status} in the guest: ${lines.join(' ')}`);
    return lines;
  };
  const end = (words: string, answer: RegExp) => async () => {
    await ask(words, answer, ANSWER_TIMEOUT_MS);
  };
  return {
    waitReady: () =>
      use(async (console) => {
        // One that boots says so. Another is asked until it answers, to whichever ping: what is typed may be lost.
        const what = 'The answer of the guest';
        const word = newUuid().slice(0, 8);
        const ready = new RegExp(`pong ${word}|USHER-GUEST ready `);
        const since = console.position;
        let waitMs = PING_TIMEOUT_MS;
        await pollUntil({ what, timeoutMs: bootTimeoutMs, everyMs: 10 }, async () => {
          console.command(`ping ${word}`);
          const timeoutMs = waitMs;
          waitMs = Math.min(2 * waitMs, MAX_PING_TIMEOUT_MS);
          return console.waitFor(ready, { timeoutMs, since }).catch(() => undefined);
        });
      }),
    bootId: async () => (await askUntilAnswered('boot', /USHER-GUEST boot /))[2] ?? '',
    ticks: () =>
      // The guest writes the number to a file, which for an instant is empty.
      pollUntil({ what: 'The ticks of the guest', timeoutMs: ANSWER_TIMEOUT_MS, everyMs: 10 }, async () => {
        const [, , ticks = ''] = await askUntilAnswered('ticks', /USHER-GUEST ticks /);
        return ticks === '' ? undefined : Number(ticks);
      }),
    usb: () =>
      use(async (console) => {
        await console.ask('usb', /USHER-GUEST usb-end$/, ANSWER_TIMEOUT_MS);
        const listed = console.lines.filter(({ text }) => text.startsWith('USHER-GUEST usb= '));
        return listed.map(({ text }) => {
          const [, , , id, serial = ''] = text.split(' ');
          return `${id}:${decodeURIComponent(serial.slice('serial='.length))}`;
        });
      }),
    writeDisk: async (target, word) => {
      await shell(`printf %s ${word} | dd of=/dev/${target} bs=512 count=1 conv=sync,fsync 2>/dev/null && sync`);
    },
    readDisk: async (target) => {
      const words = `echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/${target} bs=512 count=1 2>/dev/null`;
      return (await shell(words)).join('').replaceAll('\0', '');
    },
    seconds: async () => Number((await shell('date +%s')).join('')),
    powerOff: end('poweroff', /USHER-GUEST poweroff/),
    reboot: end('reboot', /USHER-GUEST reboot/),
    panic: () =>
      use(async (console) => {
        // What is typed may be lost, and so may what the kernel says last: it is typed again, and then trusted.
        const since = console.position;
        for (let tries = 0; tries < PANIC_TRIES && !console.isClosed; tries++) {
          console.command('panic');
          const hasPanicked = await console
            .waitFor(/Kernel panic/, { timeoutMs: ASK_AGAIN_MS, since })
            .catch(() => false);
          if (hasPanicked !== false) return;
        }
      }),
    kill,
  };
}
