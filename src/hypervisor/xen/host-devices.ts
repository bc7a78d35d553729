/**
 * Devices of dom0 as an attachment needs them: which plug is at a place now, who has its interfaces, and how dom0's kernel
 * drivers come back. What the kernel answers without a lock is read at once, for an unplugging does not wait; the rest by
 * a thread, for it hangs while a device is being reset.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { readDescriptors, untrustedString } from '../../model/descriptors.ts';
import { formatDeviceId, hostGeneration } from '../../model/usb.ts';
import type { HostPlaces } from '../host-device.ts';

/** A plug: what is at a place of dom0 from one plugging to the unplugging. */
export interface Plug {
  readonly busid: string;
  readonly bus: number;
  readonly devnum: number;
  /** `/dev/bus/usb/001/004`. */
  readonly node: string;
  readonly generation: string;
}

export interface HostDevicesParts extends HostPlaces {
  readonly bootId: string;
}

/** Whom an interface is bound to: a program (a device model), a driver of the kernel, or nobody. */
export type Grip = 'program' | 'kernel' | 'nobody';

const MAX_DEVNUM = 127;
/** The first configuration follows the device's descriptor, bConfigurationValue is its sixth byte (USB 2.0, 9.6). */
const CONFIGURATION_VALUE_AT = 18 + 5;

export class HostDevices {
  readonly #parts: HostDevicesParts;
  readonly #folder: string;
  readonly #hasNodes: boolean;

  constructor(parts: HostDevicesParts) {
    this.#parts = parts;
    this.#folder = join(parts.sysfsRoot, 'bus/usb/devices');
    this.#hasNodes = existsSync(parts.usbfsRoot);
  }

  /** Gives what is plugged at a place. It is gone with its node, a moment before it is gone from sysfs. */
  plugAt(busid: string): Plug | undefined {
    let devnum: number;
    try {
      devnum = Number(readFileSync(join(this.#folder, busid, 'devnum'), 'latin1'));
    } catch {
      return undefined;
    }
    if (!Number.isInteger(devnum) || devnum < 1 || devnum > MAX_DEVNUM) return undefined;
    const bus = Number.parseInt(busid, 10);
    const numbers = [bus, devnum].map((number) => String(number).padStart(3, '0'));
    const node = join(this.#parts.usbfsRoot, ...numbers);
    if (this.#hasNodes && !existsSync(node)) return undefined;
    return { busid, bus, devnum, node, generation: hostGeneration(this.#parts.bootId, bus, devnum) };
  }

  /** Gives the device id of what is plugged at a place, as it is listed; `undefined` when nothing readable is. */
  async deviceIdAt(busid: string): Promise<string | undefined> {
    try {
      const folder = join(this.#folder, busid);
      const facts = readDescriptors(await readFile(join(folder, 'descriptors')));
      const serial = await readFile(join(folder, 'serial'), 'utf8').catch(() => '');
      return facts && formatDeviceId({ ...facts, untrustedSerial: untrustedString(serial) });
    } catch {
      return undefined;
    }
  }

  /** Tells who has each interface of the active configuration, by the interface's name (`1-4:1.0`). */
  gripsOn(busid: string): ReadonlyMap<string, Grip> {
    const names = namesIn(this.#folder).filter((name) => name.startsWith(`${busid}:`));
    return new Map(names.map((name) => [name, this.#gripOn(name)]));
  }

  /**
   * Gives a device back to dom0 that no device model has any more: asks the kernel to find drivers for interfaces that
   * have none, and sets a configuration when the last user left none. What no driver wants stays without, and what another
   * program of dom0 has taken by now (a card reader's daemon is quick) stays with that. One that is gone is fine.
   */
  async giveBack(busid: string): Promise<void> {
    const folder = join(this.#folder, busid);
    const attribute = (name: string) => readFile(join(folder, name), 'utf8').catch(() => undefined);
    if ((await attribute('bConfigurationValue'))?.trim() === '' && (await attribute('authorized'))?.trim() !== '0') {
      const value = await readFile(join(folder, 'descriptors')).catch(() => Buffer.alloc(0));
      await tell(join(folder, 'bConfigurationValue'), String(value[CONFIGURATION_VALUE_AT] ?? 1));
    }
    for (const [name, grip] of this.gripsOn(busid)) {
      if (grip === 'nobody') await tell(join(this.#parts.sysfsRoot, 'bus/usb/drivers_probe'), name);
    }
  }

  #gripOn(name: string): Grip {
    try {
      return basename(readlinkSync(join(this.#folder, name, 'driver'))) === 'usbfs' ? 'program' : 'kernel';
    } catch {
      return 'nobody';
    }
  }
}

/** Writes to the kernel, which refuses when no driver wants the interface or when it is gone: both are answers. */
async function tell(file: string, text: string): Promise<void> {
  await writeFile(file, text).catch(() => undefined);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
