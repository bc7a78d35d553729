/** auto-usb-attach as a whole: settings, the way to a daemon, which it is itself when there is none, and the run. */
import { join } from 'node:path';
import { Client } from '../../api/client.ts';
import type { Places } from '../../config/places.ts';
import { type Clock, sleep, systemClock } from '../../lib/clock.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { asFault, EXIT, isFault } from '../../lib/fault.ts';
import type { Output } from '../command.ts';
import { valuedOption } from '../option-line.ts';
import { VERSION } from '../version.ts';
import { Journal, type Verbosity } from './journal.ts';
import { HELP, OPTIONS, readAsked, settingLines } from './options.ts';
import { RunNotes } from './run-notes.ts';
import { Watch } from './watch.ts';

export interface ProgramContext {
  readonly out: Pick<Output, 'print' | 'tell'>;
  readonly places: Places;
  /** Aborted when the person ends it. */
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

/** A daemon in this process. */
interface OwnDaemon {
  close(): Promise<void>;
}

/** Whoever has the lock may need so long until it answers. */
const START_MS = 10_000;
const CLOSE_MS = 10_000;

/** Runs a line; gives the exit status. Writes what goes wrong on standard error, and throws nothing. */
export async function runAutoUsbAttach(words: readonly string[], context: ProgramContext): Promise<number> {
  const { out } = context;
  try {
    const asked = await readAsked(words);
    if (asked === 'help' || asked === 'version') {
      out.print(asked === 'help' ? HELP : `auto-usb-attach of Usher ${VERSION}`);
      return EXIT.ok;
    }
    const { settings, verbosity, warnings } = asked;
    const journal = new Journal({ verbosity, print: out.print, complain: out.tell, file: settings.logFile });
    for (const warning of warnings) journal.warn(warning);
    for (const line of settingLines(settings)) journal.say(line);
    const way = new Way(context, journal, verbosity);
    try {
      const notes = new RunNotes(join(context.places.stateFolder, 'auto-usb-attach'));
      const { signal } = context;
      return await new Watch({ settings, journal, notes, signal, connect: () => way.connect() }).run();
    } finally {
      await way.close();
    }
  } catch (error) {
    const fault = asFault(error);
    out.tell(`auto-usb-attach: ${fault.message}${fault.hint === undefined ? '' : `\n  ${fault.hint}`}`);
    return fault.exit === EXIT.usage ? EXIT.usage : EXIT.failed;
  }
}

/**
 * The way to a daemon. INVARIANTS: one is opened in this process only when none answered at the very first try: a service
 * that is being restarted keeps its place.
 */
class Way {
  readonly #context: ProgramContext;
  readonly #journal: Journal;
  readonly #verbosity: Verbosity;
  #client: Client | undefined;
  #own: OwnDaemon | undefined;
  #wasConnected = false;

  constructor(context: ProgramContext, journal: Journal, verbosity: Verbosity) {
    this.#context = context;
    this.#journal = journal;
    this.#verbosity = verbosity;
  }

  /** @throws Fault `daemon.unreachable`, `denied`, or what keeps a daemon from being opened here */
  async connect(): Promise<Client> {
    const { socket } = this.#context.places;
    const connect = () => Client.connect(socket, `auto-usb-attach ${VERSION}`);
    try {
      this.#client = await connect();
    } catch (error) {
      if (this.#wasConnected || !isFault(error, 'daemon.unreachable')) throw error;
      await this.#open();
      this.#client = await this.#patiently(connect);
    }
    this.#wasConnected = true;
    return this.#client;
  }

  async close(): Promise<void> {
    this.#client?.close();
    const own = this.#own;
    if (own === undefined) return;
    await withDeadline({ what: 'The end of the daemon', timeoutMs: CLOSE_MS }, () => own.close());
  }

  /** Opens a daemon here, unless another has come to be one meanwhile. */
  async #open(): Promise<void> {
    const { openDaemon } = await import('../../app/daemon.ts');
    const logLevel = this.#verbosity === 3 ? 'debug' : this.#verbosity === -1 ? 'error' : 'warn';
    try {
      this.#own = await openDaemon({ version: VERSION, places: this.#context.places, logLevel, isAutostarting: false });
      this.#journal.say('No daemon runs here: this is one, until it ends');
    } catch (error) {
      if (!isFault(error, 'daemon.running')) throw error;
    }
  }

  async #patiently(connect: () => Promise<Client>): Promise<Client> {
    const { clock = systemClock, signal } = this.#context;
    const until = clock.monotonic() + START_MS;
    for (;;) {
      try {
        return await connect();
      } catch (error) {
        if (!isFault(error, 'daemon.unreachable') || clock.monotonic() > until) throw error;
        await sleep(clock, 100, signal);
      }
    }
  }
}

/** Gives what may stand in the place of the last of `words`. Names come from the daemon; without one there are none. */
export async function completeAutoUsbAttach(
  words: readonly string[],
  daemon: () => Promise<Client>,
): Promise<readonly string[]> {
  const last = words.at(-1) ?? '';
  const valued = valuedOption(words.at(-2), OPTIONS);
  if (valued === 'domain') return (await (await daemon()).call('vm.list', { isAll: true })).map(({ name }) => name);
  if (valued === 'usb-version') return ['1', '2', '3'];
  if (valued === 'config' || valued === 'log-file' || valued === 'qmp-socket') return ['__files'];
  if (valued === undefined) return Object.keys(OPTIONS).map((name) => `--${name}`);
  const rows = await (await daemon()).call('usb.list', { isAll: true });
  if (valued === 'specific-device') {
    return [...new Set(rows.map(({ deviceId }) => deviceId.split(':').slice(0, 2).join(':')))];
  }
  const busids = rows.filter(({ device }) => device.startsWith('dom0:')).map(({ device }) => device.slice(5));
  const buses = busids.map((busid) => `usb${busid.split('-')[0]}`);
  return [...new Set([...buses, ...busids])].filter((hub) => hub.startsWith(last));
}
