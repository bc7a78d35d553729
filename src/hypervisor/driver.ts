/**
 * The interface that every hypervisor driver has (`simulator`, `qemu`, `xen`), and the words it speaks. Types only.
 *
 * The present is always observed: a driver reads domains and attachments back from the hypervisor and stores nothing of
 * its own as truth. Its events are hints: something may have changed, look again.
 */
import type { VmUuid } from '../model/ids.ts';
import type { Attachment, UsbDevice, UsbSlot, UsbSpeed } from '../model/usb.ts';
import type { DriverName, Trigger, VmConfig } from '../model/vm.ts';

/** Why a domain is dead: it halted, wants to reboot, crashed (panicked), was saved, or its process is gone. */
export type DeathReason = 'halt' | 'reboot' | 'crash' | 'suspend' | 'vanished';

export interface Death {
  readonly reason: DeathReason;
  /** What the hypervisor said, for people. */
  readonly detail?: string;
  /** With `suspend`: the whole save file, when the driver knows it (a daemon died between the save and its note). */
  readonly savedTo?: string;
}

/** A virtual controller that the domain has, as read back. */
export interface Controller {
  readonly index: number;
  readonly version: 1 | 2 | 3;
  readonly ports: number;
  /** Speeds of devices that work on it. */
  readonly speeds: readonly UsbSpeed[];
  /** Set when a port is of use only while no other controller that has this mark has a device at the port of that number. */
  readonly sharesPortNumbers?: boolean;
}

/** A running (or dead, but not yet destroyed) instance of a VM. */
export interface Domain {
  readonly uuid: VmUuid;
  readonly name: string;
  /** The hypervisor's own number, for people: a process id, a domid. Never an identity. */
  readonly handle: number;
  readonly run: 'running' | 'paused' | 'saving' | 'dead';
  /** Set when `run` is `dead`. */
  readonly death?: Death;
  readonly controllers: readonly Controller[];
  readonly attachments: readonly Attachment[];
  /** Whether `addController` can give it one more, which takes devices of every speed. */
  readonly canAddController?: boolean;
  /** Why no device can be attached though the domain lives, as a sentence: its device model is gone, or silent. No controllers then. */
  readonly usbTrouble?: string;
  /**
   * In a list: the device model does not answer, so that only part of `attachments` is known. A look at this domain alone is a
   * fault, which says why.
   */
  readonly isPartial?: boolean;
  /** The domid of the stub domain that its device model lives in, -1 when unknown. Xen only. */
  readonly stubdomDomid?: number;
}

/** What a driver can tell of a domain that others made, for a config of it. A setting that is absent is not known. */
export interface DomainDescription {
  readonly settings: Partial<
    Pick<VmConfig, 'virtMode' | 'kernel' | 'initrd' | 'cmdline' | 'memoryMiB' | 'vcpus' | 'disks' | 'usbControllers'>
  >;
  /** What the domain has and no setting tells, each in a few words: `2 network interfaces`. */
  readonly omits: readonly string[];
}

/** A hint: the power or the USB side of one domain, or everything (a connection was lost or came back). */
export type DriverHint = { readonly about: 'power' | 'usb'; readonly uuid: VmUuid } | { readonly about: 'everything' };

/** One line of `usher doctor`. */
export interface Finding {
  readonly level: 'ok' | 'note' | 'warning' | 'error';
  readonly subject: string;
  readonly says: string;
  /** What to do about it. */
  readonly advice?: string;
}

export interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

export interface SaveOptions extends Waiting {
  /** What the domain does afterwards: `stopped` ends it (suspend), `running` lets it go on (checkpoint). */
  readonly afterwards: 'stopped' | 'running';
  /**
   * Lets the guest run while its memory is copied, where the driver can; it stands still for the rest only. Absent: if it
   * goes on afterwards, and the driver can do it without any risk.
   */
  readonly isLive?: boolean | undefined;
  /**
   * What becomes of the writable disks of a domain that goes on. Absent: a snapshot of the same moment is taken of each,
   * which a restore goes back to; where that cannot be the save is refused. `ignore`: nothing, with a warning.
   */
  readonly disks?: 'ignore' | undefined;
  /** Told now and then how many bytes are written, and of how many if that is known. */
  readonly onProgress?: ((bytes: number, ofBytes: number | undefined) => void) | undefined;
  /**
   * Called once, when the file is whole and in its place and before the domain is ended: the moment to note it, so that
   * no crash can lose it. What it throws fails the save: the domain goes on, and the file stays.
   */
  readonly onWritten?: (() => void) | undefined;
}

