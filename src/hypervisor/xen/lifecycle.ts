/**
 * What this process does with the lives of domains, has done, and has yet to settle: builds, saves, ends, and what a former
 * daemon left, each in its turn. How one of them is done is said by start.ts, reset.ts, save.ts, host.ts and adopt.ts.
 */
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Fault } from '../../lib/fault.ts';
import { KeyedQueue } from '../../lib/keyed-queue.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { VmConfig } from '../../model/vm.ts';
import type { Domain, DriverHint, SaveOptions, SaveReport, Waiting } from '../driver.ts';
import { adoptVm, type SavedDomain } from './adopt.ts';
import { type Connection, serveConsole } from './connection.ts';
import { clearAway } from './host.ts';
import { type Looking, observeDomain } from './observation.ts';
import type { LivingDomain } from './roster.ts';
import { saveXen } from './save.ts';

interface Saving {
  /** Ends xl at once: the domain is destroyed anyway. */
  readonly abandon: AbortController;
  readonly done: Promise<SaveReport>;
}

/**
 * INVARIANTS:
 * - Start, reset, destruction, adoption and clearing of one domain exclude each other (`#turns`). A save takes no turn: it
 *   must not keep its domain from being destroyed.
 * - Of a VM whose folder has a note of a former daemon (a start or a save that was under way) nothing is told before that
 *   is settled, and nothing is done to its power but to end it: `settle` comes first.
 * - A domain that is being built does not count yet, but for those who would build another.
 * - The remains of a save are known by their domid: the next domain of the VM is not taken for them.
 */
export class Lifecycle {
  readonly #onHint: (hint: DriverHint) => void;
  readonly #turns = new KeyedQueue();
  readonly #building = new Map<VmUuid, AbortController>();
  readonly #saving = new Map<VmUuid, Saving>();
  readonly #saved = new Map<VmUuid, SavedDomain>();
  readonly #unsettled = new Set<VmUuid>();

  constructor(onHint: (hint: DriverHint) => void) {
    this.#onHint = onHint;
  }

  /** Takes note of the VMs of which a former daemon may have left something. */
  inherit(uuids: readonly VmUuid[]): void {
    for (const uuid of uuids) this.#unsettled.add(uuid);
  }

  /** Settles what a former daemon left of the VM, once. @throws as `adoptVm` does; it is tried again then */
  async settle(host: Connection, uuid: VmUuid): Promise<void> {
    if (!this.#unsettled.has(uuid)) return;
    await this.#turns.run(uuid, async () => {
      if (!this.#unsettled.has(uuid)) return;
      const saved = await adoptVm(host, uuid);
      if (saved !== undefined) this.#saved.set(uuid, saved);
      this.#unsettled.delete(uuid);
    });
  }

  /** The same for every VM. Never throws: what cannot be settled is tried again by who asks for that VM. */
  async settleAll(host: Connection): Promise<void> {
    await Promise.all([...this.#unsettled].map((uuid) => this.settle(host, uuid).catch(() => undefined)));
  }

  /** Tells whether the VM's domain is being built. */
  isBuilding(uuid: VmUuid): boolean {
    return this.#building.has(uuid);
  }

  /** Tells whether something has its turn with the domain, or waits for it. */
  isBusy(uuid: VmUuid): boolean {
    return this.#turns.isBusy(uuid);
  }

  /** Observes a domain, and says what we do to it. @throws as `observeDomain` does */
  observe(host: Connection, living: LivingDomain, looking: Looking): Promise<Domain | undefined> {
    const { uuid, domid } = living;
    const saved = this.#saved.get(uuid);
    const savedTo = saved?.domid === domid ? saved.path : undefined;
    return observeDomain(host, living, { isSaving: this.#saving.has(uuid), savedTo }, looking);
  }

  /**
   * Has a domain built in its turn, and gives it as it is then. `work` builds it, or leaves nothing; its signal is the
   * caller's, and is raised by `interrupt` too. @throws Fault `vm.start_failed`, `aborted`; as `work` does
   */
  build(
    host: Connection,
    { uuid, name }: Pick<VmConfig, 'uuid' | 'name'>,
    { what, signal: untold }: Waiting & { readonly what: string },
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<Domain> {
    const giveUp = new AbortController();
    const signal = untold === undefined ? giveUp.signal : AbortSignal.any([untold, giveUp.signal]);
    return this.#turns.run(uuid, async () => {
      checkAborted(signal, what);
      this.#building.set(uuid, giveUp);
      try {
        // One of a domain that somebody ended a moment ago: its socket goes with the folder.
        await host.consoles.end(uuid);
        await work(signal);
        await serveConsole(host, uuid);
      } finally {
        this.#building.delete(uuid);
      }
      const domain = await host.roster.find(uuid);
      const seen = domain && (await this.observe(host, domain, {}));
      if (seen !== undefined) return seen;
      throw new Fault('vm.start_failed', { vm: name, what: 'its domain was gone at once' });
    });
  }

  /** Saves a domain; one that is to stop is known as saved from then on. @throws Fault as `saveXen` does */
  async save(host: Connection, domain: LivingDomain, path: string, options: SaveOptions): Promise<SaveReport> {
    const { domid, uuid, name } = domain;
    if (this.#saving.has(uuid)) {
      throw new Fault('vm.save_failed', { vm: name, file: path, what: 'another save is going on' });
    }
    const abandon = new AbortController();
    const done = saveXen({ host, domain, path, options, abandon: abandon.signal });
    this.#saving.set(uuid, { abandon, done });
    try {
      const report = await done;
      if (options.afterwards === 'stopped') this.#saved.set(uuid, { domid, path: resolve(path) });
      return report;
    } finally {
      this.#saving.delete(uuid);
    }
  }

  /** Has a build or a save of the domain give up, whose end need not be waited for: before `end`. */
  interrupt(uuid: VmUuid): void {
    this.#building.get(uuid)?.abort();
    this.#saving.get(uuid)?.abandon.abort();
  }

  /** Ends the domain in its turn, and clears what it leaves. @throws as `clearAway` does */
  async end(host: Connection, uuid: VmUuid, waiting: Waiting): Promise<void> {
    await this.#turns.run(uuid, async () => {
      await clearAway(host, uuid, waiting);
      await this.#forget(host, uuid);
      this.#onHint({ about: 'power', uuid });
    });
  }

  /** Clears what a domain leaves that somebody else has ended, unless the VM has another by now. */
  async clearRemains(host: Connection, { uuid, domid, name }: LivingDomain): Promise<void> {
    await host.usb.release({ domid, uuid, name });
    await this.#turns.run(uuid, async () => {
      if ((await host.roster.findNow(uuid)) !== undefined) return;
      await rm(host.pathsOf(uuid).folder, { recursive: true, force: true });
      await this.#forget(host, uuid);
    });
  }

  /** Has builds give up, and waits until nothing is under way; saves go on to their end. */
  async close(): Promise<void> {
    for (const building of this.#building.values()) building.abort();
    await this.#turns.idle();
    await Promise.allSettled([...this.#saving.values()].map(({ done }) => done));
  }

  async #forget(host: Connection, uuid: VmUuid): Promise<void> {
    this.#saved.delete(uuid);
    this.#unsettled.delete(uuid);
    await host.consoles.end(uuid);
  }
}

/** @throws Fault `aborted` when that has happened already */
export function checkAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) throw new Fault('aborted', { what }, { cause: signal.reason });
}
