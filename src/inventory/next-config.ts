/**
 * The config that a VM is started with next: its file as it is now, with the changes that people made without writing
 * into the file. The changes are notes of the database.
 */
import { type ConfigChange, canonicalKey, changedText, withChange } from '../config/changed-text.ts';
import type { VmKey } from '../config/vm-key.ts';
import { VM_KEYS } from '../config/vm-keys.ts';
import { Fault } from '../lib/fault.ts';
import { nearest, printable } from '../lib/text.ts';
import type { VmUuid } from '../model/ids.ts';
import type { VmConfig } from '../model/vm.ts';

/** A line of the next config. */
export interface NextSetting {
  readonly key: string;
  readonly value: string;
  /** It differs from the file. */
  readonly isChanged?: boolean;
}

/** Where notes are kept: the inventory. */
export interface Notes {
  read(key: string): string | undefined;
  write(key: string, value: string): void;
}

/** Keys that name the VM itself: it keeps them until it is removed. */
const IDENTITY: ReadonlySet<string> = new Set(['uuid', 'name', 'driver']);
const MAX_CHANGES = 256;

/** The changes of all VMs. */
export class NextConfigs {
  readonly #notes: Notes;

  constructor(notes: Notes) {
    this.#notes = notes;
  }

  changesOf(uuid: VmUuid): readonly ConfigChange[] {
    const text = this.#notes.read(noteKey(uuid)) ?? '';
    return text === '' ? [] : (JSON.parse(text) as ConfigChange[]);
  }

  /** Gives a file's text with the changes of the VM. */
  apply(uuid: VmUuid, text: string): string {
    return changedText(text, this.changesOf(uuid));
  }

  put(uuid: VmUuid, changes: readonly ConfigChange[]): void {
    this.#notes.write(noteKey(uuid), changes.length === 0 ? '' : JSON.stringify(changes));
  }
}

/** Gives the changes with one more. @throws Fault `config.no_key`, `params.invalid` */
export function addChange(changes: readonly ConfigChange[], untrusted: ConfigChange): readonly ConfigChange[] {
  const { value, isAdded = false } = untrusted;
  const key = knownKey(untrusted.key);
  if (IDENTITY.has(key)) throw new Fault('params.invalid', { field: 'key', what: `a VM keeps its ${key}` });
  if (/\p{Cc}/u.test(value)) throw new Fault('params.invalid', { field: 'value', what: 'it has a control character' });
  const next = withChange(changes, { key, value: value.trim(), ...(isAdded ? { isAdded } : {}) });
  if (next.length <= MAX_CHANGES) return next;
  const hint = 'Write them into its config file, and have that read again.';
  throw new Fault('params.invalid', { field: 'key', what: `there are ${MAX_CHANGES} changes already` }, { hint });
}

/** Lists the config, a line each; of one key if one is asked for. @throws Fault `config.no_key` */
export function listSettings(
  config: VmConfig,
  changes: readonly ConfigChange[],
  untrustedKey?: string,
): readonly NextSetting[] {
  const asked = untrustedKey === undefined ? undefined : knownKey(untrustedKey);
  const changed = new Set(changes.map(({ key }) => key));
  const rows = VM_KEYS.filter(({ key }) => asked === undefined || key === asked);
  const valuesOf = (row: VmKey) => (asked === undefined ? undefined : row.tell?.(config)) ?? row.print(config);
  return rows
    .flatMap((row) => valuesOf(row).map((value) => ({ key: row.key, value })))
    .map((line) => (changed.has(line.key) ? { ...line, isChanged: true } : line));
}

function knownKey(untrustedKey: string): string {
  const key = canonicalKey(untrustedKey);
  if (key !== undefined) return key;
  const near = nearest(
    untrustedKey.slice(0, 40),
    VM_KEYS.map((row) => row.key),
  );
  const hint = near === undefined ? 'See docs/reference/vm-config.md.' : `Did you mean "${near}"?`;
  throw new Fault('config.no_key', { key: printable(untrustedKey, 40) }, { hint });
}

function noteKey(uuid: VmUuid): string {
  return `config ${uuid}`;
}
