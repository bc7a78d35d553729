/** The VMs of usher.db, held in memory too: lists of 1000 are asked for often and change seldom. */
import type { Database, Statement } from '../lib/sqlite.ts';
import type { VmUuid } from '../model/ids.ts';
import type { VmRecord } from '../model/vm.ts';

interface VmRow {
  readonly uuid: string;
  readonly name: string;
  readonly driver: string;
  readonly path: string | null;
  readonly content: string;
  readonly autostart: number;
  readonly wanted: string;
  readonly wanted_boot: string;
  readonly suspend_file: string | null;
  readonly created_at: number;
}

/** INVARIANTS: a record in memory is what its row says, until another process writes; then `forget` is called. */
export class VmTable {
  readonly #select: Statement<VmRow>;
  readonly #put: Statement<never>;
  readonly #delete: Statement<never>;
  #records: Map<VmUuid, VmRecord> | undefined;
  #uuids = new Map<string, VmUuid>();
  #sorted: readonly VmRecord[] | undefined;

  constructor(database: Database) {
    this.#select = database.prepare('SELECT * FROM vm');
    // Not INSERT OR REPLACE: that deletes the row first, and with it what refers to it.
    this.#put = database.prepare(
      `INSERT INTO vm (uuid, name, driver, path, content, autostart, wanted, wanted_boot, suspend_file, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, driver = excluded.driver, path = excluded.path,
         content = excluded.content, autostart = excluded.autostart, wanted = excluded.wanted,
         wanted_boot = excluded.wanted_boot, suspend_file = excluded.suspend_file`,
    );
    this.#delete = database.prepare('DELETE FROM vm WHERE uuid = ?');
  }

  /** Gives all records, sorted by name. */
  list(): readonly VmRecord[] {
    this.#sorted ??= [...this.#loaded().values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    return this.#sorted;
  }

  get(uuid: VmUuid): VmRecord | undefined {
    return this.#loaded().get(uuid);
  }

  withName(name: string): VmRecord | undefined {
    const records = this.#loaded();
    const uuid = this.#uuids.get(name);
    return uuid === undefined ? undefined : records.get(uuid);
  }

  /** Writes a record: a new one, or one of a name that is known. */
  put(record: VmRecord): void {
    const { uuid, name, driver, path, content, autostart, wanted, wantedBoot, suspendFile, createdAt } = record;
    this.#put.run(
      ...[uuid, name, driver, path ?? null, content, Number(autostart)],
      ...[wanted, wantedBoot, suspendFile ?? null, createdAt],
    );
    this.#loaded().set(uuid, record);
    this.#uuids.set(name, uuid);
    this.#sorted = undefined;
  }

  delete({ uuid, name }: VmRecord): void {
    this.#delete.run(uuid);
    this.#loaded().delete(uuid);
    this.#uuids.delete(name);
    this.#sorted = undefined;
  }

  /** Reads everything anew when it is next asked for. */
  forget(): void {
    this.#records = undefined;
    this.#sorted = undefined;
  }

  #loaded(): Map<VmUuid, VmRecord> {
    if (this.#records === undefined) {
      const records = this.#select.all().map(toRecord);
      this.#records = new Map(records.map((record) => [record.uuid, record]));
      this.#uuids = new Map(records.map((record) => [record.name, record.uuid]));
    }
    return this.#records;
  }
}

function toRecord(row: VmRow): VmRecord {
  return {
    uuid: row.uuid as VmUuid,
    name: row.name,
    driver: row.driver as VmRecord['driver'],
    ...(row.path === null ? {} : { path: row.path }),
    content: row.content,
    autostart: row.autostart !== 0,
    wanted: row.wanted as VmRecord['wanted'],
    wantedBoot: row.wanted_boot,
    ...(row.suspend_file === null ? {} : { suspendFile: row.suspend_file }),
    createdAt: row.created_at,
  };
}
