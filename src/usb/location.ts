/**
 * Where a device is plugged, by names that outlive a renumbering of buses, and whether a person can unplug it: from its
 * real path in sysfs, its hubs and its controller (Linux drivers/usb/core/port.c, Documentation/ABI sysfs-devices-removable).
 */
import { basename, dirname, join } from 'node:path';
import { linkedName, readAttribute } from './host-files.ts';

/** Controllers whose devices are another machine's, lent to this one. `dummy_hcd` is not among them: it is for tests. */
const VIRTUAL_CONTROLLER = /\/(vhci_hcd|xen[-_]hcd|vusb)[./-]/;
const ROOT_HUB = /^usb\d+$/;
/** Domain (more than four digits below a VMD), bus, device, function. */
const PCI_ADDRESS = /^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;
const SUPER_SPEED = 5_000;

/** Tells by a real path whether what is there hangs on a controller that is no hardware of this host. */
export function isOnVirtualController(path: string): boolean {
  return VIRTUAL_CONTROLLER.test(path);
}

/**
 * Gives the location of the device with this real path, as {@link UsbDevice.location} says it.
 *
 * A USB 3 controller has two root hubs, and one socket is a port of each, often of different numbers. The location is the
 * socket's: a SuperSpeed device is told by the port of the other root hub that the kernel knows as the `peer` of its own
 * (Linux 3.16). So the device keeps its location when a bad cable makes it slow, and two sockets never share one. Without
 * a peer the root port is marked, `ss2`. Below the root port both halves of a USB 3 hub are taken to number their ports
 * alike, as the kernel takes it (find_and_link_peer). The hub itself is two devices in one location.
 */
export async function readLocation(path: string): Promise<string | undefined> {
  const root = rootHubOf(path);
  if (root === undefined) return undefined;
  const [first = '', ...rest] = basename(path).split('-')[1]?.split('.') ?? [];
  const port = await socketOf(root, first);
  return `${controllerName(dirname(root))}/${[port, ...rest].join('.')}`;
}

/**
 * Tells whether a person can take the device off the machine. What hangs on something removable is removable, whatever a
 * hub says of its own ports: any keyboard with a hub inside is "fixed" to that. So built in is only what is fixed all the
 * way, which the firmware has to say. The attribute is the device's on every kernel since 3.4; a port has `connect_type`,
 * from which that of the device is derived. A Thunderbolt dock's controller is removable itself (`removable` of PCI, Linux 5.14).
 */
export async function readAttachedAs(path: string): Promise<'removable' | 'fixed' | undefined> {
  const root = rootHubOf(path);
  if (root === undefined) return undefined;
  const above = foldersUp(path);
  const devices = above.slice(0, above.indexOf(root));
  const bridges = above.slice(above.indexOf(root)).filter((folder) => PCI_ADDRESS.test(basename(folder)));
  const answers = (folders: readonly string[]) =>
    Promise.all(folders.map((folder) => readAttribute(join(folder, 'removable'))));
  const [ofDevices, ofBridges] = await Promise.all([answers(devices), answers(bridges)]);
  if ([...ofDevices, ...ofBridges].includes('removable')) return 'removable';
  return ofDevices.every((answer) => answer === 'fixed') ? 'fixed' : undefined;
}

/** A platform controller that a PCI device brings (dwc3) is one of perhaps several on it, so it adds its own name. */
function controllerName(controller: string): string {
  const pci = foldersUp(controller).find((folder) => PCI_ADDRESS.test(basename(folder)));
  if (pci === undefined) return basename(controller);
  return pci === controller ? basename(pci) : `${basename(pci)}+${basename(controller)}`;
}

async function socketOf(root: string, port: string): Promise<string> {
  const speed = Number.parseInt((await readAttribute(join(root, 'speed'))) ?? '', 10);
  if (!(speed >= SUPER_SPEED)) return port;
  const name = basename(root);
  const peer = await linkedName(join(root, `${name.slice('usb'.length)}-0:1.0`, `${name}-port${port}`, 'peer'));
  return /^usb\d+-port(\d+)$/.exec(peer ?? '')?.[1] ?? `ss${port}`;
}

function rootHubOf(path: string): string | undefined {
  return foldersUp(path).find((folder) => ROOT_HUB.test(basename(folder)));
}

/** The path itself first. */
function foldersUp(path: string): string[] {
  const folders: string[] = [];
  for (let folder = path; folder !== dirname(folder); folder = dirname(folder)) folders.push(folder);
  return folders;
}
