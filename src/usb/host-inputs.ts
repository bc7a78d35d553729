/**
 * Reads the keyboards and pointers of this host, with the USB devices that each depends on. Which of them a person could
 * still use when a device is taken is judged in last-inputs.ts.
 */
import { join } from 'node:path';
import { plainName } from '../lib/text.ts';
import { claimedInputs, INPUT_KINDS, type InputKind } from '../model/input-claims.ts';
import { isBusid } from '../model/usb.ts';
import {
  type HostRoots,
  isHostDriver,
  linkedName,
  listFolder,
  readAttribute,
  realFolder,
  usbDeviceAbove,
} from './host-files.ts';
import { type InputBus, type InputDevice, readInputDevices } from './input-devices.ts';
import { isOnVirtualController } from './location.ts';

export interface HostInput {
  /** Safe to print, as `phys` is. */
  readonly name: string;
  readonly phys: string;
  /** At least one. */
  readonly kinds: readonly InputKind[];
  readonly bus: InputBus;
  /** The USB devices without which it does not work; none when it is not on USB. */
  readonly busids: readonly string[];
  readonly vendorId: string;
  readonly isInhibited: boolean;
  /** False when only its descriptors say so: no kernel driver has made a keyboard or pointer of it, or not yet. */
  readonly isReady: boolean;
}

const HID_CLASS = '03';
/** SMBIOS 7.4.1, types of enclosures: portable, laptop, notebook, sub notebook, convertible. */
const CHASSIS_WITH_KEYBOARD: ReadonlySet<string> = new Set(['8', '9', '10', '14', '31']);

/**
 * Reads them anew. Devices that guests have are not among them, nor are devices that only look like HID and have a driver
 * by which they turned out to be none. Read it after the list of devices: what was plugged between is then in it.
 * @throws Fault `file.unreadable`
 */
export async function readHostInputs(roots: HostRoots): Promise<HostInput[]> {
  const [devices, adapters, chassis] = await Promise.all([
    readInputDevices(roots),
    readBluetoothAdapters(roots),
    readAttribute(join(roots.sysRoot, 'class/dmi/id/chassis_type')),
  ]);
  const hasOwnKeyboard = CHASSIS_WITH_KEYBOARD.has(chassis ?? '');
  const found = devices
    .filter(({ kinds }) => kinds.length > 0)
    .map((device) => hostInput(device, adapters, hasOwnKeyboard));
  return [...found, ...(await readAnnounced(roots, found))];
}

/**
 * What comes through the i8042 of a laptop is built in. A Bluetooth device that a program runs (uhid) does not say by which
 * adapter it came, so it depends on each.
 */
function hostInput(device: InputDevice, adapters: readonly string[], hasOwnKeyboard: boolean): HostInput {
  const { name, phys, kinds, vendorId, isInhibited, busid } = device;
  const bus = device.bus === 'ps2' && hasOwnKeyboard ? 'built-in' : device.bus;
  const through = bus === 'bluetooth' ? adapters : [];
  const busids = busid === undefined ? through : [busid];
  return { name, phys, kinds, bus, busids, vendorId, isInhibited, isReady: true };
}

async function readBluetoothAdapters({ sysRoot }: HostRoots): Promise<string[]> {
  const folder = join(sysRoot, 'class/bluetooth');
  const names = (await listFolder(folder)).filter((name) => /^hci\d+$/.test(name));
  const paths = await Promise.all(names.map((name) => realFolder(join(folder, name))));
  return paths.flatMap((path) => (path === undefined ? [] : (usbDeviceAbove(path) ?? [])));
}

/**
 * USB devices that announce a keyboard or pointer and are none yet: just plugged, or just back from a guest. Of a boot
 * keyboard or mouse that is said even when a driver has it, for drivers of receivers bring theirs when it is switched on.
 */
async function readAnnounced(roots: HostRoots, ready: readonly HostInput[]): Promise<HostInput[]> {
  const folder = join(roots.sysRoot, 'bus/usb/devices');
  const names = await listFolder(folder);
  const interfaces = Map.groupBy(names, (name) => name.split(':')[0] ?? '');
  const inputs = await Promise.all(
    names.filter(isBusid).map(async (busid): Promise<HostInput[]> => {
      const own = interfaces.get(busid) ?? [];
      const kinds = new Set((await Promise.all(own.map((name) => kindsAhead(join(folder, name))))).flat());
      for (const input of ready) if (input.busids.includes(busid)) for (const kind of input.kinds) kinds.delete(kind);
      if (kinds.size === 0) return [];
      const attribute = (of: string) => readAttribute(join(folder, busid, of));
      const [path, product, vendorId = ''] = await Promise.all([
        realFolder(join(folder, busid)),
        attribute('product'),
        attribute('idVendor'),
      ]);
      if (path === undefined) return [];
      const name = product ? plainName(product) : `the device at ${busid}`;
      const bus = isOnVirtualController(path) ? 'virtual' : 'usb';
      const some = INPUT_KINDS.filter((kind) => kinds.has(kind));
      return [{ name, phys: '', kinds: some, bus, busids: [busid], vendorId, isInhibited: false, isReady: false }];
    }),
  );
  return inputs.flat();
}

/** What a driver, or a further driver, may still make of an interface. */
async function kindsAhead(folder: string): Promise<readonly InputKind[]> {
  const attribute = (of: string) => readAttribute(join(folder, of));
  const code = await attribute('bInterfaceClass');
  if (code !== HID_CLASS) return [];
  const [subclass, protocol, driver] = await Promise.all([
    attribute('bInterfaceSubClass'),
    attribute('bInterfaceProtocol'),
    linkedName(join(folder, 'driver')),
  ]);
  if (driver !== undefined && !isHostDriver(driver)) return [];
  const { certain, possible } = claimedInputs([`${code}${subclass}${protocol}`]);
  return driver === undefined ? [...certain, ...possible] : certain;
}
