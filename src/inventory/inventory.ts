/**
 * The inventory: what is kept of VMs, of people's wishes about devices, and of software devices, in usher.db. What is the
 * case now (domains, attachments) is observed; of it is only kept where devices may be that nobody can see yet.
 */
import { nameFromFile } from '../config/xenvm-file.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { Fault } from '../lib/fault.ts';
import { type Database, openDatabase, type Statement } from '../lib/sqlite.ts';
import { nearest, printable } from '../lib/text.ts';
import { type Assignment, formatDevicePattern, type Hold, type Question } from '../model/assignment.ts';
import { isUuid, newUuid, parseUuid, parseVmName, type VmUuid } from '../model/ids.ts';
import { deviceKey } from '../model/usb.ts';
import type { DriverName, VmRecord } from '../model/vm.ts';
import { PlaceTable } from './place-table.ts';
import { QuestionTable } from './question-table.ts';
import { MIGRATIONS } from './schema.ts';
import { SoftwareDevices } from './software-devices.ts';
import { TrialTable } from './trial-table.ts';
import { VmConfigs } from './vm-configs.ts';
import { parseContent, readVmFile } from './vm-file.ts';
import { VmTable } from './vm-table.ts';
import { WishTable } from './wish-table.ts';

export interface InventoryOptions {
  /** The driver of a VM whose file names none. */
  readonly defaultDriver: DriverName;
  readonly clock?: Clock;
}

/** Where a new VM comes from: a file or content, one of them. */
export interface NewVm {
  readonly path?: string;
  readonly content?: string;
  /** The uuid of a VM whose file has none. Default: one that is made up. */
  readonly uuid?: VmUuid;
  /** Wins over the name in the file. */
  readonly name?: string;
  readonly autostart?: boolean;
}

/** A VM as it is taken in, with what is odd about its config. */
export interface DraftedVm {
  readonly record: VmRecord;
  readonly warnings: readonly string[];
}

/** What a monitor keeps; written as a whole, on the disk when `write` returns. */
export type PowerMemory = Pick<VmRecord, 'wanted' | 'wantedBoot' | 'suspendFile'>;

/** What changed in the inventory. */
export type InventoryChange = 'vms' | 'wishes' | 'software devices';

/**
 * INVARIANTS: a change is in the database before anybody is told of it; a VM's uuid, name and driver never change; other
 * processes may write too: what they wrote is seen at the next list, search or change.
 */
export class Inventory {
  /** The configs of the VMs: of the next start, and by the last good content. */
  readonly configs: VmConfigs;
  /** The store of the backend `virtual`. */
  readonly softwareDevices: SoftwareDevices;
  /** Where devices may be in VMs that cannot be observed yet. */
  readonly places: PlaceTable;
  /** The changes that are on trial. */
  readonly trials: TrialTable;
  readonly #database: Database;
  readonly #options: InventoryOptions;
  readonly #clock: Clock;
  readonly #vms: VmTable;
  readonly #wishes: WishTable;
  readonly #questions: QuestionTable;
  readonly #dataVersion: Statement<{ readonly data_version: number }>;
  readonly #listeners = new Set<(change: InventoryChange) => void>();
  #seenVersion: number | undefined;

