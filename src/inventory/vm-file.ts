/** Reads the config files of VMs: from the disk as text, and from text to the config of a VM whose identity is known. */
import { configFault, formatDiagnostic } from '../config/diagnostics.ts';
import { whyNoKey } from '../config/key-file.ts';
import { MAX_FILE_LENGTH } from '../config/key-lines.ts';
import type { VmSettings } from '../config/vm-key.ts';
import { completeConfig, parseVmFile } from '../config/xenvm-file.ts';
import { Fault, isFault, messageOf } from '../lib/fault.ts';
import { openRegularFile } from '../lib/regular-file.ts';
import type { DriverName, VmConfig, VmRecord } from '../model/vm.ts';

/** What stands for the file's name in findings when there is only content. */
const NO_FILE = 'content';

/** Reads a file that should be short text. @throws Fault `file.unreadable` */
export async function readVmFile(path: string): Promise<string> {
  const refuse = (what: string, cause?: unknown) => new Fault('file.unreadable', { file: path, what }, { cause });
  try {
    const file = await openRegularFile(path);
    try {
      const status = await file.stat();
      if (status.size > 4 * MAX_FILE_LENGTH) throw refuse('it is far too long for a config file');
      return new TextDecoder('utf-8', { fatal: true }).decode(await file.readFile());
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isFault(error)) throw error;
    throw refuse(error instanceof TypeError ? 'it is not UTF-8 text' : messageOf(error), error);
  }
}

/** Whether the files with the keys of disks are looked at, too. */
export type Looks = 'at text alone' | 'at keys';

/**
 * Parses a VM's text, and checks it against the driver that the VM has with it, if that is told. That a key
 * is missing is an error of a text that somebody hands in now, and not of one that was good, whose domain may run.
 * @throws Fault `config.invalid` with every error
 */
export function parseContent(
  text: string,
  path: string | undefined,
  driverOf?: (named: DriverName | undefined) => DriverName,
  looks: Looks = 'at text alone',
): { readonly settings: VmSettings; readonly warnings: readonly string[] } {
  const { settings, errors, warnings } = parseVmFile(text, path ?? NO_FILE, {
    ...(driverOf === undefined ? {} : { driverOf }),
    ...(looks === 'at keys' ? { whyNoKey } : {}),
  });
  if (settings === undefined) throw configFault(errors);
  return { settings, warnings: warnings.map(formatDiagnostic) };
}

/** Gives the whole config of a VM: the settings of its file, with the identity that the inventory has. */
export function configOf(record: VmRecord, settings: VmSettings): VmConfig {
  const { uuid, name, driver } = record;
  return { ...completeConfig(settings), uuid, name, driver };
}

/** Says what a file asks for that an existing VM does not get: it keeps its identity. */
export function refusedChanges(record: VmRecord, settings: VmSettings, before: VmSettings): string[] {
  const changes: [what: string, now: string | undefined, kept: string][] = [
    ['uuid', settings.uuid, record.uuid],
    // A name that was given by hand is not complained about each time; one that the file newly asks for is.
    ['name', settings.name === before.name ? undefined : settings.name, record.name],
    ['driver', settings.driver, record.driver],
  ];
  return changes
    .filter(([, now, kept]) => now !== undefined && now !== kept)
    .map(
      ([what, now, kept]) =>
        `The config file now has the ${what} "${now}"; VM ${record.name} keeps "${kept}" until it is removed and created again.`,
    );
}
