/**
 * Software devices: the backend `virtual`, whose ports a person plugs emulated devices into. Which are plugged is kept in
 * a store that is handed in; the emulation itself is the hypervisor driver's.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { DeviceSource } from '../hypervisor/driver.ts';
import { Fault, messageOf } from '../lib/fault.ts';
import { KeyedQueue } from '../lib/keyed-queue.ts';
import { printable } from '../lib/text.ts';
import { VIRTUAL_BACKEND } from '../model/ids.ts';
import {
  deviceKey,
  formatDeviceId,
  isBusid,
  SOFTWARE_SPEEDS,
  type SoftwareDevice,
  type SoftwareKind,
  type StoredSoftwareDevice,
  type UsbDevice,
} from '../model/usb.ts';

export interface SoftwareDeviceStore {
  load(): readonly StoredSoftwareDevice[];
  save(devices: readonly StoredSoftwareDevice[]): void;
}

/** What QEMU's emulated devices say of themselves: seen in a Linux guest on QEMU 7.2, and hw/usb/dev-*.c. */
const IDENTITIES: Readonly<
  Record<SoftwareKind, readonly [vendor: string, product: string, iface: string, name: string]>
> = {
  storage: ['46f4', '0001', '080650', 'QEMU USB HARDDRIVE'],
  keyboard: ['0627', '0001', '030101', 'QEMU USB Keyboard'],
  mouse: ['0627', '0001', '030102', 'QEMU USB Mouse'],
  tablet: ['0627', '0001', '030000', 'QEMU USB Tablet'],
  serial: ['0403', '6001', 'ffffff', 'QEMU USB SERIAL'],
};

/**
 * INVARIANTS: what is listed is what the store holds; a plug that fails changes nothing; no two devices have one place or
 * one file.
 */
export class VirtualPorts implements DeviceSource {
  readonly backend = VIRTUAL_BACKEND;
  readonly #store: SoftwareDeviceStore;
  readonly #listeners = new Set<() => void>();
  /** One plug after the other, for each looks at the files of those before it. */
  readonly #turns = new KeyedQueue();
  /** By place, the last plug that is under way there. */
  readonly #plugging = new Map<string, Promise<UsbDevice>>();
  #plugged: readonly StoredSoftwareDevice[];

  constructor(store: SoftwareDeviceStore) {
    this.#store = store;
    this.#plugged = store.load();
  }

  async list(): Promise<readonly UsbDevice[]> {
    return this.#plugged.map(asDevice);
  }

  watch(onHint: () => void): () => void {
    this.#listeners.add(onHint);
    return () => this.#listeners.delete(onHint);
  }

  /**
   * Plugs a device in.
   * @throws Fault `usb.device_invalid`, `usb.device_exists`, `usb.file_needed`, `usb.file_busy`, `file.unreadable`, `file.unwritable`
   */
  plug(place: { readonly busid: string; readonly software: SoftwareDevice }): Promise<UsbDevice> {
    const plugging = this.#turns.run('plug', () => this.#plug(place));
    this.#plugging.set(place.busid, plugging);
    const forget = () => {
      if (this.#plugging.get(place.busid) === plugging) this.#plugging.delete(place.busid);
    };
    plugging.then(forget, forget);
    return plugging;
  }

  /** Resolves when no plug at that place is under way any more. */
  async settled(busid: string): Promise<void> {
    await this.#plugging.get(busid)?.catch(() => undefined);
  }

  /** Pulls a device out and gives it. @throws Fault `usb.device_not_found` */
  unplug(busid: string): UsbDevice {
    const plugged = this.#plugged.find((other) => other.busid === busid);
    if (plugged === undefined) {
      throw new Fault(
        'usb.device_not_found',
        { device: printable(deviceKey({ backend: this.backend, busid }), 80) },
        { hint: 'See: usher usb list' },
      );
    }
    this.#replace(this.#plugged.filter((other) => other !== plugged));
    return asDevice(plugged);
  }

  async #plug({ busid, software }: { readonly busid: string; readonly software: SoftwareDevice }): Promise<UsbDevice> {
    const device = deviceKey({ backend: this.backend, busid });
    if (!isBusid(busid)) {
      const what = 'a place is named bus-port, such as virtual:1-2';
      throw new Fault('usb.device_invalid', { device: printable(device, 80), what });
    }
    this.#refuseTaken(busid);
    await checkFile(software);
    const file = await identify(software.file);
    const others = await Promise.all(
      this.#plugged.map(async (other) => [other, await identify(other.software.file)] as const),
    );
    const sharing = others.find(([, otherFile]) => file !== undefined && otherFile === file);
    if (sharing !== undefined) {
      const other = deviceKey({ backend: this.backend, busid: sharing[0].busid });
      throw new Fault('usb.file_busy', { file: printable(software.file ?? '', 200), device: other });
    }
    const plugged = { busid, software, generation: `plug-${randomBytes(6).toString('hex')}` };
    this.#replace([...this.#plugged, plugged]);
    return asDevice(plugged);
  }

