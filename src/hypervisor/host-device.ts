/**
 * Tells by which node QEMU is to open a device of this host, and proves in sysfs that the device behind it is the one
 * that was observed: time passes between an observation and an attach. See docs/decisions on usb-host.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../lib/fault.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';

/** A slot that is taken by a device that is lost is told with this generation, which no device has. */
export const LOST_GENERATION = 'lost';

export interface HostPlaces {
  /** `/sys`, or a folder that looks like it. */
  readonly sysfsRoot: string;
  /** `/dev/bus/usb`, or a folder that looks like it. */
  readonly usbfsRoot: string;
}

/**
 * Gives the node, `/dev/bus/usb/BBB/DDD`, of a device that is still plugged as it was observed. The kernel gives a number
 * of a bus anew only after all others, so a node is of one plug. @throws Fault `usb.device_gone`
 */
export async function findNode(device: UsbDevice, { sysfsRoot, usbfsRoot }: HostPlaces): Promise<string> {
  const folder = join(sysfsRoot, 'bus/usb/devices', device.busid);
  const attribute = (name: string) =>
    readFile(join(folder, name), 'utf8').then(
      (text) => text.trim(),
      () => undefined,
    );
  const [vendorId, productId, devnum] = await Promise.all(['idVendor', 'idProduct', 'devnum'].map(attribute));
  const { host } = device;
  const isSameKind = vendorId === device.vendorId && productId === device.productId;
  if (host !== undefined && isSameKind && devnum === String(host.devnum)) {
    return join(usbfsRoot, ...[host.bus, host.devnum].map((number) => String(number).padStart(3, '0')));
  }
  const other = isSameKind ? 'It was plugged anew.' : `Another device (${vendorId}:${productId}) is there now.`;
  const hint = devnum === undefined ? undefined : other;
  throw new Fault('usb.device_gone', { device: deviceKey(device) }, { hint });
}