/** What a save was like. */
export interface SaveReport {
  /** How long the guest stood still, in ms: until it ran again, or, when it was to stop, until its file was whole. */
  readonly pausedMs: number;
  /** Whether it ran while its memory was copied. */
  readonly isLive: boolean;
  /** What the file lacks, a sentence each. */
  readonly warnings: readonly string[];
}

export interface StartOptions extends Waiting {
  readonly isPaused: boolean;
  /** A save file to restore from. It is never removed by the driver. */
  readonly restoreFrom?: string | undefined;
  /** `ignore`: restores over disks that have changed since the save, and reverts none to its snapshot. */
  readonly disks?: 'ignore' | undefined;
  readonly onProgress?: ((bytes: number, ofBytes: number | undefined) => void) | undefined;
  /** Told, a sentence each, what the config asks for and the domain will not have. */
  readonly onWarning?: ((sentence: string) => void) | undefined;
}

/** Where a display is shown by VNC. */
export interface VncPlace {
  readonly host: string;
  readonly port: number;
}

/** Where a guest's serial console is: a unix socket (both ways) and the log that is always written. */
export interface ConsolePaths {
  readonly socket: string;
  readonly log: string;
}

/**
 * A hypervisor. Every method that waits has a deadline of its own and takes a signal. Faults are the driver's
 * translation of what the hypervisor said; `vm.no_domain` when a method needs a domain and there is none.
 */
export interface Driver {
  readonly name: DriverName;

  /** Says what is there, what is missing and what to do. Never throws. */
  diagnose(): Promise<Finding[]>;

  /**
   * Lists all domains of this driver, dead ones too: those of this home, and where the hypervisor has one list for the whole
   * host (Xen), also those that others made. @throws `hypervisor.missing`
   */
  list(waiting?: Waiting): Promise<Domain[]>;

  /**
   * Gives one domain, `undefined` when there is none. @throws `hypervisor.lost` when there is one, or may be, that cannot
   * be looked at: that is never `undefined`
   */
  find(uuid: VmUuid, waiting?: Waiting): Promise<Domain | undefined>;

  /**
   * Creates the domain and lets it run, or leaves it paused. With `restoreFrom` it goes on from there. Legal when there
   * is no domain of that uuid. A file of another VM or version, a damaged one and one whose disks have changed since is
   * refused before anything is touched; disks with a snapshot of the save are reverted to it. When it fails, no domain is
   * left and the disks are as they were. @throws `vm.start_failed`, `vm.save_invalid`, `vm.exists`
   */
  start(config: VmConfig, options: StartOptions): Promise<Domain>;

  /** Stops the virtual CPUs. Pausing what is paused is fine. @throws `vm.no_domain` */
  pause(uuid: VmUuid, waiting?: Waiting): Promise<void>;

  /** Lets the virtual CPUs run again. @throws `vm.no_domain` */
  unpause(uuid: VmUuid, waiting?: Waiting): Promise<void>;

  /** Asks the guest to power off (ACPI) and returns when the request is delivered; the death is observed later. */
  requestShutdown(uuid: VmUuid, waiting?: Waiting): Promise<void>;

  /**
   * Resets the guest as the reset button does, so that it boots anew. QEMU and the simulator keep the domain and what is
   * attached; on Xen a domain cannot be reset, so that another one takes its place, without devices. @throws `vm.no_domain`
   */
  reset(uuid: VmUuid, waiting?: Waiting): Promise<void>;

  /** Ends the domain at once and clears what it leaves. Destroying nothing is fine. */
  destroy(uuid: VmUuid, waiting?: Waiting): Promise<void>;

  /**
   * Writes the domain's state to `path`, whole or not at all, mode 0600. When it fails or is aborted the domain goes on
   * as before and `path` is as it was; what stands there, unless it is empty or an older save, is never replaced. Legal
   * when nothing is attached: a state with a device could not be restored without it. A domain that was `stopped` is dead
   * (`suspend`) or gone. @throws `vm.save_failed`, `vm.no_domain`, `aborted`
   */
  save(uuid: VmUuid, path: string, options: SaveOptions): Promise<SaveReport>;

