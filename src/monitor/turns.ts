/** Whose turn it is at one VM: jobs run one after the other, and one that overtakes has the ones before it give up. */
import type { Clock } from '../lib/clock.ts';
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

/** A turn as its job sees it. */
export interface Turn {
  readonly signal: AbortSignal;
  /** It was left behind: others have their turn now, and nothing that its job does may count any more. */
  readonly isLeft: boolean;
}

export interface TurnsOptions {
  readonly clock: Clock;
  /** How long a job that was interrupted may take to settle before it is left behind. */
  readonly graceMs: number;
  /** Told when a job is left behind; `ended` resolves when it has settled at last, if ever. */
  readonly onLeft: (ended: Promise<void>) => void;
}

/** The job that has the turn now. */
interface Holder {
  readonly isYielding: boolean;
  readonly leave: () => void;
  /** Ends the grace, once it has begun. */
  cancelGrace?: () => void;
}

const KEY = 'turn';
const STOPPING = 'The daemon is stopping.';

/**
 * INVARIANTS: at most one job has the turn; jobs have it in the order of `take`; an overtaking job begins when the one it
 * interrupted has settled, or has been left behind after the grace; a job that is left behind has no say any more (see
 * `reachOf` in vm-context.ts), and its caller hears `aborted` then; whoever waits and is given up hears of it at once; an
 * overtaking job is not itself overtaken; `close` resolves after the grace at the latest.
 */
export class Turns {
  readonly #options: TurnsOptions;
  readonly #queue = new KeyedQueue();
  readonly #yielding = new Set<AbortController>();
  #holder: Holder | undefined;
  #closedBy: Fault | undefined;
  /** The grace of `close` is over: nothing begins any more. */
  #isShut = false;

  constructor(options: TurnsOptions) {
    this.#options = options;
  }

  /** Tells whether a job has the turn now. */
  get isTaken(): boolean {
    return this.#holder !== undefined;
  }

  /** Runs `job` in its turn. @throws Fault `aborted` when it is given up, `daemon.stopping` after `close`. */
  take<T>(request: TurnRequest, job: (turn: Turn) => Promise<T>): Promise<T> {
    const { what, signal, overtakes } = request;
    if (this.#closedBy !== undefined) return Promise.reject(this.#closedBy);
    const control = new AbortController();
    if (overtakes === undefined) this.#yielding.add(control);
    else this.#overtake(overtakes);
    control.signal.addEventListener('abort', () => this.#yielding.delete(control), { once: true });
    return new Promise((resolve, reject) => {
      let hasBegun = false;
      const giveUp = () => control.abort(new Fault('aborted', { what }, { cause: signal?.reason }));
      control.signal.addEventListener('abort', () => {
        if (!hasBegun) reject(named(control.signal.reason, what));
      });
      const run = async () => {
        if (control.signal.aborted) throw named(control.signal.reason, what);
        if (this.#isShut) throw this.#closedBy;
        hasBegun = true;
        try {
          return await this.#hold(control, overtakes === undefined, job);
        } catch (error) {
          throw control.signal.aborted ? named(control.signal.reason, what) : error;
        } finally {
          this.#yielding.delete(control);
          signal?.removeEventListener('abort', giveUp);
        }
      };
      if (signal?.aborted) giveUp();
      else signal?.addEventListener('abort', giveUp, { once: true });
      this.#queue.run(KEY, run).then(resolve, reject);
    });
  }

  /** Has everything give up, refuses what comes, and resolves when nothing runs any more or the grace is over. */
  async close(): Promise<void> {
    const { clock, graceMs } = this.#options;
    this.#closedBy ??= new Fault('daemon.stopping');
    this.#giveUpAll(STOPPING);
    const cancel = clock.after(graceMs, () => {
      this.#isShut = true;
      this.#holder?.leave();
    });
    await this.#queue.idle();
    cancel();
  }

  /** Resolves when nothing runs or waits. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  /** Gives the turn to a job until that settles or is left behind. */
  async #hold<T>(control: AbortController, isYielding: boolean, job: (turn: Turn) => Promise<T>): Promise<T> {
    const { promise: left, reject } = Promise.withResolvers<never>();
    const turn = { signal: control.signal, isLeft: false };
    const leave = () => {
      if (turn.isLeft) return;
      turn.isLeft = true;
      control.abort(new Fault('aborted', { what: 'The work' }, { hint: STOPPING }));
      this.#options.onLeft(work.then(noop, noop));
      reject(control.signal.reason);
    };
    const holder: Holder = { isYielding, leave };
    this.#holder = holder;
    const work = job(turn);
    try {
      return await Promise.race([work, left]);
    } finally {
      holder.cancelGrace?.();
      this.#holder = undefined;
    }
  }

  #overtake(hint: string): void {
    const { clock, graceMs } = this.#options;
    const holder = this.#holder;
    if (holder?.isYielding) holder.cancelGrace ??= clock.after(graceMs, holder.leave);
    this.#giveUpAll(hint);
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

function noop(): void {}
