/**
 * The nodes in xenstore that USB is made of: their paths, and strict parsers of what stands in them. Pure. All of them
 * belong to dom0; what lies in a guest's own folder (`/local/domain/5/device/…`) is never read for what it says.
 * Follows xen's libxl_usb.c and io/usbif.h; docs/protocols/pvusb.md has the picture.
 */
import { isBusid, type UsbSlot } from '../../model/usb.ts';

/** Where QEMU, the backend of PVUSB, looks for its controllers: a folder for each domain. */
export const QUSB_ROOT = '/local/domain/0/backend/qusb';
/** Where libxl keeps what it knows of each domain. */
export const LIBXL_ROOT = '/libxl';

/** How a controller is made: by QEMU as a PV backend, emulated by it, or by a kernel driver that Usher does not use. */
export type ControllerType = 'qusb' | 'devicemodel' | 'pv';

/** States of a backend (xen's io/xenbus.h); those of the frontend are the guest's word. */
export const XENBUS_STATE = {
  initialising: 1,
  initWait: 2,
  initialised: 3,
  connected: 4,
  closing: 5,
  closed: 6,
} as const;

/** Most ports of a PV controller (`USBIF_MAX_PORTNR`). */
const MAX_PORTS = 31;
const MAX_CONTROLLER = 255;

/** The uuid's node holds `/vm/<uuid>`. */
export function vmPath(domid: number): string {
  return `/local/domain/${domid}/vm`;
}

export function namePath(domid: number): string {
  return `/local/domain/${domid}/name`;
}

/** Parses the node of {@link vmPath}; `undefined` for what is no uuid. */
export function parseVmPath(text: string | undefined): string | undefined {
  return /^\/vm\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(text ?? '')?.[1];
}

/** The number of the device model's process, as libxl noted it. */
export function modelPidPath(domid: number): string {
  return `/local/domain/${domid}/image/device-model-pid`;
}

/** The folder of a device model, which libxl removes when it ends the domain, before it ends the device model. */
export function modelPath(domid: number): string {
  return `/local/domain/0/device-model/${domid}`;
}

/** Where a device model says `running`. */
export function modelStatePath(domid: number): string {
  return `${modelPath(domid)}/state`;
}

/** What kinds of backend a device model serves: a folder for each. */
export function modelBackendsPath(domid: number): string {
  return `${modelPath(domid)}/backends`;
}

/** `pv`, `pvh` or `hvm`. */
export function domainTypePath(domid: number): string {
  return `${LIBXL_ROOT}/${domid}/type`;
}

/** libxl's folder of a domain's controllers, of all types. */
export function controllersPath(domid: number): string {
  return `${LIBXL_ROOT}/${domid}/device/vusb`;
}

export function controllerPath(domid: number, controller: number): string {
  return `${controllersPath(domid)}/${controller}`;
}

/** The backend's folder of a PV controller. */
export function backendPath(domid: number, controller: number): string {
  return `${QUSB_ROOT}/${domid}/${controller}`;
}

/** The node whose value is the busid of the device that is attached, or empty. */
export function portPath(type: ControllerType, domid: number, { controller, port }: UsbSlot): string {
  const folder = type === 'qusb' ? backendPath(domid, controller) : controllerPath(domid, controller);
  return `${folder}/port/${port}`;
}

/** Usher's own folder of a domain; it goes with the domain. */
export function usherPath(domid: number): string {
  return `${LIBXL_ROOT}/${domid}/usher`;
}

/** Notes on attachments: a folder for each controller, in it one for each port. */
export function notesPath(domid: number): string {
  return `${usherPath(domid)}/usb`;
}

export function notesOfPath(domid: number, controller: number): string {
  return `${notesPath(domid)}/${controller}`;
}

export function notePath(domid: number, { controller, port }: UsbSlot): string {
  return `${notesOfPath(domid, controller)}/${port}`;
}

/** The name of the mark of a controller whose device model has died: it never works again. */
export const HUSK = 'husk';

export function huskPath(domid: number, controller: number): string {
  return `${notesOfPath(domid, controller)}/${HUSK}`;
}

/** How the device model was started, to start it again. */
export function modelNotePath(domid: number): string {
  return `${usherPath(domid)}/device-model`;
}

