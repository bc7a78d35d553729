/**
 * The watches of one client: who listens to which path, what of it the present session knows, and all of it again in the
 * next session. No reconnecting of its own.
 */
import type { Log } from '../../lib/log.ts';
import { isXenstoreError } from './error.ts';
import { isSpecialPath, levelsBelow } from './paths.ts';
import { decodeOk, type WatchEvent } from './payloads.ts';
import type { XenstoreSession, XenstoreWaitOptions } from './session.ts';

/** A place that is being watched. */
export interface Watch {
  readonly path: string;
  /** Ends it: the listener is not called any more. */
  close(): void;
}

export interface WatchOptions extends XenstoreWaitOptions {
  /**
   * Hear only of nodes at most so many levels below the path; 0: the node itself. It is counted here: few daemons know
   * depths, and to ask one whether it does can cost a connection (docs/protocols/xenstore.md).
   */
  readonly depth?: number | undefined;
}

interface Entry {
  readonly token: string;
  readonly path: string;
  readonly depth: number | undefined;
  readonly listener: (changedPath: string) => void;
}

/**
 * INVARIANTS:
 * - A token is given once in the life of a client, so a late event of a watch that is closed finds nobody.
 * - An entry can hear events from the moment WATCH is sent. It is registered again in later sessions once it was
 *   answered.
 * - A listener that throws hurts nobody else.
 */
export class Watches {
  readonly #log: Log;
  readonly #heard = new Map<string, Entry>();
  readonly #kept = new Set<Entry>();
  #lastToken = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Begins to watch. @throws as requests do; then nothing is watched */
  async add(
    session: XenstoreSession,
    current: () => XenstoreSession,
    path: string,
    listener: (changedPath: string) => void,
    { depth, ...waiting }: WatchOptions = {},
  ): Promise<Watch> {
    const entry: Entry = { token: `u${++this.#lastToken}`, path, depth, listener };
    this.#heard.set(entry.token, entry);
    try {
      await this.#register(session, entry, waiting);
    } catch (error) {
      this.#heard.delete(entry.token);
      throw error;
    }
    this.#kept.add(entry);
    return { path, close: () => this.#remove(entry, current) };
  }

  /** Registers all of them in a new session. @throws the fault of the connection */
  async registerAgain(session: XenstoreSession): Promise<void> {
    await Promise.all(
      [...this.#kept].map(async (entry) => {
        try {
          await this.#register(session, entry, {});
        } catch (error) {
          if (!isXenstoreError(error)) throw error;
          this.#log.warn('xenstored refuses a watch that it had before', { path: entry.path, error });
          this.#call(entry, entry.path);
        }
      }),
    );
  }

  /** Tells the listener of an event. */
  dispatch({ path, token }: WatchEvent): void {
    const entry = this.#heard.get(token);
    if (entry === undefined) return;
    const levels = entry.depth === undefined || isSpecialPath(path) ? 0 : (levelsBelow(entry.path, path) ?? 0);
    if (levels <= (entry.depth ?? 0)) this.#call(entry, path);
  }

  /** Forgets all of them, when xenstored has. */
  clear(): void {
    this.#heard.clear();
    this.#kept.clear();
  }

  async #register(session: XenstoreSession, entry: Entry, waiting: XenstoreWaitOptions): Promise<void> {
    const { path, token } = entry;
    await session.request(
      {
        name: 'WATCH',
        path,
        allowsSpecial: true,
        text: `${token}\0`,
        decode: decodeOk,
        onLate: () => this.#unwatch(session, entry),
      },
      waiting,
    );
  }

  #remove(entry: Entry, current: () => XenstoreSession): void {
    this.#heard.delete(entry.token);
    if (!this.#kept.delete(entry)) return;
    try {
      this.#unwatch(current(), entry);
    } catch {
      // Without a session there is nothing to undo.
    }
  }

  #unwatch(session: XenstoreSession, { path, token }: Entry): void {
    const question = { name: 'UNWATCH', path, allowsSpecial: true, text: `${token}\0`, decode: decodeOk } as const;
    session.request(question).catch((error: unknown) => {
      if (isXenstoreError(error)) this.#log.warn('xenstored refuses to end a watch', { path, error });
    });
  }

  #call(entry: Entry, changedPath: string): void {
    try {
      entry.listener(changedPath);
    } catch (error) {
      this.#log.error('a listener to xenstore failed', { path: entry.path, error });
    }
  }
}
