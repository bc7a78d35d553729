/**
 * The daemon's settings: one table from which the reader, the defaults and the reference page come. Their file is
 * `usherd.yaml`; a daemon without one has the defaults.
 */
import { errnoOf, Fault, isFault, messageOf } from '../lib/fault.ts';
import { LOG_LEVELS, type LogLevel } from '../lib/log.ts';
import { readRegularText } from '../lib/regular-file.ts';
import { listWords } from '../lib/text.ts';
import type { AccessEntry } from '../model/access.ts';
import { DRIVER_NAMES, type DriverName } from '../model/vm.ts';
import { ACCESS_TAKES, type Flaw, readAccess } from './access.ts';
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
  readonly askTimeoutSeconds: number;
  readonly mode: 'enforce' | 'observe';
  readonly countsAsKeyboard: readonly string[];
  readonly countsAsPointer: readonly string[];
  readonly neverCountsAsInput: readonly string[];
  readonly access: readonly AccessEntry[];
  readonly auditAnchorSeconds: number;
}

interface Described<V> {
  readonly otherwise: V;
  /** What it takes, for people. */
  readonly takes: string;
  readonly meaning: string;
}
interface ScalarRow<V> extends Described<V> {
  /** Tells whether a value of the file will do. */
  readonly accepts: (untrustedValue: unknown) => untrustedValue is V;
}
interface NestedRow<V> extends Described<V> {
  /** Makes the setting of a value that has parts, plain as `JSON.parse` gives them, or tells its flaws. */
  readonly read: (untrustedValue: unknown) => { readonly value: V } | { readonly flaws: readonly Flaw[] };
}
export type SettingRow<V> = ScalarRow<V> | NestedRow<V>;

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

const MAX_TEXTS = 100;
const texts = (meaning: string): SettingRow<readonly string[]> => ({
  otherwise: [],
  takes: `a list of at most ${MAX_TEXTS} names`,
  meaning,
  read(untrusted) {
    const list: readonly unknown[] = Array.isArray(untrusted) ? untrusted : [untrusted];
    const isGood = (value: unknown): value is string =>
      typeof value === 'string' && value !== '' && value.length <= 200;
    if (list.length <= MAX_TEXTS && list.every(isGood)) return { value: list };
    return {
      flaws: [{ path: [], says: `a list of at most ${MAX_TEXTS} names is expected, such as ["isa0060/serio0"]` }],
    };
  },
});

const DAY = 86_400;
/** Far more than settings have. */
const MAX_BYTES = 2 * 1024 * 1024;

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
  mode: word(
    ['enforce', 'observe'],
    'enforce',
    'observe: assignments and rules move nothing, and it is told what rules would do. The kernel argument usher.observe, or a file "observe" beside this one, says the same.',
  ),
  askTimeoutSeconds: whole(
    1,
    DAY,
    60,
    'How long a person may take to say whether a device may go to a VM; then it is kept out.',
  ),
  countsAsKeyboard: texts(
    'Input devices of the host, by their names or by where they are (isa0060/serio0), that replace a USB keyboard: with one of them there, the last USB keyboard may be taken. A * stands for anything.',
  ),
  countsAsPointer: texts('The same for pointing devices.'),
  neverCountsAsInput: texts(
    'Input devices that are nobody\'s keyboard or pointing device. "*" is all of them: for a host at which nobody sits, on which they are given to VMs like everything else.',
  ),
  access: {
    otherwise: [],
    takes: ACCESS_TAKES,
    meaning:
      'Who may do what, beyond root and the members of the groups usher and usher-admin. See [access.md](../access.md).',
    read: readAccess,
  },
  auditAnchorSeconds: whole(
    1,
    DAY,
    60,
    'How often the head of the audit trail is told to the system log, when it has changed.',
  ),
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
    text = await readRegularText(file, MAX_BYTES);
  } catch (error) {
    if (isFault(error)) throw error;
    if (errnoOf(error) === 'ENOENT') return { settings: DEFAULT_SETTINGS, warnings: [] };
    throw new Fault('file.unreadable', { file, what: messageOf(error) }, { cause: error });
  }
  // Most daemons have no file: the YAML library is loaded only for one that is there.
  const { parseSettings } = await import('./settings-file.ts');
  const { settings, errors, warnings } = parseSettings(text, file);
  if (settings === undefined) throw configFault(errors);
  return { settings, warnings: warnings.map(formatDiagnostic) };
}
