/**
 * The input devices that this host's kernel has, as they announce themselves (sysfs class/input, Linux
 * include/uapi/linux/input-event-codes.h): which are keyboards, which are pointers, and how each is attached.
 */
import { join } from 'node:path';
import { plainName } from '../lib/text.ts';
import { INPUT_KINDS, type InputKind } from '../model/input-claims.ts';
import { type HostRoots, listFolder, readAttribute, realFolder, usbDeviceAbove } from './host-files.ts';
import { isOnVirtualController } from './location.ts';

/** `virtual`: made by a program (uinput), by a hypervisor, or on a controller that another machine lends. */
export type InputBus = 'usb' | 'bluetooth' | 'ps2' | 'built-in' | 'virtual';

export interface InputDevice {
  /** Safe to print. */
  readonly name: string;
  /** Where it is attached, as its driver says: `isa0060/serio0/input0`, `usb-0000:00:14.0-1/input0`. Safe to print. */
  readonly phys: string;
  readonly kinds: readonly InputKind[];
  readonly bus: InputBus;
  /** The USB device that it hangs on: of a Bluetooth keyboard the adapter. */
  readonly busid?: string;
  /** Four lower-case hex digits; of a device on USB or Bluetooth that device's vendor. */
  readonly vendorId: string;
  /** Switched off by somebody (`inhibited`, Linux 5.11), as the keyboard of a tablet that is folded. */
  readonly isInhibited: boolean;
  /** Names of its event nodes, `event3`. */
  readonly events: readonly string[];
}

/** A bitmap of capabilities, as words of the machine, the last of which holds the lowest bits. */
type Bits = bigint;

const EV_KEY = 1;
const EV_REL = 2;
const EV_ABS = 3;
/** X and Y have these numbers among relative and absolute axes alike. */
const AXES = [0, 1];
const BTN_LEFT = 0x110;
const BTN_TOUCH = 0x14a;
/** Q to P, Enter, A to L, Z to M: enough to log in. Numeric pads, remote controls, power and volume buttons lack them. */
const TYPING_KEYS = [...range(16, 25), 28, ...range(30, 38), ...range(44, 50)];

/** linux/input.h */
const BUS_BLUETOOTH = 0x05;
const BUS_VIRTUAL = 0x06;
const BUS_I8042 = 0x11;
/** Not of Linux alone: xen-kbdfront calls itself a PCI device, Hyper-V's and virtio's stand below their buses. */
const GUEST_PATH = /\/(vkbd-\d+|virtio\d+|VMBUS:[^/]+)\//;
/** 32-bit programs are shown words of 32 bits, whatever the kernel has (drivers/input/input.c). */
const WORD_BITS = ['arm', 'ia32', 'mips', 'mipsel'].includes(process.arch) ? 32 : 64;

/** Reads all of them; kinds are empty for what is neither. @throws Fault `file.unreadable` */
export async function readInputDevices({ sysRoot }: HostRoots): Promise<InputDevice[]> {
  const folder = join(sysRoot, 'class/input');
  const names = (await listFolder(folder)).filter((name) => /^input\d+$/.test(name));
  const devices = await Promise.all(names.map((name) => readInputDevice(join(folder, name))));
  return devices.filter((device) => device !== undefined);
}

async function readInputDevice(link: string): Promise<InputDevice | undefined> {
  const path = await realFolder(link);
  if (path === undefined) return undefined;
  const attributes = [
    ...['name', 'phys', 'id/bustype', 'id/vendor', 'inhibited'],
    ...['ev', 'key', 'rel', 'abs'].map((of) => `capabilities/${of}`),
  ];
  const [name = '', phys = '', bustype = '', vendorId = '', inhibited, ...bitmaps] = await Promise.all(
    attributes.map((attribute) => readAttribute(join(path, attribute))),
  );
  const [types = 0n, keys = 0n, relative = 0n, absolute = 0n] = bitmaps.map((bitmap) => parseBits(bitmap ?? ''));
  const busid = usbDeviceAbove(path);
  return {
    name: plainName(name),
    phys: plainName(phys),
    kinds: kindsOf(types, keys, relative, absolute),
    bus: busOf(path, Number.parseInt(bustype, 16), busid),
    ...(busid === undefined ? {} : { busid }),
    vendorId,
    isInhibited: inhibited === '1',
    events: (await listFolder(path)).filter((entry) => /^event\d+$/.test(entry)),
  };
}

/**
 * Judges by the events that a device can send. A keyboard has all letters. A pointer moves and has a left button or a
 * surface to touch, so that joysticks, wheels and accelerometers are none.
 */
function kindsOf(types: Bits, keys: Bits, relative: Bits, absolute: Bits): InputKind[] {
  const canMove = (has(types, EV_REL) && AXES.every((axis) => has(relative, axis))) || isSurface(types, absolute);
  const isOne: Record<InputKind, boolean> = {
    keyboard: TYPING_KEYS.every((key) => has(keys, key)),
    pointer: canMove && (has(keys, BTN_LEFT) || has(keys, BTN_TOUCH)),
  };
  return has(types, EV_KEY) ? INPUT_KINDS.filter((kind) => isOne[kind]) : [];
}

function isSurface(types: Bits, absolute: Bits): boolean {
  return has(types, EV_ABS) && AXES.every((axis) => has(absolute, axis));
}

/** The path decides before the bus type, which a program that makes a device chooses itself. */
function busOf(path: string, bustype: number, busid: string | undefined): InputBus {
  if (path.includes('/devices/virtual/')) {
    return bustype === BUS_BLUETOOTH && path.includes('/uhid/') ? 'bluetooth' : 'virtual';
  }
  if (isOnVirtualController(path) || GUEST_PATH.test(path) || bustype === BUS_VIRTUAL) return 'virtual';
  if (bustype === BUS_BLUETOOTH) return 'bluetooth';
  if (busid !== undefined) return 'usb';
  return bustype === BUS_I8042 ? 'ps2' : 'built-in';
}

function parseBits(text: string): Bits {
  let bits = 0n;
  for (const word of text.split(' ')) {
    if (!/^[0-9a-f]+$/.test(word)) return 0n;
    bits = (bits << BigInt(WORD_BITS)) | BigInt(`0x${word}`);
  }
  return bits;
}

function has(bits: Bits, bit: number): boolean {
  return ((bits >> BigInt(bit)) & 1n) === 1n;
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}
