/**
 * Risky changes on trial: each is undone by itself unless a person says in time that all is well. What is on trial is
 * stored: when the daemon dies meanwhile, the next one undoes it.
 */
import type { Inventory, StoredTrial } from '../inventory/inventory.ts';
import type { Clock } from '../lib/clock.ts';
import { Fault, messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import type { Hold, Undo } from '../model/assignment.ts';
import type { Publish } from '../model/event.ts';
import { deviceKey } from '../model/usb.ts';

export interface TrialsOptions {
  readonly inventory: Pick<
    Inventory,
    'trials' | 'addTrial' | 'removeTrial' | 'holds' | 'putHold' | 'dropHold' | 'removeAssignment'
  >;
  readonly clock: Clock;
  readonly log: Log;
  readonly publish: Publish;
  readonly goBack: (policyText: string) => Promise<void>;
  readonly onUndone: () => void;
}

/**
 * INVARIANTS: a trial is stored before its change is made (of an assignment, whose number it needs, in the same turn of the
 * loop) and until it was confirmed or undone; what comes back was never on trial itself.
 */
export class Trials {
  readonly #options: TrialsOptions;
  readonly #timers = new Map<number, () => void>();

  constructor(options: TrialsOptions) {
    this.#options = options;
  }

  /** Undoes what a daemon before left on trial: nobody can have confirmed it. */
  async open(): Promise<void> {
    for (const trial of this.#options.inventory.trials())
      await this.#undo(trial, 'the daemon ended before it was confirmed');
  }

  /** Puts a change on trial; to be called before it is made. */
  begin(what: string, undo: Undo, seconds: number): StoredTrial {
    const { inventory, clock, publish } = this.#options;
    const trial = inventory.addTrial({ what, undo, until: clock.now() + seconds * 1000 });
    this.#timers.set(
      trial.id,
      clock.after(seconds * 1000, () => void this.#undo(trial, `nobody confirmed it within ${seconds} s`)),
    );
    publish('trial.began', { trial: trial.id, what, until: trial.until });
    return trial;
  }

  /** Lists what is on trial. */
  list(): readonly StoredTrial[] {
    return this.#options.inventory.trials();
  }

  /** Gives the trial of that number, or all. @throws Fault `trial.not_found` */
  find(id?: number): readonly StoredTrial[] {
    const found = this.list().filter((trial) => id === undefined || trial.id === id);
    if (found.length === 0) throw new Fault('trial.not_found', { trial: id ?? 'at all' });
    return found;
  }

  /** Ends trials, one or all; the changes stay. @throws Fault `trial.not_found` */
  confirm(id?: number): readonly StoredTrial[] {
    const { publish } = this.#options;
    const ended = this.find(id);
    for (const trial of ended) {
      this.#forget(trial.id);
      publish('trial.ended', { trial: trial.id, what: trial.what, isConfirmed: true, why: 'a person confirmed it' });
    }
    return ended;
  }

  /** Gives the trial that the present policy is on. */
  ofPolicy(): StoredTrial | undefined {
    return this.list().find(({ undo }) => undo.do === 'policy');
  }

  /** Gives what a hold is to give way to when it is undone: not itself what is on trial, but what held before that. */
  beforeHold(now: Hold | undefined): { readonly before: Hold | undefined; readonly trial?: StoredTrial } {
    for (const trial of this.list()) {
      const { undo } = trial;
      if (undo.do === 'hold' && now !== undefined && isSame(undo.hold, now)) return { before: undo.before, trial };
    }
    return { before: now };
  }

  /** Takes a trial back whose change was not made after all, or that another one has overtaken. */
  withdraw(id: number): void {
    this.#forget(id);
  }

  /** Stops the clocks; what is on trial stays stored. */
  close(): void {
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
  }

  async #undo(trial: StoredTrial, why: string): Promise<void> {
    const { inventory, log, publish, onUndone } = this.#options;
    const { undo } = trial;
    try {
      if (undo.do === 'policy') await this.#options.goBack(undo.text);
      else if (undo.do === 'hold') this.#undoHold(undo);
      else if (undo.do === 'assignment') inventory.removeAssignment(undo.id);
    } catch (error) {
      log.error('a trial could not be undone', { what: trial.what, error: messageOf(error) });
    }
    this.#forget(trial.id);
    publish('trial.ended', { trial: trial.id, what: trial.what, isConfirmed: false, why });
    onUndone();
  }

  /** A hand that came later stays. */
  #undoHold({ hold, before }: Extract<Undo, { do: 'hold' }>): void {
    const { inventory } = this.#options;
    const now = inventory.holds().find((other) => deviceKey(other) === deviceKey(hold));
    if (now === undefined || !isSame(now, hold)) return;
    if (before === undefined) inventory.dropHold(hold);
    else inventory.putHold(before);
  }

  #forget(id: number): void {
    this.#timers.get(id)?.();
    this.#timers.delete(id);
    this.#options.inventory.removeTrial(id);
  }
}

function isSame(a: Hold, b: Hold): boolean {
  return deviceKey(a) === deviceKey(b) && a.createdAt === b.createdAt && a.kind === b.kind && a.vm === b.vm;
}
