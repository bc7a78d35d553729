/**
 * The configs of VMs. Of the next start: the VM's file as it is then, with the changes that were made beside it. By the
 * last good content: what serves when the file is gone or broken, and what lists show.
 */
import { type ConfigChange, changedText } from '../config/changed-text.ts';
import { Fault, isFault } from '../lib/fault.ts';
import type { VmUuid } from '../model/ids.ts';
import type { VmConfig, VmRecord } from '../model/vm.ts';
import { addChange, listSettings, NextConfigs, type NextSetting, type Notes } from './next-config.ts';
import { configOf, type Looks, parseContent, readVmFile, refusedChanges } from './vm-file.ts';

/** What is needed of the inventory that the VMs are in. */
export interface ConfigRecords {
  readonly notes: Notes;
  /** Gives a record as it is in the database. @throws Fault `vm.not_found` */
  find(uuid: VmUuid): VmRecord;
  /** Gives a record by what is in memory. @throws Fault `vm.not_found` */
  recordOf(uuid: VmUuid): VmRecord;
  /** Changes a record, and does the other work at once with that. @throws Fault `vm.not_found` */
  change(uuid: VmUuid, patch: Pick<VmRecord, 'path' | 'content'>, alongWith: () => void): void;
}

/** INVARIANT: what is no good config is never kept. */
export class VmConfigs {
  readonly #records: ConfigRecords;
  readonly #changes: NextConfigs;
  /** By uuid, with the content that it was made of. */
  readonly #made = new Map<VmUuid, { readonly content: string; readonly config: VmConfig }>();

  constructor(records: ConfigRecords) {
    this.#records = records;
    this.#changes = new NextConfigs(records.notes);
  }