  /** Opens the inventory. @throws Fault as `openDatabase` */
  constructor(path: string, options: InventoryOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#database = openDatabase(path, { migrations: MIGRATIONS, synchronous: 'full' });
    this.#vms = new VmTable(this.#database);
    this.#wishes = new WishTable(this.#database);
    this.#questions = new QuestionTable(this.#database);
    this.#dataVersion = this.#database.prepare('PRAGMA data_version');
    this.configs = new VmConfigs({
      notes: { read: (key) => this.readNote(key), write: (key, value) => this.writeNote(key, value) },
      find: (uuid) => this.findVm(uuid),
      recordOf: (uuid) => this.#recordOf(uuid),
      change: (uuid, patch, alongWith) =>
        this.#change('vms', () => {
          alongWith();
          this.#vms.put({ ...this.#recordOf(uuid), ...patch });
        }),
    });
    this.places = new PlaceTable(this.#database);
    this.trials = new TrialTable(this.#database);
    this.softwareDevices = new SoftwareDevices(this.#database, () => this.#tell('software devices'));
  }

  /** Lists all VMs by name. */
  listVms(): readonly VmRecord[] {
    this.#look();
    return this.#vms.list();
  }

  /** Finds a VM by name or uuid; no name has the form of a uuid. @throws Fault `vm.not_found` */
  findVm(untrustedRef: string): VmRecord {
    this.#look();
    const found =
      this.#vms.withName(untrustedRef) ?? (isUuid(untrustedRef) ? this.#vms.get(parseUuid(untrustedRef)) : undefined);
    if (found !== undefined) return found;
    const names = this.#vms.list().map((record) => record.name);
    const near = untrustedRef.length > 63 ? undefined : nearest(untrustedRef, names);
    const hint = near === undefined ? 'See: usher vm list' : `Did you mean "${near}"?`;
    throw new Fault('vm.not_found', { vm: printable(untrustedRef, 70) }, { hint });
  }

  /**
   * Takes a VM in. @throws Fault `vm.exists`, `vm.name_invalid`, `config.invalid` with every error, `file.unreadable`,
   * `params.invalid`
   */
  async createVm(from: NewVm): Promise<DraftedVm> {
    const draft = await this.draftVm(from);
    this.#change('vms', () => {
      this.#refuseTaken(draft.record);
      this.#vms.put(draft.record);
    });
    return draft;
  }

  /** Gives what `createVm` would take in, and takes in nothing. @throws Fault as `createVm` does */
  async draftVm(from: NewVm): Promise<DraftedVm> {
    const { path, autostart = false } = from;
    if ((path === undefined) === (from.content === undefined)) {
      throw new Fault('params.invalid', { field: 'path', what: 'a path or content is expected, one of them' });
    }
    const content = from.content ?? (await readVmFile(path ?? ''));
    const driverOf = (named: DriverName | undefined) => named ?? this.#options.defaultDriver;
    const { settings, warnings } = parseContent(content, path, driverOf, 'at keys');
    const uuid = settings.uuid ?? from.uuid ?? newUuid();
    const named = from.name === undefined ? settings.name : parseVmName(from.name);
    const record: VmRecord = {
      uuid,
      name: named ?? (path === undefined ? undefined : nameFromFile(path)) ?? `vm-${uuid.slice(0, 8)}`,
      driver: driverOf(settings.driver),
      ...(path === undefined ? {} : { path }),
      content,
      autostart,
      wanted: 'halted',
      wantedBoot: '',
      createdAt: this.#clock.now(),
    };
    this.#look();
    this.#refuseTaken(record);
    return { record, warnings };
  }

  #refuseTaken({ uuid, name }: VmRecord): void {
    const exists = (key: string, value: string) => new Fault('vm.exists', { key, value });
    if (this.#vms.get(uuid) !== undefined) throw exists('uuid', uuid);
    if (this.#vms.withName(name) !== undefined) throw exists('name', name);
  }

  /** Changes what may change of a VM. @throws Fault `vm.not_found` */
  patchVm(uuid: VmUuid, patch: Partial<Pick<VmRecord, 'autostart'>>): VmRecord {
    return this.#change('vms', () => {
      const record = { ...this.#recordOf(uuid), ...patch };
      this.#vms.put(record);
      return record;
    });
  }

  /** Removes a VM with its assignments and its holds. @throws Fault `vm.not_found` */
  removeVm(uuid: VmUuid): void {
    this.#change('vms', () => {
      this.#vms.delete(this.#recordOf(uuid));
      this.configs.forgetChanges(uuid);
      this.#wishes.forget();
    });
    this.configs.forget(uuid);
    this.#tell('wishes');
  }

  /** Gives what a VM's monitor keeps across restarts of the daemon. */
  powerRecordOf(uuid: VmUuid): { read(): PowerMemory; write(memory: PowerMemory): void } {
    return {
      read: () => powerOf(this.#recordOf(uuid)),
      write: (memory) =>
        this.#change('vms', () => {
          const { suspendFile: _, ...record } = this.#recordOf(uuid);
          this.#vms.put({ ...record, ...powerOf(memory) });
        }),
    };
  }

  /** Gives all that people wish: what the planner asks for at each pass. */
  wishes(): {
    readonly assignments: readonly Assignment[];
    readonly holds: readonly Hold[];
    readonly questions: readonly Question[];
  } {
    this.#look();
    const [assignments, holds] = [this.#wishes.assignments(), this.#wishes.holds()];
    return { assignments, holds, questions: this.#questions.list() };
  }

  assignments(): readonly Assignment[] {
    this.#look();
    return this.#wishes.assignments();
  }

  /** Stores an assignment. @throws Fault `assignment.exists`, `vm.not_found` */
  addAssignment(wish: Pick<Assignment, 'vm' | 'pattern' | 'mode'>): Assignment {
    return this.#change('wishes', () => {
      this.#recordOf(wish.vm);
      return this.#wishes.addAssignment({ ...wish, createdAt: this.#clock.now() });
    });
  }

  /** Stores an assignment in the place of the one of that VM with the same pattern, if there is one. @throws Fault `vm.not_found` */
  putAssignment(wish: Pick<Assignment, 'vm' | 'pattern' | 'mode'>): Assignment {
    return this.#change('wishes', () => {
      this.#recordOf(wish.vm);
      const text = formatDevicePattern(wish.pattern);
      const same = this.#wishes
        .assignments()
        .find(({ vm, pattern }) => vm === wish.vm && formatDevicePattern(pattern) === text);
      if (same !== undefined) this.#wishes.removeAssignment(same.id);
      return this.#wishes.addAssignment({ ...wish, createdAt: this.#clock.now() });
    });
  }

  /** @throws Fault `assignment.not_found` */
  removeAssignment(id: number): void {
    this.#change('wishes', () => {
      if (!this.#wishes.removeAssignment(id)) throw new Fault('assignment.not_found', { assignment: id });
    });
  }

  holds(): readonly Hold[] {
    this.#look();
    return this.#wishes.holds();
  }

  /** Stores a hold in the place of any other on that device. @throws Fault `vm.not_found` */
  putHold(hold: Hold): void {
    this.#change('wishes', () => {
      if (hold.vm !== undefined) this.#recordOf(hold.vm);
      this.#wishes.putHold(hold);
    });
  }

  /** Removes a hold, unless another plug of the device has one by now; one that is gone is fine. */
  dropHold(hold: Pick<Hold, 'backend' | 'busid' | 'generation'>): void {
    this.#change('wishes', () => this.#wishes.dropHold(hold));
  }

  /** Has a hold be about what its device is by now, unless another hand came first; tells whether it was there. */
  carryHold(hold: Hold, as: Hold): boolean {
    return this.#change('wishes', () => {
      const isThere = this.#wishes.dropHold(hold);
      if (isThere) this.#wishes.putHold(as);
      return isThere;
    });
  }

  /** Gives the hold on a device. @throws Fault `hold.not_found` */
  findHold(device: { readonly backend: string; readonly busid: string }): Hold {
    const key = deviceKey(device);
    const hold = this.holds().find((other) => deviceKey(other) === key);
    if (hold === undefined) throw new Fault('hold.not_found', { device: printable(key, 96) });
    return hold;
  }

  /** Lists the questions that are open. */
  questions(): readonly Question[] {
    this.#look();
    return this.#questions.list();
  }

  /** Stores a question in the place of any other about that device. */
  putQuestion(question: Question): void {
    this.#change('wishes', () => this.#questions.put(question));
  }

  /**
   * Ends a question; with `hold`, what comes of it is stored at once with that. Tells whether it was open.
   * @throws Fault `vm.not_found`
   */
  endQuestion(question: Pick<Question, 'backend' | 'busid' | 'generation'>, hold?: Hold): boolean {
    return this.#change('wishes', () => {
      if (!this.#questions.drop(question)) return false;
      if (hold?.vm !== undefined) this.#recordOf(hold.vm);
      if (hold !== undefined) this.#wishes.putHold(hold);
      return true;
    });
  }

  /** Gives the boot of the host that `noteBoot` was last told. */
  lastBoot(): string | undefined {
    return this.readNote('boot');
  }

  noteBoot(bootId: string): void {
    this.writeNote('boot', bootId);
  }

  /** Gives what was last noted under the key. */
  readNote(key: string): string | undefined {
    return this.#database.prepare<{ value: string }>('SELECT value FROM note WHERE key = ?').get(key)?.value;
  }

  writeNote(key: string, value: string): void {
    this.#database.prepare('INSERT OR REPLACE INTO note (key, value) VALUES (?, ?)').run(key, value);
  }

  /** Calls the listener after each change that this process made, until the function it returns is called. */
  onChange(listener: (change: InventoryChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#database.close();
  }

  /** Gives a record by what is in memory: for who has just looked, or asks a thousand times in a row. */
  #recordOf(uuid: VmUuid): VmRecord {
    const record = this.#vms.get(uuid);
    if (record === undefined) throw new Fault('vm.not_found', { vm: uuid }, { hint: 'See: usher vm list' });
    return record;
  }

  #change<T>(what: InventoryChange, work: () => T): T {
    let result: T;
    try {
      result = this.#database.transaction(() => {
        this.#look(); // Nobody else can write from here on.
        return work();
      });
    } catch (error) {
      // What was put into memory on the way may not be in the database.
      this.#forget();
      throw error;
    }
    this.#tell(what);
    return result;
  }

  #tell(what: InventoryChange): void {
    for (const listener of this.#listeners) listener(what);
  }

  /** Forgets what is in memory when another process has written (sqlite.org/pragma.html, data_version). */
  #look(): void {
    const version = this.#dataVersion.get()?.data_version;
    if (version === this.#seenVersion) return;
    this.#seenVersion = version;
    this.#forget();
  }

  #forget(): void {
    this.#vms.forget();
    this.#wishes.forget();
    this.#questions.forget();
  }
}

function powerOf({ wanted, wantedBoot, suspendFile }: PowerMemory): PowerMemory {
  return { wanted, wantedBoot, ...(suspendFile === undefined ? {} : { suspendFile }) };
}
