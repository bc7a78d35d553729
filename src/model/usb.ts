/** What a USB device is and how it is named: busid, device id, software devices, attachments. Types, parsers, rules. */
import { Fault } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';
import type { Objection } from './host-use.ts';
import { HOST_BACKEND, type VmUuid } from './ids.ts';
import type { InputKind } from './input-claims.ts';

export const SOFTWARE_KINDS = ['storage', 'keyboard', 'mouse', 'tablet', 'serial'] as const;
export type SoftwareKind = (typeof SOFTWARE_KINDS)[number];

/** A device that exists in software only: emulated in the guest that it is attached to. */
export interface SoftwareDevice {
  readonly kind: SoftwareKind;
  /** Content of a `storage` device; where a `serial` device's output goes. An absolute path. */
  readonly file?: string;
  readonly isReadOnly?: boolean;
  readonly serial?: string;
}

/** A software device that is plugged, as it is stored. */
export interface StoredSoftwareDevice {
  readonly busid: string;
  readonly software: SoftwareDevice;
  /** Made anew at each plug. */
  readonly generation: string;
}

export const USB_SPEEDS = ['low', 'full', 'high', 'super'] as const;
export type UsbSpeed = (typeof USB_SPEEDS)[number];

export const ATTACHED_AS = ['removable', 'fixed'] as const;
export type AttachedAs = (typeof ATTACHED_AS)[number];

/** Speeds by the version of an emulated controller: an EHCI has companions for the slow ones (xl.cfg(5), `usbctrl`). */
export const CONTROLLER_SPEEDS: Readonly<Record<1 | 2 | 3, readonly UsbSpeed[]>> = {
  1: ['low', 'full'],
  2: ['low', 'full', 'high'],
  3: ['low', 'full', 'high', 'super'],
};

/**
 * Speeds by the version of a PV controller whose backend is QEMU (`qusb`). The protocol ends at high speed (Xen's usbif.h);
 * a SuperSpeed device runs at that, measured with a stick on QEMU 7.2.
 */
export const PV_CONTROLLER_SPEEDS: Readonly<Record<1 | 2, readonly UsbSpeed[]>> = {
  1: ['low', 'full'],
  2: ['low', 'full', 'high', 'super'],
};

/** Speeds by the version of an emulated controller of Xen: libxl gives the EHCI of version 2 no companions. */
export const XEN_EMULATED_SPEEDS: Readonly<Record<1 | 2 | 3, readonly UsbSpeed[]>> = {
  ...CONTROLLER_SPEEDS,
  2: ['high'],
};

/** Speeds that QEMU's emulated devices can take, best first (hw/usb/dev-*.c: `.super`, `.high`, `.full`). */
export const SOFTWARE_SPEEDS: Readonly<Record<SoftwareKind, readonly [UsbSpeed, ...UsbSpeed[]]>> = {
  storage: ['super', 'high', 'full'],
  keyboard: ['high', 'full'],
  mouse: ['high', 'full'],
  tablet: ['high', 'full'],
  serial: ['full'],
};

/** A device that is plugged now. Strings that the device says of itself are untrusted: show them by `printable`. */
export interface UsbDevice {
  /** Who has it: `dom0`, `virtual`, or the name of a VM that lends its devices. */
  readonly backend: string;
  /** The kernel's place name, `3-1.4`. */
  readonly busid: string;
  /** `vid:pid:serial:interfaces`, see {@link formatDeviceId}: claimed by the device. */
  readonly deviceId: string;
  /** Four lower-case hex digits each. */
  readonly vendorId: string;
  readonly productId: string;
  readonly untrustedSerial?: string;
  readonly untrustedManufacturer?: string;
  readonly untrustedProduct?: string;
  readonly speed: UsbSpeed;
  /**
   * The place that survives a renumbering of the buses: the controller's PCI address and the chain of ports from there,
   * `0000:00:14.0/1.4`. Absent where the backend does not tell.
   */
  readonly location?: string;
  /** Whether the firmware says that it can be unplugged, or is built in. Absent where it does not tell. */
  readonly attachedAs?: AttachedAs;
  /** Class, subclass, protocol of each interface, six hex digits each, sorted: `080650`. */
  readonly interfaces: readonly string[];
  /** Names this plug: changes each time that the device is plugged (boot id, bus, device number). */
  readonly generation: string;
  /** Why it is never offered to a VM (a hub, a device of our own); absent when it may be. */
  readonly guard?: string;
  /** What speaks against taking it, the gravest first; absent when nothing does. See usb/objections.ts. */
  readonly objections?: readonly Objection[];
  /**
   * Of each kind that the device is to a person of this host: the busids on which each of the others depends that can
   * replace it. A kind is absent when the device is none, or when something that is not on USB replaces it.
   */
  readonly replacedBy?: Readonly<Partial<Record<InputKind, readonly (readonly string[])[]>>>;
  /** Set on devices of the backend `virtual`. */
  readonly software?: SoftwareDevice;
  /** Set on devices of this host: the kernel's numbers of this plug, which name its node in `/dev/bus/usb`. */
  readonly host?: { readonly bus: number; readonly devnum: number };
}

