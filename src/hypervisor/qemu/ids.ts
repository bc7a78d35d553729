/**
 * Names inside QEMU that carry what they stand for, so that one `qom-list /machine/peripheral` reads everything that is
 * attached back. Pure.
 *
 * QEMU wants an id to begin with a letter and to go on with letters, digits, `-`, `.`, `_` (util/id.c). It sets no limit
 * on the length (4008 characters work in 7.2), so nothing is cut or hashed. Names of block nodes end at 31.
 */
import type { VmUuid } from '../../model/ids.ts';
import type { Attachment, UsbDevice, UsbSlot } from '../../model/usb.ts';

/** What the id of a controller says. */
export interface ControllerId {
  readonly index: number;
  readonly version: 1 | 2 | 3;
  readonly ports: number;
}

const CONTROLLER = /^usbctrl-(\d{1,3})-v([123])-p(\d{1,2})$/;
const PREFIX = 'usb';

/** Names a controller; its bus is called `ID.0`. */
export function controllerId({ index, version, ports }: ControllerId): string {
  return `usbctrl-${index}-v${version}-p${ports}`;
}

/** Reads a controller's id; `undefined` for any other. */
export function parseControllerId(id: string): ControllerId | undefined {
  const [, index, version, ports] = CONTROLLER.exec(id) ?? [];
  if (index === undefined) return undefined;
  return { index: Number(index), version: Number(version) as 1 | 2 | 3, ports: Number(ports) };
}

/** Names a device at its slot: `usb.CTRL.PORT.BACKEND.BUSID.GENERATION.DEVICEID`, each word escaped. */
export function deviceQomId(
  slot: UsbSlot,
  device: Pick<UsbDevice, 'backend' | 'busid' | 'generation' | 'deviceId'>,
): string {
  const words = [device.backend, device.busid, device.generation, device.deviceId];
  return [PREFIX, slot.controller, slot.port, ...words.map(escapeWord)].join('.');
}

/** Reads a device's id; `undefined` for what is not a device of ours. */
export function parseDeviceQomId(vm: VmUuid, id: string): Attachment | undefined {
  const [prefix, controller = '', port = '', ...escaped] = id.split('.');
  if (prefix !== PREFIX || escaped.length !== 4 || !/^\d{1,3}$/.test(controller) || !/^\d{1,3}$/.test(port)) {
    return undefined;
  }
  const words = escaped.map(unescapeWord);
  if (!words.every((word) => word !== undefined)) return undefined;
  const [backend = '', busid = '', generation = '', deviceId = ''] = words;
  return { vm, controller: Number(controller), port: Number(port), backend, busid, generation, deviceId };
}

/** Names the block node or character device behind a software device: by its slot, so that a leftover is found again. */
export function backingName(slot: UsbSlot): string {
  return `usb-${slot.controller}-${slot.port}`;
}

/** Reads the slot from such a name; `undefined` for any other. */
export function parseBackingName(name: string): UsbSlot | undefined {
  const [, controller, port] = /^usb-(\d{1,3})-(\d{1,3})$/.exec(name) ?? [];
  return controller === undefined ? undefined : { controller: Number(controller), port: Number(port) };
}

/** Writes each UTF-8 byte outside `[A-Za-z0-9-]` as `_` and two hex digits. */
function escapeWord(word: string): string {
  let escaped = '';
  for (const byte of Buffer.from(word, 'utf8')) {
    const character = String.fromCharCode(byte);
    escaped += /[A-Za-z0-9-]/.test(character) ? character : `_${byte.toString(16).padStart(2, '0')}`;
  }
  return escaped;
}

function unescapeWord(escaped: string): string | undefined {
  if (!/^([A-Za-z0-9-]|_[0-9a-f]{2})*$/.test(escaped)) return undefined;
  const bytes = escaped.replaceAll(/_([0-9a-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
