/** The stored wishes of people about devices: assignments and holds; how an assignment matches and how exact it is. */
import { Fault } from '../lib/fault.ts';
import { matchesGlob } from '../lib/glob.ts';
import { printable } from '../lib/text.ts';
import { VIRTUAL_BACKEND, type VmUuid } from './ids.ts';
import { canonicalBackend, deviceKey, isBusid, type UsbDevice, type UsbSlot } from './usb.ts';

export const ASSIGNMENT_MODES = ['manual', 'auto', 'ask', 'required'] as const;
export type AssignmentMode = (typeof ASSIGNMENT_MODES)[number];

/**
 * Which devices are meant: by the place in which they are, by what the device says of itself, or both; `*` stands for any
 * run of characters (within one field of the device id, on one side of the slash of a location). A place is a port or a
 * location, never both. At least a place or a device id is there.
 */
export interface DevicePattern {
  readonly port?: { readonly backend: string; readonly busid: string };
  /** `place` is a {@link UsbDevice.location} in lower case: it stays when the buses are numbered anew. */
  readonly location?: { readonly backend: string; readonly place: string };
  /** `vid:pid:serial:interfaces`, four fields. */
  readonly deviceId?: string;
}

export interface Assignment {
  readonly id: number;
  readonly vm: VmUuid;
  readonly pattern: DevicePattern;
  readonly mode: AssignmentMode;
  readonly createdAt: number;
}

/**
 * A person's hand on a device: `out` keeps it out of every VM, `in` keeps it in one. Wins over assignments until the
 * device is unplugged (its generation changes) or released.
 */
export interface Hold {
  readonly backend: string;
  readonly busid: string;
  readonly generation: string;
  /** What it said that it is; absent when nobody noted that. A hold goes with a device that changes its id. */
  readonly deviceId?: string;
  readonly kind: 'in' | 'out';
  /** The VM of a hold `in`. */
  readonly vm?: VmUuid;
  /** The port that was asked for with it; any that fits when absent. */
  readonly slot?: UsbSlot;
  /** Set when it is `in`, and what spoke against it was not to count. */
  readonly isForced?: boolean;
  /** How it came about: by a command, or by a question that was answered, or that nobody answered in time. */
  readonly by: HoldOrigin;
  readonly createdAt: number;
}
export const HOLD_ORIGINS = ['hand', 'answer', 'silence'] as const;
export type HoldOrigin = (typeof HOLD_ORIGINS)[number];

/** People are asked whether a plug of a device may go to a VM. Without an answer in time it is kept out of every VM. */
export interface Question {
  readonly backend: string;
  readonly busid: string;
  readonly generation: string;
  /** The VMs that may have it: one of them, or none, is the answer. */
  readonly vms: readonly VmUuid[];
  /** Milliseconds since 1970. */
  readonly askedAt: number;
  readonly expiresAt: number;
}

/** Makes the question about a plug of a device. Times in milliseconds since 1970. */
export function questionOf(
  { backend, busid, generation }: Pick<UsbDevice, 'backend' | 'busid' | 'generation'>,
  vms: readonly VmUuid[],
  askedAt: number,
  expiresAt: number,
): Question {
  return { backend, busid, generation, vms, askedAt, expiresAt };
}

/** Makes the hold that comes of a question which nobody answered. */
export function silenceOn({ backend, busid, generation }: Question, createdAt: number): Hold {
  return { backend, busid, generation, kind: 'out', by: 'silence', createdAt };
}

/** How a change on trial is undone: the policy that held before (empty: none), a hand, an assignment. */
export type Undo =
  | { readonly do: 'policy'; readonly text: string }
  | { readonly do: 'hold'; readonly hold: Hold; readonly before?: Hold | undefined }
  | { readonly do: 'assignment'; readonly id: number };

/** What of a pattern matched, and how far that is to be trusted: the host says the place, the device claims its id. */
export interface Match {
  readonly by: 'port and device id' | 'location and device id' | 'port' | 'location' | 'device id';
  readonly trust: 'trusted' | 'claimed';
  /** The higher the more exact; equal means that both say as much. */
  readonly rank: number;
}

const HEX4 = /^[0-9a-f]{4}$/;
const ID_FORM = 'a device id is vid:pid:serial:interfaces, such as 0951:1666:S1:080650; * stands for anything';