  /**
   * Gives the config of a VM for its next start: its file is read again, with the changes that were made beside it; when it
   * is gone or broken its last good content serves, with a warning. @throws Fault `vm.not_found`, `config.invalid` when even
   * that is of no use
   */
  async load(uuid: VmUuid): Promise<{ readonly config: VmConfig; readonly warnings: readonly string[] }> {
    const { path } = this.#records.find(uuid);
    if (path === undefined) return { config: this.stored(uuid), warnings: [] };
    try {
      const { content, config, warnings } = this.#parse(uuid, this.#changes.apply(uuid, await readVmFile(path)), path);
      this.#keep(uuid, content, path);
      return { config, warnings };
    } catch (error) {
      return { config: this.stored(uuid), warnings: [this.#servesInstead(error, path)] };
    }
  }

  /**
   * Changes a setting of the next config of a VM; its file stays as it is. What makes no config changes nothing.
   * @throws Fault `vm.not_found`, `config.no_key`, `params.invalid`, `config.invalid`, `file.unreadable`
   */
  async change(uuid: VmUuid, change: ConfigChange): Promise<readonly string[]> {
    const { path, content } = this.#records.find(uuid);
    // Without a file that it could be kept beside, the content itself is changed.
    const changes = addChange(path === undefined ? [] : this.#changes.changesOf(uuid), change);
    const text = path === undefined ? content : await readVmFile(path);
    const parsed = this.#parse(uuid, changedText(text, changes), path, 'at keys');
    this.#keep(uuid, parsed.content, path, path === undefined ? [] : changes);
    return parsed.warnings;
  }

  /**
   * Forgets the changes, and reads the VM's file again, or another that is its file from now on. A file that is of no use
   * changes nothing. @throws Fault `vm.not_found`, `params.invalid`, `config.invalid`, `file.unreadable`
   */
  async reread(uuid: VmUuid, newPath?: string, looks: Looks = 'at keys'): Promise<readonly string[]> {
    const path = newPath ?? this.#records.find(uuid).path;
    if (path === undefined) {
      throw new Fault('params.invalid', { field: 'path', what: 'the VM was made without a file' });
    }
    const parsed = this.#parse(uuid, await readVmFile(path), path, looks);
    this.#keep(uuid, parsed.content, path, []);
    return parsed.warnings;
  }

  /**
   * Lists the next config of a VM, a line each, by its file as it is now. Keeps nothing of it.
   * @throws Fault `vm.not_found`, `config.no_key`, `config.invalid`
   */
  async next(uuid: VmUuid, key?: string): Promise<{ settings: readonly NextSetting[]; warnings: readonly string[] }> {
    const { path } = this.#records.find(uuid);
    const changes = this.#changes.changesOf(uuid);
    const list = (config: VmConfig) => listSettings(config, changes, key);
    if (path === undefined) return { settings: list(this.stored(uuid)), warnings: [] };
    let parsed: { readonly config: VmConfig; readonly warnings: readonly string[] };
    try {
      parsed = this.#parse(uuid, this.#changes.apply(uuid, await readVmFile(path)), path);
    } catch (error) {
      return { settings: list(this.stored(uuid)), warnings: [this.#servesInstead(error, path)] };
    }
    return { settings: list(parsed.config), warnings: parsed.warnings };
  }

  /** Makes the config of a VM out of a text. @throws Fault `vm.not_found`, `config.invalid` */
  #parse(uuid: VmUuid, content: string, path: string | undefined, looks?: Looks) {
    const record = this.#records.find(uuid);
    const { settings, warnings } = parseContent(content, path, () => record.driver, looks);
    const refused = refusedChanges(record, settings, this.#settingsOf(record));
    return { content, config: configOf(record, settings), warnings: [...warnings, ...refused] };
  }

  /** Keeps a good content, with the changes that it has over its file when they are others than before. */
  #keep(uuid: VmUuid, content: string, path: string | undefined, changes?: readonly ConfigChange[]): void {
    const before = this.#records.recordOf(uuid);
    if (changes === undefined && content === before.content && path === before.path) return;
    this.#records.change(uuid, { ...(path === undefined ? {} : { path }), content }, () => {
      if (changes !== undefined) this.#changes.put(uuid, changes);
    });
  }

  /** Says that a file is of no use and what holds instead. @throws what is no fault of the file */
  #servesInstead(error: unknown, path: string): string {
    if (!isFault(error, 'file.unreadable', 'config.invalid')) throw error;
    return `${error.message}\nThe last good content of ${path} serves instead.`;
  }

  /** Gives the config by the last good content. @throws Fault `vm.not_found`, `config.invalid` */
  stored(uuid: VmUuid): VmConfig {
    const record = this.#records.recordOf(uuid);
    const known = this.#made.get(uuid);
    if (known !== undefined && known.content === record.content) return known.config;
    const config = configOf(record, parseContent(record.content, record.path).settings);
    this.#made.set(uuid, { content: record.content, config });
    return config;
  }

  /** Gives what lists show of a config; zeros for content that another version wrote and this one cannot read. */
  summaryOf(uuid: VmUuid): Pick<VmConfig, 'memoryMiB' | 'vcpus'> {
    try {
      return this.stored(uuid);
    } catch (error) {
      if (!isFault(error, 'config.invalid')) throw error;
      return { memoryMiB: 0, vcpus: 0 };
    }
  }

  /** Gives whom the config by the last good content has told of the VM; nobody if it cannot be read. */
  notifyOf(uuid: VmUuid): VmConfig['notify'] {
    // Most name nobody, and to parse those of a thousand VMs at a start of the daemon takes its time.
    if (!this.#records.recordOf(uuid).content.includes('notify')) return undefined;
    try {
      return this.stored(uuid).notify;
    } catch (error) {
      if (!isFault(error, 'config.invalid')) throw error;
      return undefined;
    }
  }

  #settingsOf(record: VmRecord) {
    try {
      return parseContent(record.content, record.path).settings;
    } catch (error) {
      if (!isFault(error, 'config.invalid')) throw error;
      return {};
    }
  }

  /** Forgets the changes that were made beside a VM's file. */
  forgetChanges(uuid: VmUuid): void {
    this.#changes.put(uuid, []);
  }

  /** Forgets what is in memory of a VM that is gone. */
  forget(uuid: VmUuid): void {
    this.#made.delete(uuid);
  }
}
