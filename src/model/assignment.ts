/** The stored wishes of people about devices: assignments and holds; how an assignment matches and how exact it is. */
import { Fault } from '../lib/fault.ts';
import { matchesGlob } from '../lib/glob.ts';
import { printable } from '../lib/text.ts';
import type { VmUuid } from './ids.ts';
import { canonicalBackend, isBusid, type UsbDevice, type UsbSlot } from './usb.ts';

export const ASSIGNMENT_MODES = ['manual', 'auto', 'ask', 'required'] as const;
export type AssignmentMode = (typeof ASSIGNMENT_MODES)[number];

/**
 * Which devices are meant: by port, by what the device says of itself, or both; `*` stands for any run of characters
 * (within one field of the device id). At least one of the two is there.
 */
export interface DevicePattern {
  readonly port?: { readonly backend: string; readonly busid: string };
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

/** What of a pattern matched, and how far that is to be trusted: the host says the port, the device claims its id. */
export interface Match {
  readonly by: 'port and device id' | 'port' | 'device id';
  readonly trust: 'trusted' | 'claimed';
  /** The higher the more exact; equal means that both say as much. */
  readonly rank: number;
}

const HEX4 = /^[0-9a-f]{4}$/;
const ID_FORM = 'a device id is vid:pid:serial:interfaces, such as 0951:1666:S1:080650; * stands for anything';

/**
 * Parses `backend:busid`, `vid:pid[:serial[:interfaces]]` or `backend:busid:vid:pid[:serial[:interfaces]]`, `*` allowed.
 * @throws Fault `usb.device_invalid`
 */
export function parseDevicePattern(untrustedPattern: string): DevicePattern {
  const fields = untrustedPattern.split(':');
  const refuse = (what: string) => new Fault('usb.device_invalid', { device: printable(untrustedPattern, 160), what });
  if (isIdStart(fields)) return { deviceId: parseIdFields(fields, refuse) };
  const [backendField = '', busid = '', ...rest] = fields;
  const backend = canonicalBackend(backendField);
  if (!/^(\*|[A-Za-z][A-Za-z0-9._-]{0,62})$/.test(backend) || !isBusidPattern(busid)) {
    throw refuse('give a port (virtual:1-2, dom0:3-*), a device id (0951:1666:*:*), or port:id');
  }
  const port = { backend, busid };
  return rest.length === 0 ? { port } : { port, deviceId: parseIdFields(rest, refuse) };
}

/** Prints a pattern so that `parseDevicePattern` gives it again. */
export function formatDevicePattern(pattern: DevicePattern): string {
  const port = pattern.port === undefined ? [] : [`${pattern.port.backend}:${pattern.port.busid}`];
  return [...port, ...(pattern.deviceId === undefined ? [] : [pattern.deviceId])].join(':');
}

/** Tells how the pattern matches the device; `undefined` when it does not. */
export function matchDevice(
  pattern: DevicePattern,
  device: Pick<UsbDevice, 'backend' | 'busid' | 'deviceId'>,
): Match | undefined {
  const { port, deviceId } = pattern;
  if (port !== undefined && !(matchesGlob(port.backend, device.backend) && matchesGlob(port.busid, device.busid)))
    return undefined;
  if (deviceId !== undefined && !matchesId(deviceId, device.deviceId)) return undefined;
  const rank = rankPattern(pattern);
  if (port !== undefined && deviceId !== undefined) return { by: 'port and device id', trust: 'trusted', rank };
  return port !== undefined ? { by: 'port', trust: 'trusted', rank } : { by: 'device id', trust: 'claimed', rank };
}

/** Tells whether the pattern names one port. */
export function isExactPort({ port }: DevicePattern): boolean {
  return port !== undefined && !port.backend.includes('*') && !port.busid.includes('*');
}

/**
 * Gives the precedence of a pattern: port and id > port > id; within each, the fewer `*` the higher. A bare `*:*` port
 * says nothing of a place and so counts as no port.
 */
export function rankPattern(pattern: DevicePattern): number {
  const portExactness = pattern.port === undefined ? 0 : exactness([pattern.port.backend, pattern.port.busid]);
  const idExactness = pattern.deviceId === undefined ? 0 : exactness(pattern.deviceId.split(':'));
  const level = (portExactness > 0 ? 2 : 0) + (idExactness > 0 ? 1 : 0);
  return level * 10_000 + portExactness * 100 + idExactness;
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
