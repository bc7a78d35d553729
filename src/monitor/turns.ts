/** Whose turn it is at one VM: jobs run one after the other, and one that overtakes has the ones before it give up. */
import { Fault, isFault } from '../lib/fault.ts';
import { KeyedQueue } from '../lib/keyed-queue.ts';

export interface TurnRequest {
  /** What is to be done, as the subject of a sentence: `"start" of VM work`. */
  readonly what: string;
  /** Gives the turn up when it is aborted, also while it waits. */
  readonly signal?: AbortSignal | undefined;
  /** Has all turns that run or wait give up; says to them why, as a sentence. */
  readonly overtakes?: string | undefined;
}

const KEY = 'turn';

/**
 * INVARIANTS: at most one job runs; jobs run in the order of `take`; an overtaking job starts only after the one it
 * interrupted has settled, so no two jobs ever talk to the driver about one VM; whoever waits and is given up hears of
 * it at once; an overtaking job is not itself overtaken.
 */
export class Turns {
  readonly #queue = new KeyedQueue();
  readonly #yielding = new Set<AbortController>();
  #isTaken = false;
  #closedBy: Fault | undefined;

  /** Tells whether a job runs now. */
  get isTaken(): boolean {
    return this.#isTaken;
  }

  /** Runs `job` in its turn. @throws Fault `aborted` when it is given up, `daemon.stopping` after `close`. */
  take<T>(request: TurnRequest, job: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { what, signal, overtakes } = request;
    if (this.#closedBy !== undefined) return Promise.reject(this.#closedBy);
    const control = new AbortController();
    if (overtakes === undefined) this.#yielding.add(control);
    else this.#giveUpAll(overtakes);
    control.signal.addEventListener('abort', () => this.#yielding.delete(control), { once: true });
    return new Promise((resolve, reject) => {
      let hasBegun = false;
      const giveUp = () => control.abort(new Fault('aborted', { what }, { cause: signal?.reason }));
      control.signal.addEventListener('abort', () => {
        if (!hasBegun) reject(named(control.signal.reason, what));
      });
      const run = async () => {
        if (control.signal.aborted) throw named(control.signal.reason, what);
        hasBegun = true;
        this.#isTaken = true;
        try {
          return await job(control.signal);
        } catch (error) {
          throw control.signal.aborted ? named(control.signal.reason, what) : error;
        } finally {
          this.#isTaken = false;
          this.#yielding.delete(control);
          signal?.removeEventListener('abort', giveUp);
        }
      };
      if (signal?.aborted) giveUp();
      else signal?.addEventListener('abort', giveUp, { once: true });
      this.#queue.run(KEY, run).then(resolve, reject);
    });
  }

  /** Has everything give up, refuses what comes, and resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.#closedBy ??= new Fault('daemon.stopping');
    this.#giveUpAll('The daemon is stopping.');
    await this.#queue.idle();
  }

  /** Resolves when nothing runs or waits. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  #giveUpAll(hint: string): void {
    for (const control of [...this.#yielding]) control.abort(new Fault('aborted', { what: 'The work' }, { hint }));
  }
}

/** Says in the name of the turn that was given up why it was. */
function named(reason: unknown, what: string): unknown {
  return isFault(reason, 'aborted')
    ? new Fault('aborted', { what }, { hint: reason.hint, cause: reason.cause })
    : reason;
}
