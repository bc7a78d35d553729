/**
 * Remembers where each device was last seen in a VM: it gets that port back when it returns there. What is in a VM now, or
 * on its way into one, is kept over a restart of the daemon, too: a VM that cannot be observed yet may still have it.
 */
import type { VmUuid } from '../model/ids.ts';
import { deviceKey, type UsbSlot } from '../model/usb.ts';
import type { LastPlace, Plan, PlanInput, Step } from './plan-types.ts';

/** Places by device; `undefined` in a change: it is in no VM any more. */
export type PlaceChanges = ReadonlyMap<string, LastPlace | undefined>;

/** Where places outlive the daemon. */
export interface PlaceStore {
  load(): ReadonlyMap<string, LastPlace>;
  save(changes: PlaceChanges): void;
}

/**
 * INVARIANTS: a place is in the store before a step begins that brings a device there, and until the VM was observed without
 * it; what is stored says where a device may be, and never that it is there.
 */
export class LastPlaces {
  readonly #store: PlaceStore | undefined;
  readonly #places: Map<string, LastPlace>;
  /** As the store has it. */
  readonly #stored: Map<string, LastPlace>;

  constructor(store?: PlaceStore) {
    this.#store = store;
    this.#stored = new Map(store?.load());
    this.#places = new Map(this.#stored);
  }

  /** By device. */
  get all(): ReadonlyMap<string, LastPlace> {
    return this.#places;
  }

  /** Takes note of what was observed, and of what is about to be done; to be called before it is. */
  note({ observed, memory }: Pick<PlanInput, 'observed' | 'memory'>, { steps, verdicts }: Plan): void {
    const taken = new Map<string, LastPlace>();
    const unseen = new Set<VmUuid>();
    const take = (key: string, vm: VmUuid, generation: string, { controller, port }: UsbSlot) => {
      const before = this.#places.get(key);
      const place = { vm, generation, controller, port };
      taken.set(key, before !== undefined && isSame(before, place) ? before : place);
    };
    for (const { uuid: vm, domain, isUnknown } of observed.vms) {
      if (isUnknown === true) unseen.add(vm);
      for (const one of domain?.attachments ?? []) take(deviceKey(one), vm, one.generation, one);
    }
    const attach = (step: Step | undefined) => {
      if (step?.kind === 'attach') take(deviceKey(step.device), step.vm, step.device.generation, step.slot);
    };
    for (const { inFlight } of memory.values()) attach(inFlight);
    for (const step of steps) attach(step);
    if (unseen.size > 0) {
      for (const [key, place] of this.#places) if (unseen.has(place.vm) && !taken.has(key)) taken.set(key, place);
    }
    const known = new Set<string>();
    for (const { device } of verdicts) known.add(device);
    for (const key of this.#places.keys()) if (!known.has(key)) this.#places.delete(key);
    for (const [key, place] of taken) this.#places.set(key, place);
    this.#keep(taken);
  }

  #keep(taken: ReadonlyMap<string, LastPlace>): void {
    if (this.#store === undefined) return;
    const changes = new Map<string, LastPlace | undefined>();
    for (const key of this.#stored.keys()) if (!taken.has(key)) changes.set(key, undefined);
    for (const [key, place] of taken) if (!isSame(this.#stored.get(key), place)) changes.set(key, place);
    if (changes.size === 0) return;
    this.#store.save(changes);
    for (const [key, place] of changes) {
      if (place === undefined) this.#stored.delete(key);
      else this.#stored.set(key, place);
    }
  }
}

function isSame(a: LastPlace | undefined, b: LastPlace): boolean {
  if (a === b) return true;
  return a?.vm === b.vm && a.generation === b.generation && a.controller === b.controller && a.port === b.port;
}
