/** The troubles that wait for calls and hints of a simulated world. Knows what to do when, and nothing of the world. */
import type { Clock } from '../../lib/clock.ts';
import type { Disturbance, HintTrouble, Trouble, WorldMethod } from './world-port.ts';

export class Disturbances {
  #waiting: { readonly disturbance: Disturbance; left: number }[] = [];
  #hints: { lose: number; duplicate: number; lateMs: number } = { lose: 0, duplicate: 0, lateMs: 0 };
  readonly #hanging = new Set<() => void>();

  add(disturbance: Disturbance): void {
    this.#waiting.push({ disturbance, left: disturbance.times ?? 1 });
  }

  setHints(trouble: HintTrouble): void {
    this.#hints = { ...this.#hints, ...trouble };
  }

  /** Takes the troubles that befall this call, in the order in which they were added. */
  take(method: WorldMethod, uuid: string | undefined, device: string | undefined): readonly Trouble[] {
    if (this.#waiting.length === 0) return [];
    const taken = this.#waiting.filter(({ disturbance: wanted }) => {
      return (
        wanted.method === method &&
        (wanted.uuid === undefined || wanted.uuid === uuid) &&
        (wanted.device === undefined || wanted.device === device)
      );
    });
    for (const row of taken) row.left--;
    this.#waiting = this.#waiting.filter(({ left }) => left > 0);
    return taken.map(({ disturbance }) => disturbance.trouble);
  }

  /** Waits until `calm`; rejects with the signal's reason when that comes first. */
  hang(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const onAbort = () => {
        this.#hanging.delete(release);
        reject(signal.reason as Error);
      };
      const release = () => {
        this.#hanging.delete(release);
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#hanging.add(release);
    });
  }

  /** Releases what hangs and forgets the troubles that have not come. */
  calm(): void {
    this.#waiting = [];
    this.#hints = { lose: 0, duplicate: 0, lateMs: 0 };
    for (const release of [...this.#hanging]) release();
  }

  /** Has `deliver` called as often and as late as the troubles say. */
  deliverHint(clock: Clock, deliver: () => void): void {
    const hints = this.#hints;
    if (hints.lose > 0) {
      hints.lose--;
      return;
    }
    const copies = hints.duplicate > 0 ? 2 : 1;
    if (copies === 2) hints.duplicate--;
    for (let i = 0; i < copies; i++) {
      if (hints.lateMs > 0) clock.after(hints.lateMs, deliver);
      else queueMicrotask(deliver);
    }
  }
}
