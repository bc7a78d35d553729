/**
 * What a hypervisor driver brings to the contract suite: its own guests and hands to touch them from outside the driver.
 * Types only; the suite is in suite.ts.
 */
import type { Driver } from '../../src/hypervisor/driver.ts';
import type { VmUuid } from '../../src/model/ids.ts';
import type { SoftwareKind, UsbDevice } from '../../src/model/usb.ts';
import type { DiskConfig, VmConfig } from '../../src/model/vm.ts';

/**
 * The guest's own side of a domain, and the way to end it from outside, all without the driver. A hand may be asked for
 * before the domain is there; each method finds the domain anew.
 */
export interface GuestHand {
  /** Resolves when the guest has booted (or goes on after a restore) and answers. */
  waitReady(): Promise<void>;
  /** Gives a word that is new at every boot and kept in the guest's memory: equal after a restore, new after a reset. */
  bootId(): Promise<string>;
  /** Gives a number that grows while the guest runs, starts small at boot and is kept in its memory. */
  ticks(): Promise<number>;
  /** Lists the USB devices that the guest sees, as `vid:pid:serial`. */
  usb(): Promise<readonly string[]>;
  /** Writes a word to the first sector of a disk, and through to it. Absent where guests have no use for disks. */
  writeDisk?(target: string, word: string): Promise<void>;
  /** Reads it from the disk, not from the guest's memory. */
  readDisk?(target: string): Promise<string>;
  /** The guest's own time of day, in seconds since 1970. Absent where guests have none. */
  seconds?(): Promise<number>;
  powerOff(): Promise<void>;
  reboot(): Promise<void>;
  panic(): Promise<void>;
  /** Ends the whole domain from outside, as `kill -9` of its process does. */
  kill(): Promise<void>;
}

/** Disks that a rig can give to its VMs. */
export interface RigDisks {
  /** Whether a checkpoint takes snapshots of qcow2 images. */
  readonly canSnapshot: boolean;
  /** Makes an image of some MiB for one VM. */
  make(format: 'raw' | 'qcow2'): Promise<DiskConfig>;
}

/** One set-up of a driver, used by all tests of the suite one after the other. */
export interface Rig {
  /** Opens a driver on this rig's home: the suite has one at a time and closes it before it opens the next. */
  openDriver(): Promise<Driver>;
  /**
   * Makes the config of a VM that boots the guest: with a new uuid and name, a `kernel`, and a first USB controller that
   * takes every device of `makeDevice` and has four ports or more.
   */
  makeConfig(changes?: Partial<VmConfig>): VmConfig;
  /** What makes a VM cheaper that no test attaches a device to. Default: nothing. */
  readonly withoutUsb?: Partial<VmConfig>;
  /** Starts a VM and returns when its guest answers, where that can be had quicker than by a boot. */
  boot?(driver: Driver, config: VmConfig): Promise<void>;
  /** Kinds of device that can be attached here. */
  readonly deviceKinds: readonly SoftwareKind[];
  /** Makes a device that can be attached, another one at each call, with a serial. */
  makeDevice(kind: SoftwareKind): Promise<UsbDevice>;
  readonly disks: RigDisks;
  /** Whether a guest runs while its memory is copied, and so long that it can be measured. */
  readonly savesLive: 'never' | 'at once' | 'measurably';
  /** Whether the guest's own time of day is right after a restore without a helper in it. */
  readonly setsClock?: boolean;
  guest(uuid: VmUuid): GuestHand;
  /** A reset makes another domain, without devices, as on Xen. */
  readonly resetMakesNewDomain?: boolean;
  /** A private folder for save files. */
  readonly folder: string;
  /** A folder on a file system that is full; the test of it is skipped without. */
  readonly fullFolder?: string;
  /** Lets time pass: the world's own, which may be faster than ours. */
  elapse(ms: number): Promise<void>;
  /** How long the suite waits for something that is to happen, in the time of `elapse`. */
  readonly patienceMs: number;
  /** Removes what the rig made; the domains are gone by then. */
  close(): Promise<void>;
}
