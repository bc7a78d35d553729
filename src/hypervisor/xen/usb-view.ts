/**
 * The USB nodes of every domain of this host, ours or not, kept up to date by two watches: who holds which place of dom0
 * is told without asking xenstore. What an act depends on is proved in its own transaction.
 */
import type { Clock } from '../../lib/clock.ts';
import { isFault } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import type { UsbSlot } from '../../model/usb.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { Watch } from '../../wire/xenstore/watches.ts';
import { type ControllerState, type DomainNodes, type PortNodes, readDomainNodes } from './domain-nodes.ts';
import { LIBXL_ROOT, parseNumbers, QUSB_ROOT, readChange } from './nodes.ts';

export interface UsbViewParts {
  readonly xenstore: Pick<XenstoreClient, 'read' | 'directory' | 'watch' | 'onResync'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Told after each look that saw something else than the one before; `undefined` where there is no domain. */
  onChange(before: DomainNodes | undefined, after: DomainNodes | undefined): void;
}

/** A port whose node names a place of dom0. */
export interface Holder extends UsbSlot {
  readonly nodes: DomainNodes;
  readonly isHusk: boolean;
}

/** A toolstack writes dozens of nodes in a row. */
const SETTLE_MS = 5;
/** Until what could not be looked at is looked at again. */
const AGAIN_MS = 1_000;

interface Look {
  readonly done: Promise<DomainNodes | undefined>;
}

/**
 * INVARIANTS:
 * - Looks at one domain never overlap: a question is answered by a look that began after it, and questions that wait share
 *   one.
 * - A change that a watch told leads to a look that begins after it; one that fails is followed by another, and nothing is
 *   told from memory before one has worked.
 */
export class UsbView {
  readonly #parts: UsbViewParts;
  readonly #domains = new Map<number, DomainNodes>();
  readonly #underWay = new Map<number, Look>();
  readonly #waiting = new Map<number, Look>();
  readonly #dirty = new Set<number>();
  #watches: Watch[] = [];
  #isAllDirty = false;
  #cancelSettling: (() => void) | undefined;
  #cancelAgain: (() => void) | undefined;
  #forgetResync: () => void = () => undefined;
  #isClosed = false;

  constructor(parts: UsbViewParts) {
    this.#parts = parts;
  }

  /** Begins to watch, and looks at every domain. @throws as reading xenstore does */
  async open(): Promise<void> {
    const { xenstore } = this.#parts;
    this.#forgetResync = xenstore.onResync(() => this.#note('all'));
    for (const root of [QUSB_ROOT, LIBXL_ROOT]) {
      this.#watches.push(await xenstore.watch(root, (path) => this.#note(readChange(path))));
    }
    await this.#lookAtAll();
  }

  close(): void {
    this.#isClosed = true;
    this.#forgetResync();
    this.#cancelSettling?.();
    this.#cancelAgain?.();
    for (const watch of this.#watches) watch.close();
    this.#watches = [];
  }

  /** Every domain that has been seen, by domid. */
  get domains(): ReadonlyMap<number, DomainNodes> {
    return this.#domains;
  }

  /** Looks at a domain now. `undefined`: there is none. @throws as reading xenstore does */
  refresh(domid: number): Promise<DomainNodes | undefined> {
    this.#dirty.delete(domid);
    const waiting = this.#waiting.get(domid);
    if (waiting !== undefined) return waiting.done;
    const before = this.#underWay.get(domid);
    if (before === undefined) return this.#look(domid);
    const done = before.done
      .catch(() => undefined)
      .then(() => {
        this.#waiting.delete(domid);
        return this.#look(domid);
      });
    this.#waiting.set(domid, { done });
    return done;
  }

  /** Gives what was seen last, unless it may have changed since: then it looks. @throws as `refresh` does */
  async current(domid: number): Promise<DomainNodes | undefined> {
    const isFresh = !this.#dirty.has(domid) && !this.#underWay.has(domid);
    return (isFresh ? this.#domains.get(domid) : undefined) ?? (await this.refresh(domid));
  }

  /** Notes that we have changed something there ourselves: what was seen before is no longer so. */
  touch(domid: number): void {
    this.#dirty.add(domid);
  }

  /** Gives every port of every domain whose node names this place of dom0. */
  holdersOf(busid: string): Holder[] {
    const holders: Holder[] = [];
    for (const nodes of this.#domains.values()) {
      for (const { controller, slot, busid: held } of takenPorts(nodes)) {
        if (held !== busid) continue;
        holders.push({ nodes, controller: controller.index, port: slot.port, isHusk: controller.isHusk });
      }
    }
    return holders;
  }

  #look(domid: number): Promise<DomainNodes | undefined> {
    const done = readDomainNodes(this.#parts.xenstore, domid).then((after) => {
      const before = this.#domains.get(domid);
      if (after === undefined) this.#domains.delete(domid);
      else this.#domains.set(domid, after);
      if (!this.#isClosed && JSON.stringify(before) !== JSON.stringify(after)) this.#parts.onChange(before, after);
      return after;
    });
    const look = { done };
    this.#underWay.set(domid, look);
    const end = () => {
      if (this.#underWay.get(domid) === look) this.#underWay.delete(domid);
    };
    done.then(end, (error: unknown) => {
      end();
      this.#dirty.add(domid);
      this.#lookAgain(error);
    });
    return done;
  }

  async #lookAtAll(): Promise<void> {
    const { xenstore } = this.#parts;
    const roots = await Promise.all([QUSB_ROOT, LIBXL_ROOT].map((root) => xenstore.directory(root)));
    const domids = new Set([...roots.flatMap(parseNumbers), ...this.#domains.keys()]);
    await Promise.all([...domids].map((domid) => this.refresh(domid)));
  }

  #note(change: number | 'all' | undefined): void {
    if (change === undefined || this.#isClosed) return;
    if (change === 'all') {
      this.#isAllDirty = true;
      for (const domid of this.#domains.keys()) this.#dirty.add(domid);
    } else this.#dirty.add(change);
    this.#cancelSettling ??= this.#parts.clock.after(SETTLE_MS, () => {
      this.#cancelSettling = undefined;
      void this.#settle();
    });
  }

  async #settle(): Promise<void> {
    const isAll = this.#isAllDirty;
    this.#isAllDirty = false;
    try {
      if (isAll) await this.#lookAtAll();
      else await Promise.all([...this.#dirty].map((domid) => this.refresh(domid)));
    } catch (error) {
      this.#isAllDirty ||= isAll;
      this.#lookAgain(error);
    }
  }

  /** A lost connection comes back with a resync; anything else is worth a line, and another try. */
  #lookAgain(error: unknown): void {
    if (this.#isClosed || this.#cancelAgain !== undefined || isFault(error, 'wire.closed', 'wire.broken')) return;
    this.#parts.log.warn('USB nodes could not be read; it is tried again', { error });
    this.#cancelAgain = this.#parts.clock.after(AGAIN_MS, () => {
      this.#cancelAgain = undefined;
      void this.#settle();
    });
  }
}

/** Gives the ports of a domain whose nodes name a place of dom0. */
export function takenPorts({ controllers }: DomainNodes): {
  readonly controller: ControllerState;
  readonly slot: PortNodes;
  readonly busid: string;
}[] {
  return controllers.flatMap((controller) =>
    controller.slots.flatMap((slot) =>
      slot.value.is === 'busid' ? { controller, slot, busid: slot.value.busid } : [],
    ),
  );
}