  /**
   * Looks whether `save` would refuse at once: the place of the file, the disks. Touches nothing, and does not mind what is
   * attached. @throws `vm.save_failed`, `vm.no_domain`
   */
  checkSave(uuid: VmUuid, path: string, options: Pick<SaveOptions, 'afterwards' | 'disks'> & Waiting): Promise<void>;

  /**
   * Removes a save file, with the snapshots that it has in the VM's disks. Legal when the guest was restored from it, or
   * has no use for it any more; a file that is not there is fine. @throws `file.unwritable`, `hypervisor.failed`
   */
  discardSave(uuid: VmUuid, path: string): Promise<void>;

  /**
   * Attaches a device at a slot and returns when the hypervisor has it. A software device needs a controller that a device
   * model emulates, which Xen's PV and PVH guests lack.
   * @throws `usb.software_unsupported`, `usb.port_busy`, `usb.port_not_found`, `usb.attached`, `usb.device_gone`, `usb.attach_failed`, `vm.no_domain`
   */
  attachDevice(uuid: VmUuid, slot: UsbSlot, device: UsbDevice, waiting?: Waiting): Promise<Attachment>;

  /**
   * Detaches what is at the attachment's slot, if it still is that device, and returns when the slot is free and the
   * device released. Detaching what is not there is fine. @throws `usb.detach_failed`
   */
  detachDevice(uuid: VmUuid, attachment: Attachment, waiting?: Waiting): Promise<void>;

  /**
   * Gives the domain one more controller, for a device that finds no port, and returns when devices can be attached to
   * it: devices of every speed, so that no device asks for a second one. Absent where a domain keeps the controllers that
   * it was created with; legal when `canAddController` is set. @throws `usb.controller_failed`, `vm.no_domain`
   */
  addController?(uuid: VmUuid, waiting?: Waiting): Promise<Controller>;

  /**
   * Tells what a living domain is made of, as far as it can be told. Absent where domains are made by Usher alone.
   * @throws `vm.no_domain`, `hypervisor.failed`
   */
  describe?(uuid: VmUuid, waiting?: Waiting): Promise<DomainDescription>;

  /**
   * Puts a medium, an image file, into the CD drive of that target in the place of the one that is there; without a file
   * the drive is left empty. @throws `vm.no_drive`, `vm.no_domain`, `hypervisor.failed`
   */
  changeMedium(uuid: VmUuid, target: string, file: string | undefined, waiting?: Waiting): Promise<void>;

  /**
   * Tells the guest's balloon how much memory the domain is to have; the guest follows, or does not.
   * @throws `vm.unsupported` when the domain has no balloon or cannot have so much, `vm.no_domain`, `hypervisor.failed`
   */
  setMemoryTarget(uuid: VmUuid, memoryMiB: number, waiting?: Waiting): Promise<void>;

  /** Does something to the guest's board. @throws `vm.unsupported`, `vm.no_domain`, `hypervisor.failed` */
  trigger(uuid: VmUuid, trigger: Trigger, waiting?: Waiting): Promise<void>;

  /** Tells where the domain's VNC display is, `undefined` when it has none. @throws `vm.no_domain` */
  findVnc(uuid: VmUuid, waiting?: Waiting): Promise<VncPlace | undefined>;

  /** Tells where the guest's console is; the paths stay the same over restarts. */
  consoleOf(uuid: VmUuid): ConsolePaths;

  /** Calls the listener on every hint until the function it returns is called. */
  onHint(listener: (hint: DriverHint) => void): () => void;

  /** Lets go of everything; domains go on. */
  close(): Promise<void>;
}

/** A place that devices come from: this host's sysfs, software devices, the simulator's world, later a usbvm. */
export interface DeviceSource {
  readonly backend: string;
  /** Lists what is plugged now, guarded devices too. */
  list(): Promise<readonly UsbDevice[]>;
  /** Calls `onHint` when something may have changed, until the function it returns is called. */
  watch(onHint: () => void): () => void;
}
