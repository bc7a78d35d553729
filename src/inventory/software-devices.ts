/** Which software devices are plugged, as usher.db keeps it for the backend `virtual`. */
import type { Database, Statement } from '../lib/sqlite.ts';
import type { SoftwareDevice, StoredSoftwareDevice } from '../model/usb.ts';

/** The store; a save replaces all of it. */
export class SoftwareDevices {
  readonly #database: Database;
  readonly #onSaved: () => void;
  readonly #select: Statement<{ readonly busid: string; readonly software: string; readonly generation: string }>;
  readonly #insert: Statement<never>;
  readonly #clear: Statement<never>;

  constructor(database: Database, onSaved: () => void) {
    this.#database = database;
    this.#onSaved = onSaved;
    this.#select = database.prepare('SELECT busid, software, generation FROM software_device ORDER BY busid');
    this.#insert = database.prepare('INSERT INTO software_device (busid, software, generation) VALUES (?, ?, ?)');
    this.#clear = database.prepare('DELETE FROM software_device');
  }

  load(): readonly StoredSoftwareDevice[] {
    return this.#select.all().map(({ busid, software, generation }) => ({
      busid,
      software: JSON.parse(software) as SoftwareDevice,
      generation,
    }));
  }

  /** A power cut ends all guests and, with them, what software devices are for: it may take the last plug. */
  save(devices: readonly StoredSoftwareDevice[]): void {
    this.#database.unflushed(() => {
      this.#clear.run();
      for (const { busid, software, generation } of devices) {
        this.#insert.run(busid, JSON.stringify(software), generation);
      }
    });
    this.#onSaved();
  }
}
