/** For tests only: a fake sysfs in a temporary folder, with the descriptors of real devices. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** As Linux 6.1 shows them of devices that QEMU 7.2 emulates. */
export const DESCRIPTORS = {
  stick: `12 01 00 03 00 00 00 09 f4 46 01 00 00 00 01 02 03 01
    09 02 2c 00 01 01 06 c0 00  09 04 00 00 02 08 06 50 00
    07 05 81 02 00 04 00  06 30 0f 00 00 00  07 05 02 02 00 04 00  06 30 0f 00 00 00`,
  keyboard: `12 01 00 02 00 00 00 40 27 06 01 00 00 00 01 04 0b 01
    09 02 22 00 01 01 08 a0 32  09 04 00 00 01 03 01 01 00  09 21 11 01 00 01 22 3f 00  07 05 81 03 08 00 07`,
  hub: `12 01 10 01 09 00 00 08 09 04 aa 55 01 01 01 02 03 01
    09 02 19 00 01 01 00 e0 00  09 04 00 00 01 09 00 00 00  07 05 81 03 02 00 ff`,
  /** Sound: two interfaces, the second with two alternate settings. */
  composite: `12 01 00 01 00 00 00 40 f4 46 02 00 00 00 01 02 03 01
    09 02 71 00 02 01 04 c0 32  09 04 00 00 00 01 01 04 05  09 24 01 00 01 2b 00 01 01
    0c 24 02 01 01 01 00 02 03 00 00 06  0d 24 06 02 01 02 01 00 02 00 02 00 07
    09 24 03 03 01 03 00 02 08  09 04 01 00 00 01 02 00 09  09 04 01 01 01 01 02 00 0a
    07 24 01 01 00 01 00  0b 24 02 01 02 02 10 01 80 bb 00  09 05 01 0d c0 00 01 00 00  07 25 01 00 00 00 00`,
} as const;

/** Gives the bytes of a hexadecimal listing. */
export function bytesOf(listing: string): Buffer {
  return Buffer.from(listing.replaceAll(/\s/g, ''), 'hex');
}

export interface FakeDevice {
  readonly descriptors: Buffer | keyof typeof DESCRIPTORS;
  readonly devnum: number;
  readonly speed?: string;
  readonly serial?: string;
  readonly manufacturer?: string;
  readonly product?: string;
  readonly authorized?: string;
  readonly removable?: string;
  /** What `bNumInterfaces` says; how many interface folders there are is `folders`. Default 1 each. */
  readonly interfaces?: string;
  readonly folders?: number;
  /** The platform part of its path. Default a PCI controller. */
  readonly controller?: string;
}

export class SysfsTree {
  readonly root = mkdtempSync(join(tmpdir(), 'usher-sysfs-'));
  readonly #links = join(this.root, 'bus/usb/devices');

  constructor() {
    mkdirSync(this.#links, { recursive: true });
    this.#add('usb1', join(this.root, 'devices/pci0000:00/usb1'), {
      devnum: '1',
      descriptors: bytesOf(DESCRIPTORS.hub),
    });
    this.#add('1-0:1.0', join(this.root, 'devices/pci0000:00/usb1/1-0:1.0'), { bInterfaceClass: '09' });
  }

  /** Adds a device, or replaces what is at its place. */
  plug(busid: string, device: FakeDevice): void {
    this.unplug(busid);
    const {
      descriptors,
      devnum,
      interfaces = '1',
      folders = 1,
      controller = 'pci0000:00/0000:00:14.0',
      ...texts
    } = device;
    const folder = join(this.root, 'devices', controller, `usb${Number.parseInt(busid, 10)}`, busid);
    this.#add(busid, folder, {
      speed: '480',
      ...texts,
      devnum: String(devnum),
      descriptors: typeof descriptors === 'string' ? bytesOf(DESCRIPTORS[descriptors]) : descriptors,
      bNumInterfaces: ` ${interfaces}`,
    });
    for (let i = 0; i < folders; i++)
      this.#add(`${busid}:1.${i}`, join(folder, `${busid}:1.${i}`), { bInterfaceClass: 'ff' });
  }

  unplug(busid: string): void {
    for (let i = 0; i < 4; i++) rmSync(join(this.#links, `${busid}:1.${i}`), { force: true });
    rmSync(join(this.#links, busid), { force: true });
  }

  /** Takes one attribute away, as when the device vanishes while it is being read. */
  removeAttribute(busid: string, name: string): void {
    rmSync(join(this.#links, busid, name));
  }

  remove(): void {
    rmSync(this.root, { recursive: true });
  }

  #add(name: string, folder: string, attributes: Readonly<Record<string, string | Buffer>>): void {
    mkdirSync(folder, { recursive: true });
    for (const [attribute, value] of Object.entries(attributes)) {
      writeFileSync(join(folder, attribute), value instanceof Buffer ? value : `${value}\n`);
    }
    symlinkSync(folder, join(this.#links, name));
  }
}
