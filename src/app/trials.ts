/**
 * Risky changes on trial: each is undone by itself unless a person says in time that all is well. What is on trial is
 * stored: when the daemon dies meanwhile, the next one undoes it.
 */
import type { Inventory } from '../inventory/inventory.ts';
import type { StoredTrial } from '../inventory/trial-table.ts';
import type { Clock } from '../lib/clock.ts';
import { asFault, Fault, isFault, messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import type { Hold, Undo } from '../model/assignment.ts';
import type { AuditState, AuditTrail } from '../model/audit.ts';
import type { Publish } from '../model/event.ts';
import { deviceKey } from '../model/usb.ts';
import { USHER } from './steps.ts';

export interface TrialsOptions {
  readonly inventory: Pick<Inventory, 'trials' | 'holds' | 'putHold' | 'dropHold' | 'assignments' | 'removeAssignment'>;
  readonly audit: AuditTrail;
  readonly clock: Clock;
  readonly log: Log;
  readonly publish: Publish;
  /** Gives how things stand then. */
  readonly goBack: (policyText: string) => Promise<AuditState>;
  readonly onUndone: () => void;
}

/** So long after it failed (a full disk) an undoing is tried again; then later and later. */
const AGAIN_MS = 5_000;
const AGAIN_AT_MOST_MS = 3_600_000;

/**
 * INVARIANTS: a trial is stored before its change is made (of an assignment, whose number it needs, in the same turn of the
 * loop) and until it was confirmed or undone, however often that has to be tried; what comes back was never on trial itself.
 */
export class Trials {
  readonly #options: TrialsOptions;
  readonly #timers = new Map<number, () => void>();
  #isClosed = false;

  constructor(options: TrialsOptions) {
    this.#options = options;
  }

  /** Undoes what a daemon before left on trial: nobody can have confirmed it. */
  async open(): Promise<void> {
    for (const trial of this.#options.inventory.trials.list())
      await this.#undo(trial, 'the daemon ended before it was confirmed');
  }

  /** Puts a change on trial; to be called before it is made. */
  begin(what: string, undo: Undo, seconds: number): StoredTrial {
    const { inventory, clock, publish } = this.#options;
    const trial = inventory.trials.add({ what, undo, until: clock.now() + seconds * 1000 });
    this.#timers.set(
      trial.id,
      clock.after(seconds * 1000, () => void this.#undo(trial, `nobody confirmed it within ${seconds} s`)),
    );
    publish('trial.began', { trial: trial.id, what, until: trial.until });
    return trial;
  }

  /** Lists what is on trial. */
  list(): readonly StoredTrial[] {
    return this.#options.inventory.trials.list();
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

  /** Ends the trial of an assignment that somebody has removed meanwhile: there is nothing left to undo. */
  endOfAssignment(id: number): void {
    for (const trial of this.list()) if (trial.undo.do === 'assignment' && trial.undo.id === id) this.#forget(trial.id);
  }

  /** Takes a trial back whose change was not made after all, or that another one has overtaken. */
  withdraw(id: number): void {
    this.#forget(id);
  }

  /** Stops the clocks; what is on trial stays stored. */
  close(): void {
    this.#isClosed = true;
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
  }

  /** Undoes a change, or tries again later; never throws. */
  async #undo(trial: StoredTrial, why: string, againMs = AGAIN_MS): Promise<void> {
    const { clock, log, publish, onUndone } = this.#options;
    if (this.#isClosed) return;
    try {
      if (!this.list().some(({ id }) => id === trial.id)) return; // Confirmed while the last try was under way.
      await this.#undoOnTrail(trial, why);
      this.#forget(trial.id);
    } catch (error) {
      log.error('a trial could not be undone, and will be tried again', { what: trial.what, error: messageOf(error) });
      this.#timers.set(
        trial.id,
        clock.after(againMs, () => void this.#undo(trial, why, Math.min(2 * againMs, AGAIN_AT_MOST_MS))),
      );
      return;
    }
    publish('trial.ended', { trial: trial.id, what: trial.what, isConfirmed: false, why });
    onUndone();
  }

  async #undoOnTrail({ id, what, undo }: StoredTrial, why: string): Promise<void> {
    const { audit, inventory, goBack } = this.#options;
    const device = undo.do === 'hold' ? deviceKey(undo.hold) : undefined;
    const because = { by: 'trial', says: why };
    const intent = audit.intend({ actor: USHER, action: 'trial.undo', device, details: { trial: id, what }, because });
    try {
      let after: AuditState | undefined;
      if (undo.do === 'policy') after = await goBack(undo.text);
      else if (undo.do === 'hold') this.#undoHold(undo);
      else if (inventory.assignments().some((other) => other.id === undo.id)) inventory.removeAssignment(undo.id);
      audit.conclude(intent, 'ok', undefined, after);
    } catch (error) {
      const { message, code } = asFault(error);
      audit.conclude(intent, 'failed', { error: message, code });
      throw error;
    }
  }

  /** A hand that came later stays. */
  #undoHold({ hold, before }: Extract<Undo, { do: 'hold' }>): void {
    const { inventory } = this.#options;
    const now = inventory.holds().find((other) => deviceKey(other) === deviceKey(hold));
    if (now === undefined || !isSame(now, hold)) return;
    try {
      if (before !== undefined) inventory.putHold(before);
      else inventory.dropHold(now); // As it is about the device by now: it may have changed its id.
    } catch (error) {
      if (!isFault(error, 'vm.not_found')) throw error;
      inventory.dropHold(now); // The VM that had it before is no more.
    }
  }

  #forget(id: number): void {
    this.#timers.get(id)?.();
    this.#timers.delete(id);
    this.#options.inventory.trials.remove(id);
  }
}

function isSame(a: Hold, b: Hold): boolean {
  return deviceKey(a) === deviceKey(b) && a.createdAt === b.createdAt && a.kind === b.kind && a.vm === b.vm;
}
