/**
 * What a save says of the domain that it is of: libxl's config as JSON (libxl_types.idl), in the parts that have to be the
 * same where it is restored. Pure.
 */
import { printable } from '../../lib/text.ts';
import type { UsbControllerConfig, VmConfig } from '../../model/vm.ts';
import { virtModeOf } from '../../model/vm.ts';
import { type EmulatedController, type PlacedController, parseControllerArgs } from './emulated-controllers.ts';

export interface SavedConfig {
  readonly uuid: string;
  readonly untrustedName: string;
  /** What must not differ; each a short text, so that a difference can be shown. */
  readonly topology: Topology;
  /** The PV controllers that the guest had at that moment, in the order of their numbers. */
  readonly controllers: readonly UsbControllerConfig[];
  /** The emulated ones that xl made: where they were, the state of the device model tells. */
  readonly emulated: readonly EmulatedController[];
  /** Those that were words of the device model's command line, because the guest had been restored before. */
  readonly placed: readonly PlacedController[];
}

export interface Topology {
  readonly kind: string;
  readonly memory: string;
  readonly vcpus: string;
  readonly disks: string;
}

type Json = { readonly [key: string]: unknown };

/** Parses libxl's JSON; `undefined` for what is none, or lacks something. */
export function parseSavedConfig(untrustedJson: string): SavedConfig | undefined {
  let whole: unknown;
  try {
    whole = JSON.parse(untrustedJson);
  } catch {
    return undefined;
  }
  const [info, build] = [objectIn(whole, 'c_info'), objectIn(whole, 'b_info')];
  const [kind, uuid, name] = ['type', 'uuid', 'name'].map((key) => info[key]);
  const [vcpus, memoryKib] = [build['max_vcpus'], build['max_memkb']];
  const disks = listIn(whole, 'disks').map(describeDisk);
  const controllers = listIn(whole, 'usbctrls').map(parseController);
  if (typeof kind !== 'string' || typeof uuid !== 'string' || typeof name !== 'string') return undefined;
  if (!Number.isSafeInteger(vcpus) || !Number.isSafeInteger(memoryKib)) return undefined;
  if (controllers.includes(undefined)) return undefined;
  const known = controllers.filter((controller) => controller !== undefined).sort((a, b) => a.devid - b.devid);
  return {
    uuid: uuid.toLowerCase(),
    untrustedName: name,
    topology: { kind, memory: `${(memoryKib as number) / 1024} MiB`, vcpus: String(vcpus), disks: disks.join(' ') },
    controllers: known.map(({ controller }) => controller).filter(({ type }) => type !== 'devicemodel'),
    emulated: known.flatMap(({ devid: index, controller: { type, version, ports } }) =>
      type === 'devicemodel' ? [{ index, version, ports }] : [],
    ),
    placed: parseControllerArgs(JSON.stringify(build['extra'] ?? [])),
  };
}

/** Says why a VM as it is configured now cannot go on from there; `undefined` when it can. */
export function differenceTo(saved: SavedConfig, config: VmConfig): string | undefined {
  if (saved.uuid !== config.uuid) {
    return `it is the save of another VM (${printable(saved.untrustedName, 63)}, uuid ${printable(saved.uuid, 36)})`;
  }
  const now = topologyOf(config);
  for (const key of Object.keys(now) as (keyof Topology)[]) {
    if (saved.topology[key] === now[key]) continue;
    return `it was saved with ${key} "${printable(saved.topology[key], 200)}", and VM ${config.name} now has "${now[key]}"`;
  }
  return undefined;
}

function topologyOf(config: VmConfig): Topology {
  return {
    kind: virtModeOf(config),
    memory: `${config.memoryMiB} MiB`,
    vcpus: String(config.vcpus),
    disks: config.disks.map(({ target, kind, format }) => `${target}:${kind}:${format}`).join(' '),
  };
}

/** libxl leaves out what is false, zero or empty. */
function describeDisk(disk: Json): string {
  const kind = disk['is_cdrom'] === 1 || disk['is_cdrom'] === true ? 'cdrom' : 'disk';
  return `${String(disk['vdev'])}:${kind}:${String(disk['format'])}`;
}

function parseController(json: Json): { readonly devid: number; readonly controller: UsbControllerConfig } | undefined {
  const { type, devid = 0, version, ports } = json;
  const isKnown = type === 'qusb' || type === 'pv' || type === 'devicemodel';
  if (!isKnown || typeof devid !== 'number' || typeof ports !== 'number') return undefined;
  if (version !== 1 && version !== 2 && version !== 3) return undefined;
  return { devid, controller: { type, version, ports } };
}

function objectIn(value: unknown, key: string): Json {
  const member = isObject(value) ? value[key] : undefined;
  return isObject(member) ? member : {};
}

function listIn(value: unknown, key: string): Json[] {
  const member = isObject(value) ? value[key] : undefined;
  return Array.isArray(member) ? member.filter(isObject) : [];
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
