/** What a VM is: its configuration, its power state, and what the inventory keeps of it. Types and small rules. */
import type { VmUuid } from './ids.ts';

export const DRIVER_NAMES = ['simulator', 'qemu', 'xen'] as const;
export type DriverName = (typeof DRIVER_NAMES)[number];

export const POWER_STATES = [
  'halted',
  'starting',
  'running',
  'paused',
  'suspending',
  'suspended',
  'restoring',
  'stopping',
  'crashed',
] as const;
export type PowerState = (typeof POWER_STATES)[number];

/** What is done when a domain dies by itself: gone, started again, or left dead for inspection. */
export const DEATH_ACTIONS = ['destroy', 'restart', 'preserve'] as const;
export type DeathAction = (typeof DEATH_ACTIONS)[number];

/** What can be done to a guest's board: its power and sleep buttons, the end of its sleep, a non-maskable interrupt. */
export const TRIGGERS = ['power', 'sleep', 's3resume', 'nmi'] as const;
export type Trigger = (typeof TRIGGERS)[number];

/** Kinds of Xen guest: paravirtual, hardware-assisted without and with emulated devices. QEMU's guests are all `hvm`. */
export const VIRT_MODES = ['pv', 'pvh', 'hvm'] as const;
export type VirtMode = (typeof VIRT_MODES)[number];

/** What the monitor does with the VM when it is told to bring it up. */
export type Startup =
  | { readonly do: 'started' | 'paused' | 'shutdown' }
  | { readonly do: 'restore'; readonly file: string };

export interface DiskConfig {
  /** Empty: nothing is in the CD drive. */
  readonly path: string;
  readonly format: 'raw' | 'qcow2' | 'vhd';
  /** The name in the guest: `hda`, `sdb`, `xvda`. */
  readonly target: string;
  readonly isReadOnly: boolean;
  readonly kind: 'disk' | 'cdrom';
  /** The image is encrypted as a whole, without a header (dm-crypt's plain mode). */
  readonly encryption?: DiskEncryption;
}

export interface DiskEncryption {
  /** As the kernel writes it: `aes-xts-plain64`. */
  readonly cipher: string;
  readonly keyBits: number;
  readonly keyFile: string;
}

/** A virtual USB controller that the VM is to have. */
export interface UsbControllerConfig {
  /** Xen chooses by guest kind when `auto`; QEMU knows `devicemodel` only. */
  readonly type: 'auto' | 'qusb' | 'pv' | 'devicemodel';
  readonly version: 1 | 2 | 3;
  readonly ports: number;
}

/** The most and the usual ports of an emulated controller by version (xl.cfg(5), `usbctrl`). */
export const CONTROLLER_PORTS = { 1: { max: 2, usual: 2 }, 2: { max: 6, usual: 6 }, 3: { max: 15, usual: 8 } } as const;

/** A virtual network card. */
export interface NicConfig {
  /** Its number among the cards of the VM, 0 to 31. */
  readonly id: number;
  /** The bridge of the host that it is on; absent: the host's first. */
  readonly bridge?: string;
  /** Lower case, with colons. Absent: derived from uuid and id, see nic-address.ts. */
  readonly mac?: string;
  /** What the guest sees, in the hypervisor's word; absent: what is fastest. */
  readonly model?: string;
}

/** A PCI device of the host that the guest gets. Numbers, not texts: they are written differently everywhere. */
export interface PciConfig {
  /** Devices are given in the order of their numbers. */
  readonly id: number;
  readonly domain: number;
  readonly bus: number;
  readonly device: number;
  readonly function: number;
  /** Taken from its kernel driver at the start. */
  readonly isSeized: boolean;
  readonly msiTranslate?: boolean;
  readonly powerManagement?: boolean;
}

/** Where the guest's screen is shown. */
export type DisplayConfig =
  | { readonly protocol: 'none' | 'sdl' | 'intel' }
  | {
      readonly protocol: 'vnc';
      /** A display number, or from 5900 on a TCP port. Absent: the first that is free with `usesFreePort`, else no port. */
      readonly port?: number;
      /** Takes the next port when it is taken. */
      readonly usesFreePort: boolean;
      /** A keyboard layout, such as `en-us`. */
      readonly keymap?: string;
    };

/** Who is told what becomes of the VM, without having asked. */
export type NotifyConfig =
  | { readonly by: 'unix'; readonly path: string }
  /** Another of xenvm's ways, as it was written. */
  | { readonly by: 'other'; readonly way: string };

