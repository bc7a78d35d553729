/**
 * Tells the head of the audit trail to the system log, at the start, every so often when it has changed, and at the end:
 * a tail that is cut off the trail later is missing there, and `usher audit verify --anchors` sees it.
 */
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import { formatAnchor } from '../model/audit-anchor.ts';
import type { Link } from './audit-chain.ts';

export interface AnchorsOptions {
  readonly head: () => Link;
  /** Names the trail. */
  readonly home: string;
  /** Sends a line; gives what went wrong, if anything did. */
  readonly tell: (text: string) => string | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly everyMs: number;
}

export class Anchors {
  readonly #options: AnchorsOptions;
  #last = '';
  #trouble: string | undefined;
  #cancel: () => void = () => undefined;

  constructor(options: AnchorsOptions) {
    this.#options = options;
  }

  /** Why the newest head could not be told; `undefined` when it was. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Tells the head that was found, and goes on by the clock. Legal once. */
  start(): void {
    this.#tell();
    this.#cancel = this.#options.clock.after(this.#options.everyMs, () => this.start());
  }

  /** Tells the last head. */
  close(): void {
    this.#cancel();
    this.#tell();
  }

  #tell(): void {
    const { head, home, tell, log } = this.#options;
    try {
      const { row, hash } = head();
      if (row === 0 || hash === this.#last) return;
      const trouble = tell(formatAnchor({ row, hash, home }));
      if (trouble === undefined) this.#last = hash;
      else if (this.#trouble === undefined)
        log.warn('the head of the audit trail cannot be told to the system log', { trouble });
      this.#trouble = trouble;
    } catch (error) {
      log.error('the head of the audit trail cannot be read', { error });
    }
  }
}