const LOCATION_FORM = 'a location is backend:controller/ports, such as dom0:0000:00:14.0/1.4 or dom0:0000:00:14.0/1.*';
const BACKEND_PATTERN = /^(\*|[A-Za-z][A-Za-z0-9._-]{0,62})$/;

/**
 * Parses a place, `backend:busid` or `backend:controller/ports`, a device id, `vid:pid[:serial[:interfaces]]`, or both with a
 * colon between, `*` allowed. Nothing but a location has a slash.
 * @throws Fault `usb.device_invalid`
 */
export function parseDevicePattern(untrustedPattern: string): DevicePattern {
  const fields = untrustedPattern.split(':');
  const refuse = (what: string) => new Fault('usb.device_invalid', { device: printable(untrustedPattern, 160), what });
  if (untrustedPattern.includes('/')) return parseLocated(untrustedPattern, refuse);
  if (isIdStart(fields)) return { deviceId: parseIdFields(fields, refuse) };
  const [backendField = '', busid = '', ...rest] = fields;
  const backend = canonicalBackend(backendField);
  if (!BACKEND_PATTERN.test(backend) || !isBusidPattern(busid)) {
    const what = 'give a port (dom0:3-1.4, virtual:1-*), a location (dom0:0000:00:14.0/1.4)';
    throw refuse(`${what}, a device id (0951:1666:*:*), or a port or location, a colon and a device id`);
  }
  const port = { backend, busid };
  return rest.length === 0 ? { port } : { port, deviceId: parseIdFields(rest, refuse) };
}

/** A controller's name may have colons; behind the slash, a colon ends the chain of ports. */
function parseLocated(untrustedPattern: string, refuse: (what: string) => Fault): DevicePattern {
  const [, backendField = '', controller = '', ports = '', deviceId] =
    /^([^:/]*):([^/]*)\/([^:]*)(?::(.*))?$/s.exec(untrustedPattern) ?? [];
  const backend = canonicalBackend(backendField);
  const place = `${controller}/${ports}`.toLowerCase();
  if (!BACKEND_PATTERN.test(backend) || !isLocationPattern(place)) throw refuse(LOCATION_FORM);
  if (backend === VIRTUAL_BACKEND) {
    throw refuse(
      'software devices have no location, for they are on no controller of the host: name the port, as virtual:1-2',
    );
  }
  const location = { backend, place };
  return deviceId === undefined ? { location } : { location, deviceId: parseIdFields(deviceId.split(':'), refuse) };
}

/** Tells whether a text in lower case may stand for locations, `*` allowed: the controller, a slash, the chain of ports. */
export function isLocationPattern(text: string): boolean {
  return /^[a-z0-9:._+*-]{1,64}\/[a-z0-9._*-]{1,64}$/.test(text);
}

/** Prints a pattern so that `parseDevicePattern` gives it again. */
export function formatDevicePattern({ port, location, deviceId }: DevicePattern): string {
  return [
    ...(port === undefined ? [] : [deviceKey(port)]),
    ...(location === undefined ? [] : [locationKey(location)]),
    ...(deviceId === undefined ? [] : [deviceId]),
  ].join(':');
}

/** Names a location among those of all backends, `dom0:0000:00:14.0/1.4`: never the same as a port or a device id. */
export function locationKey({ backend, place }: NonNullable<DevicePattern['location']>): string {
  return `${backend}:${place}`;
}

/** Gives the location of a device as patterns have it; `undefined` where its backend tells none. */
export function locationOf({ backend, location }: Located): DevicePattern['location'] {
  return location === undefined ? undefined : { backend, place: location.toLowerCase() };
}

/** Gives the pattern of the place in which a device is: the location, which stays, or else the port. */
export function placeOf(device: Located): Pick<DevicePattern, 'port' | 'location'> {
  const { backend, busid } = device;
  const location = locationOf(device);
  return location !== undefined && isLocationPattern(location.place) ? { location } : { port: { backend, busid } };
}
type Located = Pick<UsbDevice, 'backend' | 'busid' | 'location'>;