/** Where in a VM a device sits: controllers count from 0, ports from 1. */
export interface UsbSlot {
  readonly controller: number;
  readonly port: number;
}

/** The present fact: this device is in this VM at this slot, as read back from the hypervisor. */
export interface Attachment extends UsbSlot {
  readonly vm: VmUuid;
  readonly backend: string;
  readonly busid: string;
  readonly deviceId: string;
  readonly generation: string;
  /** Set when others than Usher attached it (`xl usbdev-attach`), as far as the hypervisor lets that be seen. */
  readonly isForeign?: boolean;
}

/** Bus, dash, root port, then up to six `.port`: seven tiers (USB 2.0, section 4.1.1). */
const BUSID = /^[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}$/;

/** Names a device among all backends: `dom0:3-1.4`. The key of every map of devices. */
export function deviceKey(device: { readonly backend: string; readonly busid: string }): string {
  return `${device.backend}:${device.busid}`;
}

/** Shows a slot as `0-3`: controller, port. */
export function formatSlot(slot: UsbSlot): string {
  return `${slot.controller}-${slot.port}`;
}

/** Parses a slot as people write it, `0-3`. Legal for words of that form. */
export function parseSlot(word: string): UsbSlot {
  const [controller = 0, port = 0] = word.split('-').map(Number);
  return { controller, port };
}

export function isBusid(text: string): boolean {
  return BUSID.test(text);
}

/**
 * Tells whether a busid lies below a hub, however deep: `usb3` is the root hub of bus 3, `1-1` the hub in that place. A
 * hub is not below itself. A USB 3 hub is two hubs on two buses; by location it is one, see {@link isBelowLocation}.
 */
export function isBelowHub(busid: string, hub: string): boolean {
  const bus = /^usb([0-9]{1,3})$/.exec(hub)?.[1];
  if (bus !== undefined) return isBusid(busid) && busid.startsWith(`${bus}-`);
  return isBusid(hub) && isBusid(busid) && busid.startsWith(`${hub}.`);
}

/** Tells the same by {@link UsbDevice.location}: below a hub `0000:00:14.0/1`, or anywhere on the controller `0000:00:14.0`. */
export function isBelowLocation(location: string, hub: string): boolean {
  return location.startsWith(hub.includes('/') ? `${hub}.` : `${hub}/`);
}

/** Names a plug of a device of this host by the kernel's numbers, which are given anew at each plug and each boot. */
export function hostGeneration(bootId: string, bus: number, devnum: number): string {
  return `${bootId}.${bus}.${devnum}`;
}

/** Takes `host` for `dom0`, as people say it. */
export function canonicalBackend(backend: string): string {
  return backend === 'host' ? HOST_BACKEND : backend;
}

/** Parses `backend:busid`. @throws Fault `usb.device_invalid` */
export function parseDeviceRef(untrustedRef: string): { readonly backend: string; readonly busid: string } {
  const colon = untrustedRef.indexOf(':');
  const backend = canonicalBackend(untrustedRef.slice(0, colon));
  const busid = untrustedRef.slice(colon + 1);
  if (colon < 1 || !isBusid(busid) || !/^[A-Za-z][A-Za-z0-9._-]{0,62}$/.test(backend)) {
    const what = 'a device is named backend:busid, such as dom0:3-1.4 or virtual:1-2';
    throw new Fault('usb.device_invalid', { device: printable(untrustedRef, 80), what });
  }
  return { backend, busid };
}

/**
 * Makes the device id `vid:pid:serial:interfaces`, the same in every socket. The serial is percent-encoded (UTF-8)
 * outside `[A-Za-z0-9._-]`; the interfaces are joined by `.`.
 */
export function formatDeviceId(parts: {
  readonly vendorId: string;
  readonly productId: string;
  readonly untrustedSerial?: string | undefined;
  readonly interfaces: readonly string[];
}): string {
  const serial = [...Buffer.from(parts.untrustedSerial ?? '', 'utf8')]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9._-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0').toUpperCase()}`;
    })
    .join('');
  return `${parts.vendorId}:${parts.productId}:${serial}:${[...parts.interfaces].sort().join('.')}`;
}
