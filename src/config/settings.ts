/**
 * The daemon's settings: one table from which the reader, the defaults and the reference page come. Their file is
 * `usherd.yaml`; a daemon without one has the defaults.
 */
import { readFile } from 'node:fs/promises';
import { errnoOf, Fault, messageOf } from '../lib/fault.ts';
import { LOG_LEVELS, type LogLevel } from '../lib/log.ts';
import { listWords } from '../lib/text.ts';
import { DRIVER_NAMES, type DriverName } from '../model/vm.ts';
import { configFault, formatDiagnostic } from './diagnostics.ts';

export interface Settings {
  readonly logLevel: LogLevel;
  readonly defaultDriver: DriverName | 'auto';
  readonly accelerator: 'auto' | 'tcg';
  readonly sweepSeconds: number;
  readonly shutdownTimeoutSeconds: number;
  readonly restartIntervalSeconds: number;
  readonly maxRestarts: number;
  readonly restartWindowSeconds: number;
}

export interface SettingRow<V> {
  readonly otherwise: V;
  /** What it takes, for people. */
  readonly takes: string;
  readonly meaning: string;
  /** Tells whether a value of the file will do. */
  readonly accepts: (untrustedValue: unknown) => untrustedValue is V;
}

const word = <W extends string>(words: readonly W[], otherwise: W, meaning: string): SettingRow<W> => ({
  otherwise,
  takes: listWords(words),
  meaning,
  accepts: (value): value is W => (words as readonly unknown[]).includes(value),
});

const whole = (min: number, max: number, otherwise: number, meaning: string): SettingRow<number> => ({
  otherwise,
  takes: `a whole number from ${min} to ${max}`,
  meaning,
  accepts: (value): value is number => Number.isInteger(value) && Number(value) >= min && Number(value) <= max,
});

const DAY = 86_400;

/** Every setting once. */
export const SETTINGS: { readonly [K in keyof Settings]: SettingRow<Settings[K]> } = {
  logLevel: word(LOG_LEVELS, 'info', 'How much the daemon writes to its log.'),
  defaultDriver: word(
    ['auto', ...DRIVER_NAMES],
    'auto',
    "The driver of a VM whose config file names none: auto is xen in Xen's control domain (dom0), qemu elsewhere. A VM keeps the driver that it was created with.",
  ),
  accelerator: word(['auto', 'tcg'], 'auto', 'How QEMU runs guests: auto is KVM where it can work, tcg emulates them.'),
  sweepSeconds: whole(1, DAY, 30, 'How often everything is observed again, hints or not.'),
  shutdownTimeoutSeconds: whole(1, DAY, 120, 'How long a guest may take to power off when it is asked to.'),
  restartIntervalSeconds: whole(
    0,
    DAY,
    2,
    'The least time between two starts of a VM that is started again by itself.',
  ),
  maxRestarts: whole(0, 1000, 5, 'So often a VM is started again by itself within the window, and no more.'),
  restartWindowSeconds: whole(1, DAY, 300, 'The window that maxRestarts is about.'),
};

/** What holds without a file. */
export const DEFAULT_SETTINGS = Object.fromEntries(
  Object.entries(SETTINGS).map(([name, row]) => [name, row.otherwise]),
) as unknown as Settings;

/**
 * Reads the settings; a file that is not there leaves the defaults. @throws Fault `config.invalid`, `file.unreadable`
 */
export async function loadSettings(
  file: string,
): Promise<{ readonly settings: Settings; readonly warnings: readonly string[] }> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return { settings: DEFAULT_SETTINGS, warnings: [] };
    throw new Fault('file.unreadable', { file, what: messageOf(error) }, { cause: error });
  }
  // Most daemons have no file: the YAML library is loaded only for one that is there.
  const { parseSettings } = await import('./settings-file.ts');
  const { settings, errors, warnings } = parseSettings(text, file);
  if (settings === undefined) throw configFault(errors);
  return { settings, warnings: warnings.map(formatDiagnostic) };
}
