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

/** Kinds of Xen guest: paravirtual, hardware-assisted without and with emulated devices. QEMU's guests are all `hvm`. */
export const VIRT_MODES = ['pv', 'pvh', 'hvm'] as const;
export type VirtMode = (typeof VIRT_MODES)[number];

/** What the monitor does with the VM when it is told to bring it up. */
export type Startup =
  | { readonly do: 'started' | 'paused' | 'shutdown' }
  | { readonly do: 'restore'; readonly file: string };

export interface DiskConfig {
  readonly path: string;
  readonly format: 'raw' | 'qcow2' | 'vhd';
  /** The name in the guest: `hda`, `sdb`, `xvda`. */
  readonly target: string;
  readonly isReadOnly: boolean;
  readonly kind: 'disk' | 'cdrom';
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

/** A VM's settings as its file gives them, complete: every default is filled in. */
export interface VmConfig {
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