/** libxl keeps much else in its folder, which is none of our business. */
const DOMAIN = new RegExp(`^(?:${QUSB_ROOT}|${LIBXL_ROOT})/(\\d+)(?:$|/(?:\\d|device$|device/vusb|type$|usher))`);

/** Tells whose USB nodes a change at this path may be about: one domain's, everybody's, or nobody's. */
export function readChange(path: string): number | 'all' | undefined {
  const domid = DOMAIN.exec(path)?.[1];
  if (domid !== undefined) return Number(domid);
  return path === QUSB_ROOT || path === LIBXL_ROOT ? 'all' : undefined;
}

/** Parses names of folders that are numbers: domids, controllers. What is none is left out. */
export function parseNumbers(names: readonly string[] | undefined): number[] {
  const numbers = (names ?? []).flatMap((name) => (/^(0|[1-9]\d{0,4})$/.test(name) ? [Number(name)] : []));
  return numbers.sort((a, b) => a - b);
}

/** What stands in a port's node. */
export type PortValue =
  | { readonly is: 'free' }
  | { readonly is: 'busid'; readonly busid: string }
  | { readonly is: 'nonsense'; readonly untrustedText: string };

export function parsePort(text: string | undefined): PortValue {
  if (text === undefined || text === '') return { is: 'free' };
  return isBusid(text) ? { is: 'busid', busid: text } : { is: 'nonsense', untrustedText: text };
}

/** What a controller's nodes say, when they are whole. */
export interface ControllerNodes {
  readonly index: number;
  readonly type: ControllerType;
  readonly version: 1 | 2 | 3;
  readonly ports: number;
}

/** Parses a controller's nodes; `undefined` when they are incomplete or make no sense. */
export function parseController(
  index: number,
  { type, version, ports }: Readonly<Record<'type' | 'version' | 'ports', string | undefined>>,
): ControllerNodes | undefined {
  if (type !== 'qusb' && type !== 'devicemodel' && type !== 'pv') return undefined;
  if (version !== '1' && version !== '2' && version !== '3') return undefined;
  const count = /^[1-9]\d?$/.test(ports ?? '') ? Number(ports) : 0;
  if (count < 1 || count > MAX_PORTS || index > MAX_CONTROLLER) return undefined;
  return { index, type, version: Number(version) as 1 | 2 | 3, ports: count };
}

/** Which plug of which device is meant by the busid in a port's node. */
export interface Note {
  readonly busid: string;
  readonly generation: string;
  readonly deviceId: string;
}

/** Writes a note: three words. No word has a blank: generations have none, device ids are percent-encoded. */
export function formatNote({ busid, generation, deviceId }: Note): string {
  return `${busid} ${generation} ${deviceId}`;
}

/** Parses a note; `undefined` for what none of ours is. */
export function parseNote(text: string | undefined): Note | undefined {
  const [busid = '', generation = '', deviceId = '', ...rest] = (text ?? '').split(' ');
  if (!isBusid(busid) || generation === '' || deviceId === '' || rest.length > 0) return undefined;
  return { busid, generation, deviceId };
}

/** How a device model was started. */
export interface ModelNote {
  readonly argv: readonly [string, ...string[]];
  /** Where it writes what it has to say; absent when that is no file. */
  readonly log?: string;
}

/** A node's value and its path have to fit in one packet of 4096 bytes. */
const MAX_NOTE_BYTES = 3_900;

/** Writes how a device model was started; `undefined` when it is too long for a node. */
export function formatModelNote(note: ModelNote): string | undefined {
  const text = JSON.stringify(note);
  return Buffer.byteLength(text) > MAX_NOTE_BYTES ? undefined : text;
}

/** Parses how a device model was started; `undefined` for what none of ours is. */
export function parseModelNote(text: string | undefined): ModelNote | undefined {
  let note: Partial<ModelNote>;
  try {
    note = JSON.parse(text ?? '') as Partial<ModelNote>;
  } catch {
    return undefined;
  }
  const argv: readonly unknown[] = Array.isArray(note?.argv) ? note.argv : [];
  const [program, ...rest] = argv.filter((word) => typeof word === 'string');
  if (program?.startsWith('/') !== true || rest.length + 1 !== argv.length) return undefined;
  return { argv: [program, ...rest], ...(typeof note.log === 'string' ? { log: note.log } : {}) };
}