/** Tells how the pattern matches the device; `undefined` when it does not. */
export function matchDevice(
  pattern: DevicePattern,
  device: Pick<UsbDevice, 'backend' | 'busid' | 'deviceId' | 'location'>,
): Match | undefined {
  const { port, location, deviceId } = pattern;
  if (port !== undefined && !(matchesGlob(port.backend, device.backend) && matchesGlob(port.busid, device.busid)))
    return undefined;
  if (deviceId !== undefined && !matchesId(deviceId, device.deviceId)) return undefined;
  if (location !== undefined && !matchesLocation(location, device)) return undefined;
  const rank = rankPattern(pattern);
  const place = port !== undefined ? 'port' : location !== undefined ? 'location' : undefined;
  if (place === undefined) return { by: 'device id', trust: 'claimed', rank };
  return { by: deviceId === undefined ? place : `${place} and device id`, trust: 'trusted', rank };
}

function matchesLocation({ backend, place }: NonNullable<DevicePattern['location']>, device: Located): boolean {
  const actual = locationOf(device);
  return actual !== undefined && matchesGlob(backend, actual.backend) && matchesGlob(place, actual.place);
}

/** Tells whether the pattern names one port, or one location, which is as good. */
export function isExactPlace(pattern: DevicePattern): boolean {
  const fields = placeFields(pattern);
  return fields.length > 0 && !fields.join('').includes('*');
}

/**
 * Gives the precedence of a pattern: place and id > place > id; within each, the fewer `*` the higher. A port and a
 * location are places alike. One of nothing but `*` says nothing of a place, and so counts as none.
 */
export function rankPattern(pattern: DevicePattern): number {
  const placeExactness = exactness(placeFields(pattern));
  const idExactness = pattern.deviceId === undefined ? 0 : exactness(pattern.deviceId.split(':'));
  const level = (placeExactness > 0 ? 2 : 0) + (idExactness > 0 ? 1 : 0);
  return level * 10_000 + placeExactness * 100 + idExactness;
}

function placeFields({ port, location }: DevicePattern): string[] {
  if (port !== undefined) return [port.backend, port.busid];
  if (location === undefined) return [];
  return [location.backend, location.place === '*/*' ? '*' : location.place];
}

/** 0 for nothing but `*`; each field adds 2 when exact, 1 when it has a `*` among other characters. */
function exactness(fields: readonly string[]): number {
  return fields.reduce((sum, field) => sum + (field === '*' ? 0 : field.includes('*') ? 1 : 2), 0);
}

function isIdStart(fields: readonly string[]): boolean {
  const [vendor = '', product = ''] = fields;
  return HEX4.test(vendor.toLowerCase()) && (product === '*' || HEX4.test(product.toLowerCase()));
}

/** Parses `vid:pid[:serial[:interfaces]]`, `*` allowed in each, into its four fields. @throws Fault `usb.device_invalid` */
export function parseIdPattern(untrustedPattern: string): string {
  const refuse = (what: string) => new Fault('usb.device_invalid', { device: printable(untrustedPattern, 160), what });
  const fields = untrustedPattern.split(':');
  if (fields.length < 2) throw refuse(ID_FORM);
  return parseIdFields(fields, refuse);
}

function parseIdFields(fields: readonly string[], refuse: (what: string) => Fault): string {
  const [vendor = '', product = '*', serial = '*', interfaces = '*', ...rest] = fields;
  const hex = [vendor, product].map((field) => field.toLowerCase());
  const isId = hex.every((field) => field === '*' || HEX4.test(field)) && rest.length === 0;
  if (!isId || !/^[A-Za-z0-9._%*-]{0,1200}$/.test(serial) || !/^[0-9a-fA-F.*]{0,400}$/.test(interfaces)) {
    throw refuse(ID_FORM);
  }
  return [...hex, serial, interfaces.toLowerCase()].join(':');
}

function isBusidPattern(text: string): boolean {
  return isBusid(text) || (/^[0-9.*-]{1,32}$/.test(text) && text.includes('*'));
}

/** Tells whether a pattern of four fields matches the device id; a `*` does not reach from one field into the next. */
export function matchesId(pattern: string, deviceId: string): boolean {
  const wanted = pattern.split(':');
  const actual = deviceId.split(':');
  return wanted.every((field, i) => matchesGlob(field, actual[i] ?? ''));
}
