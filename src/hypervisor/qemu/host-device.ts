/**
 * Looks at a device of this host just before QEMU takes it: is it still the same, and may we open it? Time passes
 * between an observation and an attach, and QEMU would take whatever sits in that place.
 */
import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, messageOf } from '../../lib/fault.ts';
import { deviceKey, type UsbDevice } from '../../model/usb.ts';

export interface HostPlaces {
  /** `/sys`, or a folder that looks like it. */
  readonly sysfsRoot: string;
  /** `/dev/bus/usb`, or a folder that looks like it. */
  readonly usbfsRoot: string;
}

/** Checks that the device is still in its place. @throws Fault `usb.device_gone` */
export async function checkStillThere(device: UsbDevice, { sysfsRoot }: HostPlaces): Promise<void> {
  const [vendorId, productId] = await Promise.all([
    readAttribute(sysfsRoot, device, 'idVendor'),
    readAttribute(sysfsRoot, device, 'idProduct'),
  ]);
  if (vendorId === device.vendorId && productId === device.productId) return;
  const hint = vendorId === undefined ? undefined : `Another device (${vendorId}:${productId}) is there now.`;
  throw new Fault('usb.device_gone', { device: deviceKey(device) }, { hint });
}

/** Says why QEMU could not open a device that is there, as a part of a sentence, and what to do. */
export async function explainUnopened(
  device: UsbDevice,
  { sysfsRoot, usbfsRoot }: HostPlaces,
): Promise<{ readonly what: string; readonly hint?: string }> {
  const devnum = await readAttribute(sysfsRoot, device, 'devnum');
  if (devnum === undefined || device.host === undefined) return { what: 'it went away meanwhile' };
  const node = join(usbfsRoot, String(device.host.bus).padStart(3, '0'), devnum.padStart(3, '0'));
  try {
    await access(node, constants.R_OK | constants.W_OK);
  } catch (error) {
    const hint = `Let the user that Usher runs as write to ${node} (a udev rule), or run Usher as root.`;
    return { what: `QEMU may not open ${node}: ${messageOf(error)}`, hint };
  }
  return {
    what: 'QEMU could not open it',
    hint: 'Another program may be using it; "usher vm log" shows what QEMU said.',
  };
}

async function readAttribute(sysfsRoot: string, { busid }: UsbDevice, name: string): Promise<string | undefined> {
  const path = join(sysfsRoot, 'bus/usb/devices', busid, name);
  return readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  );
}
