/**
 * Reads `xl list -l`: what a domain was made of, for a config of it. Pure. It is libxl's own record in JSON (libxl_types.idl,
 * `libxl_domain_config`), from nodes and files that only dom0 writes; what is not understood is left out, and said.
 */
import { parseDisk, printDisk } from '../../config/disk.ts';
import { parseControllers, printControllers } from '../../config/usbctrl.ts';
import type { ValueContext } from '../../config/values.ts';
import type { VmUuid } from '../../model/ids.ts';
import { type DiskConfig, type UsbControllerConfig, VIRT_MODES } from '../../model/vm.ts';
import type { DomainDescription } from '../driver.ts';

type Json = Readonly<Record<string, unknown>>;

/** What libxl calls its lists of devices, and people the things in them; those that settings hold are not here. */
const DEVICES: Readonly<Record<string, readonly [one: string, many: string]>> = {
  nics: ['network interface', 'network interfaces'],
  pcidevs: ['PCI device', 'PCI devices'],
  vfbs: ['framebuffer', 'framebuffers'],
  vkbs: ['virtual keyboard', 'virtual keyboards'],
  vtpms: ['virtual TPM', 'virtual TPMs'],
  p9s: ['9p folder', '9p folders'],
  channels: ['channel', 'channels'],
  vsnds: ['sound card', 'sound cards'],
  vdispls: ['display', 'displays'],
};

/** Gives what is told of the domain with that uuid; `undefined` when nothing is, or when the text is no such list. */
export function describeFromList(untrustedText: string, uuid: VmUuid): DomainDescription | undefined {
  const config = list(parseJson(untrustedText))
    .map((row) => object(row['config']))
    .find((row) => object(row['c_info'])['uuid'] === uuid);
  if (config === undefined) return undefined;
  const build = object(config['b_info']);
  const virtMode = VIRT_MODES.find((mode) => mode === object(config['c_info'])['type']);
  const memoryKiB = whole(build['max_memkb']);
  const disks = list(config['disks']).map(readDisk);
  const controllers = list(config['usbctrls']).map(readController);
  const settings = {
    virtMode,
    kernel: text(build['kernel']),
    initrd: text(build['ramdisk']),
    cmdline: text(build['cmdline']),
    memoryMiB: memoryKiB === undefined ? undefined : Math.ceil(memoryKiB / 1024),
    vcpus: whole(build['max_vcpus']),
    disks: disks.filter((disk) => typeof disk !== 'string'),
    usbControllers: controllers.filter((controller) => typeof controller !== 'string'),
  };
  const omits = [...disks, ...controllers].filter((one) => typeof one === 'string');
  return {
    settings: Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)),
    omits: [...omits, ...otherDevices(config)],
  };
}

function otherDevices(config: Json): string[] {
  return Object.entries(DEVICES).flatMap(([key, [one, many]]) => {
    const count = list(config[key]).length;
    return count === 0 ? [] : [count === 1 ? `a ${one}` : `${count} ${many}`];
  });
}

/** Gives a disk, or what it is called when a config file could not have it. */
function readDisk(disk: Json): DiskConfig | string {
  const target = text(disk['vdev']) ?? 'without a name';
  const isCdrom = disk['is_cdrom'] === 1 || disk['is_cdrom'] === true;
  const printed = printDisk({
    path: text(disk['pdev_path']) ?? '',
    format: (text(disk['format']) ?? 'raw') as DiskConfig['format'],
    target,
    isReadOnly: disk['readwrite'] !== 1 && disk['readwrite'] !== true,
    kind: isCdrom ? 'cdrom' : 'disk',
  });
  return parseDisk(printed, QUIET) ?? `the disk ${target}`;
}

/** Gives a controller, or what it is called when a config file could not have it. */
function readController(controller: Json): UsbControllerConfig | string {
  const { type = 'auto', version, ports } = controller;
  const printed = printControllers([{ type, version, ports } as UsbControllerConfig])[0] ?? '';
  return parseControllers(printed, QUIET)?.[0] ?? `a USB controller of the type ${String(type)}`;
}

/** What is wrong with a value is no finding in any file: the value is left out. */
const QUIET: ValueContext = { key: '', folder: undefined, error: () => undefined, warn: () => undefined };

function parseJson(untrustedText: string): unknown {
  try {
    return JSON.parse(untrustedText);
  } catch {
    return undefined;
  }
}

function object(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function list(value: unknown): Json[] {
  return Array.isArray(value) ? value.map(object) : [];
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function whole(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 ? value : undefined;
}
