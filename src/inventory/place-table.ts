/** Where devices may be in VMs, as usher.db keeps it for a daemon that comes up and cannot observe a VM yet. */
import type { Database, Statement } from '../lib/sqlite.ts';
import type { VmUuid } from '../model/ids.ts';
import type { UsbSlot } from '../model/usb.ts';

/** A port of a VM, and the plug of the device. */
export interface StoredPlace extends UsbSlot {
  readonly vm: VmUuid;
  readonly generation: string;
}

interface PlaceRow extends UsbSlot {
  readonly device: string;
  readonly generation: string;
  readonly vm: string;
}

/** The store; nothing is held in memory. */
export class PlaceTable {
  readonly #database: Database;
  readonly #select: Statement<PlaceRow>;
  readonly #put: Statement<never>;
  readonly #delete: Statement<never>;

  constructor(database: Database) {
    this.#database = database;
    this.#select = database.prepare('SELECT device, generation, vm, controller, port FROM last_place');
    this.#put = database.prepare(
      'INSERT OR REPLACE INTO last_place (device, generation, vm, controller, port) VALUES (?, ?, ?, ?, ?)',
    );
    this.#delete = database.prepare('DELETE FROM last_place WHERE device = ?');
  }

  /** By device, `backend:busid`. */
  load(): ReadonlyMap<string, StoredPlace> {
    return new Map(this.#select.all().map(({ device, vm, ...place }) => [device, { ...place, vm: vm as VmUuid }]));
  }

  /** Writes places; `undefined`: the device is in no VM any more. A power cut ends all guests: it may take the last ones. */
  save(changes: ReadonlyMap<string, StoredPlace | undefined>): void {
    this.#database.unflushed(() => {
      for (const [device, place] of changes) {
        if (place === undefined) this.#delete.run(device);
        else this.#put.run(device, place.generation, place.vm, place.controller, place.port);
      }
    });
  }
}
