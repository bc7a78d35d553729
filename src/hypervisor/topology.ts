/** What of a VM must be the same where it is saved and where it is restored, as short texts that can be shown. Pure. */
import { pciAddress } from '../config/pci.ts';
import { printable } from '../lib/text.ts';
import type { VmConfig } from '../model/vm.ts';

/** Each a short text, so that a difference can be shown. */
export interface Topology {
  readonly memory: string;
  readonly vcpus: string;
  readonly controllers: string;
  readonly disks: string;
  readonly serial: string;
  readonly nics?: string;
  readonly display?: string;
  readonly pci?: string;
  readonly machine?: string;
  readonly most?: string;
  readonly extra?: string;
}

/** Describes what of a VM's config must not change between save and restore. */
export function topologyOf(config: VmConfig): Topology {
  return {
    memory: `${config.memoryMiB} MiB`,
    vcpus: String(config.vcpus),
    controllers: config.usbControllers.map(({ version, ports }) => `v${version}p${ports}`).join(' '),
    disks: config.disks.map(({ target, kind, format }) => `${target}:${kind}:${format}`).join(' '),
    serial: config.serial === undefined ? 'none' : 'one',
    // These came later: what is as it always was is an empty text, as in files from before.
    nics: (config.nics ?? []).map(({ id, model = '' }) => `${id}:${model}`).join(' '),
    display: config.display?.protocol === 'vnc' ? 'vnc' : '',
    pci: (config.pciDevices ?? []).map(pciAddress).join(' '),
    machine: (['acpi', 'apic', 'pae', 'nx', 'hpet'] as const)
      .flatMap((key) => (config[key] === undefined ? [] : [`${key}=${config[key] ? 'on' : 'off'}`]))
      .join(' '),
    // Xen's guests can be restored with another ceiling, and the simulated have none.
    most: config.driver === 'qemu' && mostMemoryMiB(config) > config.memoryMiB ? `${mostMemoryMiB(config)} MiB` : '',
    extra: (config.extraArguments ?? [])
      .map(({ name, value = '' }) => `-${name} ${value}`)
      .join(' ')
      .slice(0, 300),
  };
}

/** Gives the most memory that the guest may ever have: what a machine is built with. */
export function mostMemoryMiB({ memoryMiB, memoryMaxMiB = 0 }: Pick<VmConfig, 'memoryMiB' | 'memoryMaxMiB'>): number {
  return Math.max(memoryMiB, memoryMaxMiB);
}

/** Whose save it is, as its header says. */
export interface SavedVm {
  readonly uuid: string;
  readonly name: string;
  readonly topology: Topology;
}

/** Says why a VM as it is configured now cannot go on from there; `undefined` when it can. */
export function whyAnotherVm(saved: SavedVm, config: VmConfig): string | undefined {
  if (saved.uuid !== config.uuid) {
    return `it is the save of another VM (${printable(saved.name, 63)}, uuid ${printable(saved.uuid, 36)})`;
  }
  const now = topologyOf(config);
  for (const key of Object.keys(now) as (keyof Topology)[]) {
    const then = String(saved.topology[key] ?? '');
    if (then === (now[key] ?? '')) continue;
    return `it was saved with ${key} "${printable(then, 200)}", and VM ${config.name} now has "${now[key]}"`;
  }
  return undefined;
}
