/** The save files of simulated guests: a small JSON that says whose memory it is. Parses and prints; reads no files. */
import { Fault } from '../../lib/fault.ts';
import { isUuid, type VmUuid } from '../../model/ids.ts';
import type { GuestMemory } from './world-port.ts';

const FORMAT = 'usher simulated guest';
/** More than this was never written by us. */
export const SAVE_FILE_MAX_BYTES = 4096;

/** What every save file begins with. */
export const SAVE_FILE_MAGIC = `{"format":${JSON.stringify(FORMAT)}`;

/** Prints a guest's memory as the content of a save file. */
export function formatSaveFile(memory: GuestMemory): string {
  return `${JSON.stringify({ format: FORMAT, version: 1, ...memory })}\n`;
}

/** Parses the content of a save file of the VM `uuid`. @throws Fault `vm.save_invalid` */
export function parseSaveFile(untrustedText: string, file: string, uuid: VmUuid): GuestMemory {
  const refuse = (what: string) => new Fault('vm.save_invalid', { file, what });
  const memory = parseMemory(untrustedText);
  if (memory === undefined) throw refuse('it is not a whole save file of a simulated guest');
  if (memory.uuid !== uuid) throw refuse(`it is the save of another VM (uuid ${memory.uuid})`);
  return memory;
}

function parseMemory(untrustedText: string): GuestMemory | undefined {
  try {
    const value: unknown = JSON.parse(untrustedText);
    if (typeof value !== 'object' || value === null) return undefined;
    const { format, version, uuid, bootId, ranMs } = value as Record<string, unknown>;
    if (format !== FORMAT || version !== 1 || typeof uuid !== 'string' || !isUuid(uuid)) return undefined;
    if (typeof bootId !== 'string' || typeof ranMs !== 'number' || !(ranMs >= 0)) return undefined;
    return { uuid: uuid as VmUuid, bootId, ranMs };
  } catch {
    return undefined;
  }
}
