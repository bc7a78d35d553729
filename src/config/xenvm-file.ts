/** A VM's config file, xenvm's `key = value`: text to settings with all errors at once, settings to config, and back. */
import { basename, extname } from 'node:path';
import { nearest, printable } from '../lib/text.ts';
import { newUuid, parseVmName, type VmUuid } from '../model/ids.ts';
import type { DriverName, VmConfig } from '../model/vm.ts';
import { type Diagnostic, Diagnostics } from './diagnostics.ts';
import { type KeyLine, readKeyLines } from './key-lines.ts';
import { DEFAULT_CONTROLLER } from './usbctrl.ts';
import { folderOf, type ValueContext } from './values.ts';
import { checkTogether } from './vm-checks.ts';
import { judgeLines, tellVerdicts, type Verdict } from './vm-honours.ts';
import type { VmDraft, VmSettings } from './vm-key.ts';
import { DEFAULT_MEMORY_MIB } from './vm-keys.guest.ts';
import { DEFAULT_DEATH_ACTIONS } from './vm-keys.life.ts';
import { KEY_NAMES, keyNamed, VM_KEYS } from './vm-keys.ts';

export interface ParsedVmFile {
  /** Absent when there are errors. */
  readonly settings?: VmSettings;
  readonly errors: readonly Diagnostic[];
  readonly warnings: readonly Diagnostic[];
  /** What the driver makes of each line that counts; empty when no driver is told. */
  readonly verdicts: readonly Verdict[];
}

/** Guessing takes its time, and nobody reads more. */
const MAX_GUESSES = 100;

/**
 * Parses a VM's file. `fileName` is shown in findings; if it is absolute, relative paths in the text start from its
 * folder. Unknown keys are warnings, or errors when `isStrict`.
 */
export function parseVmFile(
  untrustedText: string,
  fileName: string,
  options: {
    readonly isStrict?: boolean;
    /** Gives the driver that the VM has, or will have, when the file names that one; else nothing is checked against it. */
    readonly driverOf?: (named: DriverName | undefined) => DriverName;
    /** As `ValueContext` has it. */
    readonly whyNoKey?: ValueContext['whyNoKey'];
  } = {},
): ParsedVmFile {
  const diagnostics = new Diagnostics(fileName);
  const folder = folderOf(fileName);
  const draft: VmDraft = {};
  const seen = new Map<string, KeyLine[]>();
  let unknown = 0;
  for (const entry of readKeyLines(untrustedText, diagnostics)) {
    const row = keyNamed(entry.key);
    if (row === undefined) {
      tellUnknown(entry, diagnostics, options.isStrict ?? false, ++unknown <= MAX_GUESSES);
      continue;
    }
    const lines = seen.get(row.key) ?? [];
    const before = lines.at(-1);
    if (before !== undefined && !row.isList) {
      diagnostics.warn(entry.line, entry.keyColumn, `"${entry.key}" counts here, not in line ${before.line}.`);
    }
    let isGood = true;
    row.read(draft, entry.value, {
      key: entry.key,
      folder,
      whyNoKey: options.whyNoKey,
      error(message, offset = 0) {
        isGood = false;
        diagnostics.error(entry.line, entry.valueColumn + offset, message);
        return undefined;
      },
      warn: (message, offset = 0) => diagnostics.warn(entry.line, entry.valueColumn + offset, message),
    });
    // What could not be read is no line that could mean anything else besides.
    if (isGood) lines.push(entry);
    if (lines.length > 0) seen.set(row.key, lines);
  }
  const driver = options.driverOf?.(draft.driver);
  checkTogether(draft, seen, driver, diagnostics);
  const verdicts = driver === undefined ? [] : judgeLines(draft, seen, driver);
  if (driver !== undefined) tellVerdicts(verdicts, driver, diagnostics);
  const { errors, warnings } = diagnostics;
  const found = { errors, warnings, verdicts };
  return errors.length > 0 ? found : { settings: withoutAbsent(draft), ...found };
}

/** Fills in what the settings do not say; what must differ from VM to VM comes from the caller or is made up. */
export function completeConfig(
  settings: VmSettings,
  fallback: {
    readonly uuid?: VmUuid | undefined;
    readonly name?: string | undefined;
    readonly driver?: DriverName | undefined;
  } = {},
): VmConfig {
  const uuid = settings.uuid ?? fallback.uuid ?? newUuid();
  return {
    name: fallback.name ?? `vm-${uuid.slice(0, 8)}`,
    driver: fallback.driver ?? 'qemu',
    memoryMiB: DEFAULT_MEMORY_MIB,
    vcpus: 1,
    disks: [],
    startup: { do: 'started' },
    ...DEFAULT_DEATH_ACTIONS,
    usbControllers: [DEFAULT_CONTROLLER],
    ...settings,
    uuid,
  };
}

/** Prints settings so that `parseVmFile` gives them again. */
export function printVmFile(settings: VmSettings): string {
  return VM_KEYS.flatMap((row) => row.print(settings).map((value) => `${row.key} = ${value}\n`)).join('');
}

/** Makes a VM's name of the name of its file, `undefined` when nothing of it can be one. */
export function nameFromFile(path: string): string | undefined {
  const stem = basename(path, extname(path)).replaceAll(/[^A-Za-z0-9._-]+/g, '-');
  try {
    return parseVmName(stem.replace(/^[^A-Za-z]+/, '').slice(0, 63));
  } catch {
    return undefined;
  }
}

function tellUnknown(
  { key, line, keyColumn }: KeyLine,
  diagnostics: Diagnostics,
  isStrict: boolean,
  isGuessed: boolean,
): void {
  const known = key.length > 40 || !isGuessed ? undefined : nearest(key, KEY_NAMES);
  const guess = known === undefined ? '' : ` Did you mean "${known}"?`;
  const message = `There is no key "${printable(key, 40)}".${guess}`;
  if (isStrict) diagnostics.error(line, keyColumn, message);
  else diagnostics.warn(line, keyColumn, message);
}

function withoutAbsent(draft: VmDraft): VmSettings {
  return Object.fromEntries(Object.entries(draft).filter(([, value]) => value !== undefined));
}
