/** What `usher doctor` says about the right to USB devices: which of those that are plugged QEMU may open, and why not. */
import { constants } from 'node:fs';
import { access, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { userName } from '../../lib/accounts.ts';
import { isHub, readDescriptors } from '../../model/descriptors.ts';
import type { Finding } from '../driver.ts';

export interface UsbRightsParts {
  /** `/dev/bus/usb` */
  readonly usbfsRoot: string;
  /** `/sys` */
  readonly sysfsRoot: string;
  readonly uid: number;
  /** Tells whether this process may read and write a file. */
  readonly canUse: (path: string) => Promise<boolean>;
}

/** What this process finds on this host. */
export function usbRightsOf(usbfsRoot: string, sysfsRoot: string): UsbRightsParts {
  const canUse = (path: string) =>
    access(path, constants.R_OK | constants.W_OK).then(
      () => true,
      () => false,
    );
  return { usbfsRoot, sysfsRoot, uid: process.getuid?.() ?? 0, canUse };
}

const SUBJECT = 'right to USB devices';
const ADVICE =
  'Have the devices given to the group usher-usb by the udev rule that comes with Usher (share/udev/60-usher.rules), and the daemon’s user put into it: usher service install --unprivileged. Or run the daemon as root.';
const MAX_NAMED = 8;

/** Examines the nodes of all devices but hubs; root needs no look. Never throws. */
export async function examineUsbRights(parts: UsbRightsParts): Promise<Finding[]> {
  const { uid } = parts;
  if (uid === 0) return [];
  const devices = (await listDevices(parts)).sort((a, b) => a.busid.localeCompare(b.busid, 'en', { numeric: true }));
  const who = `user ${userName(uid)}`;
  if (devices.length === 0) {
    return [{ level: 'note', subject: SUBJECT, says: `no device is plugged by which to tell what ${who} may use` }];
  }
  const closed = devices.filter(({ isOpen }) => !isOpen);
  const says = `${who} may use ${devices.length - closed.length} of ${devices.length} devices`;
  if (closed.length === 0) return [{ level: 'ok', subject: SUBJECT, says }];
  const named = closed
    .slice(0, MAX_NAMED)
    .map(({ busid, kept }) => (kept === undefined ? busid : `${busid} (${kept})`));
  const more = closed.length > MAX_NAMED ? ` and ${closed.length - MAX_NAMED} more` : '';
  const finding = { subject: SUBJECT, says: `${says}, and not ${named.join(', ')}${more}` };
  // What the rule keeps back on purpose is worth knowing, and no more.
  if (closed.every(({ kept }) => kept !== undefined)) return [{ level: 'note', ...finding }];
  return [{ level: 'warning', ...finding, advice: ADVICE }];
}

interface FoundDevice {
  readonly busid: string;
  readonly isOpen: boolean;
  /** Why the udev rule leaves it to others. */
  readonly kept: string | undefined;
}

async function listDevices({ sysfsRoot, usbfsRoot, canUse }: UsbRightsParts): Promise<FoundDevice[]> {
  const folder = join(sysfsRoot, 'bus/usb/devices');
  const names = await readdir(folder).catch(() => []);
  const found = names
    .filter((name) => /^\d+-[\d.]+$/.test(name))
    .map(async (busid): Promise<FoundDevice | undefined> => {
      try {
        const read = (file: string) => readFile(join(folder, busid, file));
        const facts = readDescriptors(await read('descriptors'));
        if (facts === undefined || isHub(facts)) return undefined;
        const threeDigits = (number: unknown) => String(Number(number)).padStart(3, '0');
        const node = join(usbfsRoot, threeDigits(busid.split('-')[0]), threeDigits(await read('devnum')));
        const isOpen = await canUse(node);
        return { busid, isOpen, kept: keptBack(facts.interfaces) };
      } catch {
        return undefined; // It was pulled meanwhile.
      }
    });
  return (await Promise.all(found)).filter((device) => device !== undefined);
}

/** As share/udev/60-usher.rules has it. */
function keptBack(interfaces: readonly string[]): string | undefined {
  if (interfaces.some((triple) => triple.startsWith('03'))) return 'input, left to root by the udev rule';
  if (interfaces.some((triple) => triple.startsWith('07'))) return 'a printer, of the group lp';
  return undefined;
}