  #refuseTaken(busid: string): void {
    if (!this.#plugged.some((other) => other.busid === busid)) return;
    const device = deviceKey({ backend: this.backend, busid });
    throw new Fault('usb.device_exists', { device }, { hint: `Pull it first: usher usb unplug ${device}` });
  }

  #replace(devices: readonly StoredSoftwareDevice[]): void {
    this.#store.save(devices);
    this.#plugged = devices;
    for (const onHint of this.#listeners) onHint();
  }
}

function asDevice({ busid, software, generation }: StoredSoftwareDevice): UsbDevice {
  const [vendorId, productId, iface, name] = IDENTITIES[software.kind];
  const interfaces = [iface];
  return {
    backend: VIRTUAL_BACKEND,
    busid,
    deviceId: formatDeviceId({ vendorId, productId, untrustedSerial: software.serial, interfaces }),
    vendorId,
    productId,
    ...(software.serial === undefined ? {} : { untrustedSerial: software.serial }),
    untrustedManufacturer: 'QEMU',
    untrustedProduct: name,
    speed: SOFTWARE_SPEEDS[software.kind][0],
    interfaces,
    generation,
    software,
  };
}

/** The content of storage has to be there; where a serial device writes to may come into being. */
async function checkFile({ kind, file, isReadOnly = false }: SoftwareDevice): Promise<void> {
  if (kind === 'storage') {
    if (file === undefined) throw new Fault('usb.file_needed', { kind }, { hint: 'Give one: --file stick.img' });
    await checkContent(file, isReadOnly);
  } else if (kind === 'serial' && file !== undefined) await checkOutput(file);
}

async function checkContent(file: string, isReadOnly: boolean): Promise<void> {
  const refuse = (what: string, cause?: unknown) =>
    new Fault('file.unreadable', { file: printable(file, 200), what }, { cause });
  const status = await stat(file).catch((error: unknown) => {
    throw refuse(messageOf(error), error);
  });
  if (!status.isFile() && !status.isBlockDevice()) throw refuse('it is neither a regular file nor a block device');
  await access(file, isReadOnly ? constants.R_OK : constants.R_OK | constants.W_OK).catch((error: unknown) => {
    throw refuse(`${messageOf(error)}${isReadOnly ? '' : '; --read-only needs no right to write'}`, error);
  });
}

async function checkOutput(file: string): Promise<void> {
  const refuse = (what: string, cause?: unknown) =>
    new Fault('file.unwritable', { file: printable(file, 200), what }, { cause });
  const status = await stat(file).catch(() => undefined);
  if (status !== undefined && !status.isFile()) throw refuse('it is not a regular file');
  await access(status === undefined ? dirname(file) : file, constants.W_OK).catch((error: unknown) => {
    throw refuse(messageOf(error), error);
  });
}

/** Two paths name one file when they lead to the same inode; a file that is not there is known by its path. */
async function identify(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const status = await stat(file).catch(() => undefined);
  if (status === undefined) return file;
  return status.isBlockDevice() ? `block ${status.rdev}` : `${status.dev}:${status.ino}`;
}
