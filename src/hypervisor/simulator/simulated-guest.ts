/** The guest of a simulated domain: a memory that counts how long it ran, and whether it listens. Knows no domains. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../lib/clock.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { GuestMemory } from './world-port.ts';

const TICK_MS = 100;

export class SimulatedGuest {
  readonly #uuid: VmUuid;
  readonly #clock: Clock;
  readonly #bootMs: number;
  #bootId: string;
  /** Up to `#runsSince`, when it runs. */
  #ranMs: number;
  #runsSince: number | undefined;
  #isFrozen = false;

  /** Makes a guest that stands still: fresh, or one that goes on from a memory. `bootMs` is how long it boots. */
  constructor(uuid: VmUuid, clock: Clock, bootMs: number, memory?: GuestMemory) {
    this.#uuid = uuid;
    this.#clock = clock;
    this.#bootMs = bootMs;
    this.#bootId = memory?.bootId ?? randomUUID();
    this.#ranMs = memory?.ranMs ?? 0;
  }

  get bootId(): string {
    return this.#bootId;
  }

  get isFrozen(): boolean {
    return this.#isFrozen;
  }

  /** Tells whether it has booted and answers. */
  get isReady(): boolean {
    return this.#runsSince !== undefined && !this.#isFrozen && this.#sumMs() >= this.#bootMs;
  }

  get ticks(): number {
    return Math.floor(this.#sumMs() / TICK_MS);
  }

  memory(): GuestMemory {
    return { uuid: this.#uuid, bootId: this.#bootId, ranMs: this.#sumMs() };
  }

  /** Lets its processors run, or stops them. */
  setRunning(isRunning: boolean): void {
    this.#ranMs = this.#sumMs();
    this.#runsSince = isRunning ? this.#clock.monotonic() : undefined;
  }

  /** Makes it hang: its processors run, but nothing in it goes on. */
  setFrozen(isFrozen: boolean): void {
    this.#ranMs = this.#sumMs();
    if (this.#runsSince !== undefined) this.#runsSince = this.#clock.monotonic();
    this.#isFrozen = isFrozen;
  }

  /** Boots it anew, as it stands or runs. */
  reboot(): void {
    this.#isFrozen = false;
    this.#bootId = randomUUID();
    this.#ranMs = 0;
    if (this.#runsSince !== undefined) this.#runsSince = this.#clock.monotonic();
  }

  #sumMs(): number {
    if (this.#runsSince === undefined || this.#isFrozen) return this.#ranMs;
    return this.#ranMs + this.#clock.monotonic() - this.#runsSince;
  }
}