/** An argument handed to the device model as `-name value`. */
export interface ExtraArgument {
  readonly name: string;
  readonly value?: string;
}

/** Features of the emulated machine. Absent: what the hypervisor's own default is. */
export interface MachineConfig {
  readonly acpi?: boolean;
  readonly apic?: boolean;
  readonly pae?: boolean;
  readonly nx?: boolean;
  readonly hap?: boolean;
  readonly viridian?: boolean;
  readonly nestedVirtualization?: boolean;
  readonly hpet?: boolean;
  readonly alignsTimers?: boolean;
  /** Xen's number: 0 delays for missed ticks, 1 does not, 2 has none pending, 3 has one pending. */
  readonly timerMode?: number;
  /** How far the guest's clock is ahead of UTC. */
  readonly timeOffsetSeconds?: number;
  readonly hasHostSmbios?: boolean;
  /** Types of SMBIOS tables that makers may use, 128 to 255, which the guest gets from the host. */
  readonly hostSmbiosTypes?: readonly number[];
  readonly hasHostAcpiTables?: boolean;
  /** Letters of what is booted from, first to last: `c` disk, `d` cdrom, `n` network, `a` floppy. */
  readonly bootOrder?: string;
  readonly pciMsiTranslate?: boolean;
  readonly pciPowerManagement?: boolean;
  readonly memoryMaxMiB?: number;
  readonly coresPerSocket?: number;
  readonly videoMemoryMiB?: number;
  /** CPUID policies, as xl.cfg(5) writes them. */
  readonly cpuid?: readonly string[];
}

/** A VM's settings as its file gives them, complete: every default is filled in. */
export interface VmConfig extends MachineConfig {
  readonly uuid: VmUuid;
  readonly name: string;
  readonly driver: DriverName;
  /** Heeded by Xen only. Absent: `pv` with a kernel, `hvm` without. */
  readonly virtMode?: VirtMode;
  /** Absent: boots from its disks. */
  readonly kernel?: string;
  readonly initrd?: string;
  readonly cmdline?: string;
  readonly memoryMiB: number;
  readonly vcpus: number;
  readonly disks: readonly DiskConfig[];
  readonly nics?: readonly NicConfig[];
  readonly pciDevices?: readonly PciConfig[];
  readonly display?: DisplayConfig;
  readonly extraArguments?: readonly ExtraArgument[];
  /** Whatever is done to the VM is written into a log of its own. */
  readonly isDebugged?: boolean;
  readonly notify?: NotifyConfig;
  /** Values of keys that no driver can do anything with, by key: they come back when the config is printed. */
  readonly unheeded?: Readonly<Record<string, readonly string[]>>;
  /** `pty`, or `tcp:IP:PORT`; absent: console socket and log only. */
  readonly serial?: string;
  readonly startup: Startup;
  readonly onCrash: DeathAction;
  readonly onHalt: DeathAction;
  readonly onReboot: DeathAction;
  readonly usbControllers: readonly UsbControllerConfig[];
}

/** Gives the kind of guest that a VM is. */
export function virtModeOf(config: {
  readonly driver?: DriverName | undefined;
  readonly virtMode?: VirtMode | undefined;
  readonly kernel?: string | undefined;
}): VirtMode {
  if (config.driver !== 'xen') return 'hvm';
  return config.virtMode ?? (config.kernel === undefined ? 'hvm' : 'pv');
}

/** What the inventory keeps of a VM. The present (running or not) is never kept: it is observed. */
export interface VmRecord {
  readonly uuid: VmUuid;
  readonly name: string;
  readonly driver: DriverName;
  /** The config file; read again at each start. Absent when the VM was made from content alone. */
  readonly path?: string;
  /** The file's last good content: serves when the file is gone or broken. */
  readonly content: string;
  /** Started when the daemon starts for the first time after the host booted. */
  readonly autostart: boolean;
  /**
   * What was last commanded: tells a death while the daemon was away from a wanted stop. `restored`: a restore goes on
   * and its domain is not whole yet; `suspendFile` is as it was before.
   */
  readonly wanted: 'running' | 'halted' | 'suspended' | 'restored';
  /** Boot id of the host when `wanted` was set. */
  readonly wantedBoot: string;
  /** The save file, when suspended. */
  readonly suspendFile?: string;
  readonly createdAt: number;
}
