/** The save files of simulated guests: a small JSON that says whose memory it is. Parses and prints; reads no files. */
import { createHash } from 'node:crypto';
import { Fault } from '../../lib/fault.ts';
import { isUuid, type VmUuid } from '../../model/ids.ts';
import type { VmConfig } from '../../model/vm.ts';
import type { SaveOwner } from '../save-target.ts';
import { parseSavedDisks, type SavedDisk } from '../saved-disks.ts';
import { type Topology, topologyOf, whyAnotherVm } from '../topology.ts';
import type { GuestMemory } from './world-port.ts';

const FORMAT = 'usher simulated guest';
const VERSION = 2;
/** The only machine that there is. */
const MACHINE = 'simulated';
/** More than this was never written by us. */
export const SAVE_FILE_MAX_BYTES = 65_536;

/** What every save file begins with. */
export const SAVE_FILE_MAGIC = `{"format":${JSON.stringify(FORMAT)}`;

/** What a save file holds. */
export interface SavedGuest {
  readonly memory: GuestMemory;
  readonly disks: readonly SavedDisk[];
}

/** Prints a guest as the content of a save file. */
export function formatSaveFile({ memory, disks }: SavedGuest, config: VmConfig, createdAt: number): string {
  const { name } = config;
  const vm = { ...memory, name, driver: 'simulator', machine: MACHINE, topology: topologyOf(config), disks, createdAt };
  const body = { format: FORMAT, version: VERSION, ...vm };
  return `${JSON.stringify({ ...body, sha256: checksumOf(body) })}\n`;
}

/** Parses the content of a save file of the VM. @throws Fault `vm.save_invalid` */
export function parseSaveFile(untrustedText: string, file: string, config: VmConfig): SavedGuest {
  const refuse = (what: string) => new Fault('vm.save_invalid', { file, what });
  const body = parseBody(untrustedText);
  if (body === undefined) throw refuse('it is not a whole save file of a simulated guest');
  if (body['version'] !== VERSION || body['machine'] !== MACHINE) {
    throw refuse('it was written by another version of the simulator');
  }
  const { sha256, ...rest } = body;
  if (sha256 !== checksumOf(rest)) throw refuse('it is damaged: its checksum is wrong');
  const { uuid, name, bootId, ranMs, topology } = rest;
  const disks = parseSavedDisks(rest['disks']);
  const isWhole = typeof uuid === 'string' && isUuid(uuid) && typeof name === 'string' && typeof topology === 'object';
  if (!isWhole || topology === null || disks === undefined) throw refuse('its header is not understood');
  if (typeof bootId !== 'string' || typeof ranMs !== 'number' || !(ranMs >= 0)) throw refuse('it has no memory');
  const why = whyAnotherVm({ uuid, name, topology: topology as Topology }, config);
  if (why !== undefined) throw refuse(why);
  return { memory: { uuid: uuid as VmUuid, bootId, ranMs }, disks };
}

/** Tells whose save a content is; `undefined` when it does not say, as one that was cut off. */
export function readOwner(untrustedText: string): SaveOwner | undefined {
  const { uuid, name } = parseBody(untrustedText) ?? {};
  return typeof uuid === 'string' && typeof name === 'string' ? { uuid, name } : undefined;
}

function parseBody(untrustedText: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(untrustedText);
    if (typeof value !== 'object' || value === null) return undefined;
    return (value as Record<string, unknown>)['format'] === FORMAT ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function checksumOf(body: object): string {
  return createHash('sha256').update(JSON.stringify(body)).digest('hex');
}
