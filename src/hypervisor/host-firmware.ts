/**
 * Tables of the host's firmware that a guest gets, too: SMBIOS structures, and the ACPI tables by which systems know their
 * licence. Reads what Linux shows below /sys/firmware, as root; hands on nothing by itself.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../lib/fault.ts';
import type { VmConfig } from '../model/vm.ts';

export interface HostFirmware {
  /** Whole structures, with their strings (DMTF DSP0134, 6.1). */
  readonly smbios: readonly Buffer[];
  /** Whole tables, with their headers. */
  readonly acpi: readonly Buffer[];
  /** What was asked for and is not there, a sentence each. */
  readonly warnings: readonly string[];
}

/** BIOS, system, board and chassis. */
const MAKER_TYPES = [0, 1, 2, 3];
const LICENCE_TABLES = ['SLIC', 'MSDM'];
/** A structure says its own length up to its strings, and those are short. */
const MAX_BYTES = 64 * 1024;

type Wishes = Pick<VmConfig, 'name' | 'hasHostSmbios' | 'hostSmbiosTypes' | 'hasHostAcpiTables'>;

/** Reads what the config asks for. Never throws: what cannot be read is a warning. */
export async function readHostFirmware(wishes: Wishes, firmwareRoot: string): Promise<HostFirmware> {
  const { name, hasHostSmbios = false, hostSmbiosTypes = [], hasHostAcpiTables = false } = wishes;
  const warnings: string[] = [];
  const types = [...(hasHostSmbios ? MAKER_TYPES : []), ...hostSmbiosTypes];
  const smbios: Buffer[] = [];
  const entries = types.length === 0 ? [] : await readdir(join(firmwareRoot, 'dmi/entries')).catch(() => []);
  for (const type of types) {
    const numbered = entries.filter((entry) => entry.startsWith(`${type}-`)).sort();
    const found = await Promise.all(numbered.map((entry) => read(join(firmwareRoot, 'dmi/entries', entry, 'raw'))));
    const structures = found.filter((bytes) => Buffer.isBuffer(bytes) && bytes[0] === type) as Buffer[];
    smbios.push(...structures);
    const why = found.find((one) => typeof one === 'string') ?? 'the host has none';
    if (structures.length === 0) warnings.push(`VM ${name} gets no SMBIOS table ${type} of the host: ${why}.`);
  }
  const acpi: Buffer[] = [];
  if (hasHostAcpiTables) {
    const tables = await Promise.all(LICENCE_TABLES.map((table) => read(join(firmwareRoot, 'acpi/tables', table))));
    acpi.push(...tables.filter((table) => typeof table !== 'string'));
    if (acpi.length === 0) warnings.push(`VM ${name} gets no ACPI table of the host: it has neither SLIC nor MSDM.`);
  }
  return { smbios, acpi, warnings };
}

/** Gives the bytes, or why there are none. */
async function read(path: string): Promise<Buffer | string> {
  try {
    const bytes = await readFile(path);
    return bytes.length > 0 && bytes.length <= MAX_BYTES ? bytes : `${path} has ${bytes.length} bytes`;
  } catch (error) {
    return messageOf(error);
  }
}
