/**
 * The assignments that a run of auto-usb-attach makes for its VM, and takes back at its end. Those that people have made
 * are left alone, also when they say the same.
 */
import type { Client } from '../../api/client.ts';
import type { DeviceView } from '../../api/views.ts';
import { isFault, messageOf } from '../../lib/fault.ts';
import { listWords } from '../../lib/text.ts';
import { HOST_BACKEND } from '../../model/ids.ts';
import type { Journal } from './journal.ts';
import type { RunNotes } from './run-notes.ts';

export interface Target {
  readonly uuid: string;
  readonly name: string;
}

/** Gives the pattern of everything below a hub: `usb3`, `1-1`. */
export function hubPattern(hub: string, backend = HOST_BACKEND): string {
  return `${backend}:${hub.startsWith('usb') ? `${hub.slice(3)}-` : `${hub}.`}*`;
}

/** Gives the pattern of a kind of device, `vid:pid`, wherever it is plugged. */
export function devicePattern(numbers: string): string {
  return `${numbers}:*:*`;
}

/** Tells whether the device is a hub, by its interfaces (class 09). */
export function isHubRow({ deviceId }: Pick<DeviceView, 'deviceId'>): boolean {
  return (deviceId.split(':')[3] ?? '').split('.').some((triple) => triple.startsWith('09'));
}

/** INVARIANTS: what is in `#own` is in the run's note; nothing else is ever removed. */
export class OwnAssignments {
  readonly #target: Target;
  readonly #journal: Journal;
  readonly #notes: RunNotes;
  readonly #own = new Set<string>();
  /** Made before this run, or removed by somebody during it: not ours. */
  readonly #leftAlone = new Set<string>();
  #isBegun = false;

  constructor(target: Target, journal: Journal, notes: RunNotes) {
    this.#target = target;
    this.#journal = journal;
    this.#notes = notes;
  }

  /** Sees to it that just these patterns are assigned, as far as they are ours to assign. @throws Fault */
  async want(client: Client, patterns: readonly string[]): Promise<void> {
    if (!this.#isBegun) for (const left of await this.#notes.leftWith(this.#target.uuid)) this.#own.add(left);
    const there = new Map((await this.#assignments(client)).map((assignment) => [assignment.device, assignment]));
    for (const pattern of this.#own) {
      if (there.has(pattern)) continue;
      this.#own.delete(pattern);
      if (!this.#isBegun) continue; // The run that left it never came to make it.
      this.#leftAlone.add(pattern);
      this.#journal.warn(`Somebody has removed the assignment of ${pattern}; it is not made again`);
    }
    const missing = patterns.filter((pattern) => !this.#own.has(pattern) && !this.#leftAlone.has(pattern));
    for (const pattern of missing) {
      const other = there.get(pattern);
      if (other === undefined) this.#own.add(pattern);
      else this.#leave(pattern, other);
    }
    await this.#note();
    for (const pattern of missing.filter((one) => this.#own.has(one))) await this.#assign(client, pattern);
    await this.#remove(
      client,
      [...this.#own].filter((pattern) => !patterns.includes(pattern)),
    );
    this.#isBegun = true;
  }

  /** Takes everything of ours back. What is attached by it stays where it is until it is unplugged. @throws Fault */
  async giveBack(client: Client): Promise<void> {
    await this.#remove(client, [...this.#own]);
  }

  /** Says what stays because nobody could be told. */
  sayWhatStays(): void {
    if (this.#own.size === 0) return;
    const patterns = listWords([...this.#own], 'and');
    this.#journal.warn(
      `No daemon can be told that this ends: ${patterns} stay with ${this.#target.name}; see usher usb assignments`,
    );
  }

  async #assign(client: Client, pattern: string): Promise<void> {
    try {
      const { id } = await client.call('usb.assign', { vm: this.#target.uuid, device: pattern, mode: 'auto' });
      this.#journal.say(`Assignment ${id}: ${pattern} to ${this.#target.name}`, 1);
    } catch (error) {
      this.#own.delete(pattern);
      if (!isFault(error, 'assignment.exists')) throw error;
      this.#leftAlone.add(pattern); // Somebody was faster.
    }
  }

  #leave(pattern: string, other: { readonly id: number; readonly mode: string }): void {
    this.#leftAlone.add(pattern);
    if (other.mode === 'auto')
      this.#journal.say(`${pattern} is assigned already (${other.id}), and stays so afterwards`);
    else
      this.#journal.warn(`${pattern} is assigned already (${other.id}), in mode ${other.mode}: that decides, not this`);
  }

  async #remove(client: Client, patterns: readonly string[]): Promise<void> {
    if (patterns.length === 0) return;
    const chosen = (await this.#assignments(client)).filter(({ device }) => patterns.includes(device));
    const matching = new Set(chosen.flatMap(({ matches }) => matches));
    for (const { device, state, vm } of await client.call('usb.list', {})) {
      if (state === 'attached' && vm === this.#target.name && matching.has(device)) await this.#keep(client, device);
    }
    for (const { id } of chosen) {
      await client.call('usb.unassign', { assignment: id }).catch((error: unknown) => {
        if (!isFault(error, 'assignment.not_found')) throw error;
      });
    }
    for (const pattern of patterns) this.#own.delete(pattern);
    await this.#note();
  }

  /** A hold keeps a device in the VM when its assignment goes. */
  async #keep(client: Client, device: string): Promise<void> {
    try {
      await client.call('usb.attach', { vm: this.#target.uuid, device });
      this.#journal.say(`${device} stays attached to ${this.#target.name} until it is unplugged`);
    } catch (error) {
      this.#journal.warn(`${device} does not stay attached: ${messageOf(error)}`);
    }
  }

  async #assignments(client: Client) {
    return (await client.call('usb.assignments', {})).filter(({ vm }) => vm === this.#target.name);
  }

  async #note(): Promise<void> {
    await this.#notes.write(this.#target.uuid, [...this.#own]).catch((error: unknown) => {
      this.#journal.say(`What this run does cannot be noted for the next one: ${messageOf(error)}`, 1);
    });
  }
}
