/**
 * The USB devices of this host, read from sysfs (Linux `Documentation/ABI/testing/sysfs-bus-usb` and
 * `stable/sysfs-bus-usb`). Read only; hot-plug hints come from hotplug.ts.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { DeviceSource } from '../hypervisor/driver.ts';
import { bootId } from '../lib/boot-id.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import { Fault, messageOf } from '../lib/fault.ts';
import { type DescriptorFacts, isHub, readDescriptors, untrustedString } from '../model/descriptors.ts';
import { HOST_BACKEND } from '../model/ids.ts';
import { formatDeviceId, hostGeneration, isBusid, type UsbDevice, type UsbSpeed } from '../model/usb.ts';
import { type Hotplug, watchHotplug } from './hotplug.ts';
import { isOnVirtualController, readAttachedAs, readLocation } from './location.ts';

export interface SysfsOptions {
  /** Default `/sys`. */
  readonly sysRoot?: string | undefined;
  /** Default `/dev`. */
  readonly devRoot?: string | undefined;
  readonly bootId?: string | undefined;
  readonly clock?: Clock | undefined;
  /** Default: by inotify, see hotplug.ts. */
  readonly hotplug?: Hotplug | undefined;
  /** How soon devices that are not ready yet are looked at again. Default 5 ms. */
  readonly settlingMs?: number | undefined;
}

/** Longer than the kernel needs to configure a device; one that takes longer is shown as it is. */
const SETTLING_LIMIT_MS = 2_000;
/** Attributes that the kernel guards by the device's lock hang while a device is being reset. */
const READ_TIMEOUT_MS = 2_000;

interface Known {
  readonly devnum: number;
  /** When this plug was seen for the first time (monotonic ms). */
  readonly since: number;
  /** Set once its node in `/dev/bus/usb` was seen. */
  hasNode: boolean;
  /** Set once it is ready; from then on only its presence is looked at. */
  device?: UsbDevice | undefined;
}

/**
 * INVARIANTS: a plug, once listed, stays listed unchanged until it is gone, whatever happens to its interfaces and
 * strings: a guest that sets a configuration, or a reset, is no unplugging. One bad or slow device hides no other. A plug
 * is gone with its node: the kernel removes that, which gives the hint, before it removes the device from sysfs
 * (device_del in drivers/base/core.c), so who looked at sysfs alone could still find it there and get no further hint.
 */
export class SysfsSource implements DeviceSource {
  readonly backend = HOST_BACKEND;
  readonly #folder: string;
  readonly #nodes: string;
  readonly #bootId: string;
  readonly #clock: Clock;
  readonly #hotplug: Hotplug;
  readonly #settlingMs: number;
  readonly #listeners = new Set<() => void>();
  readonly #known = new Map<string, Known>();
  #isFirstList = true;
  #cancelRelook: (() => void) | undefined;

  constructor(options: SysfsOptions = {}) {
    const { sysRoot = '/sys', devRoot = '/dev', clock = systemClock } = options;
    this.#folder = join(sysRoot, 'bus/usb/devices');
    this.#nodes = join(devRoot, 'bus/usb');
    this.#bootId = options.bootId ?? bootId();
    this.#clock = clock;
    this.#hotplug = options.hotplug ?? ((onHint) => watchHotplug({ devRoot, clock, onHint }));
    this.#settlingMs = options.settlingMs ?? 5;
  }

  /**
   * Lists what is plugged and ready, guarded devices too; what is not ready yet is hinted at soon. A host without USB has
   * an empty list. @throws Fault `file.unreadable`
   */
  async list(): Promise<readonly UsbDevice[]> {
    const names = this.#names();
    const busids = names.filter(isBusid);
    for (const busid of this.#known.keys()) if (!busids.includes(busid)) this.#known.delete(busid);
    const devices = await Promise.all(busids.map((busid) => this.#device(busid, names)));
    this.#isFirstList = false;
    this.#relookSoon();
    return devices.filter((device) => device !== undefined);
  }

  watch(onHint: () => void): () => void {
    this.#listeners.add(onHint);
    const stop = this.#hotplug(onHint);
    return () => {
      stop();
      this.#listeners.delete(onHint);
      if (this.#listeners.size > 0) return;
      this.#cancelRelook?.();
      this.#cancelRelook = undefined;
    };
  }

  /** Interfaces (`1-1:1.0`) and root hubs (`usb1`) are among them. */
  #names(): string[] {
    try {
      return readdirSync(this.#folder).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw new Fault('file.unreadable', { file: this.#folder, what: messageOf(error) }, { cause: error });
    }
  }

  /** Gives the device when it is there and ready. */
  async #device(busid: string, names: readonly string[]): Promise<UsbDevice | undefined> {
    const devnum = this.#devnum(busid);
    if (devnum === undefined) {
      this.#known.delete(busid);
      return undefined;
    }
    let known = this.#known.get(busid);
    if (known?.devnum !== devnum) {
      known = { devnum, since: this.#clock.monotonic(), hasNode: false };
      this.#known.set(busid, known);
    }
    const hasNode = this.#hasNode(busid, devnum);
    if (known.hasNode && !hasNode) return undefined;
    known.hasNode = hasNode;
    known.device ??= await this.#read(busid, names, known).catch(() => undefined);
    return known.device;
  }

  /** It is read at once, not by a thread: the kernel answers without a lock, and it is all that a re-list reads. */
  #devnum(busid: string): number | undefined {
    try {
      const text = readFileSync(join(this.#folder, busid, 'devnum'), 'latin1').trim();
      return /^\d{1,3}$/.test(text) ? Number(text) : undefined;
    } catch {
      return undefined; // It vanished between the two reads.
    }
  }

  /** Where there are no nodes, as in some containers, sysfs has to do. */
  #hasNode(busid: string, devnum: number): boolean {
    const names = [Number.parseInt(busid, 10), devnum].map((number) => String(number).padStart(3, '0'));
    return existsSync(join(this.#nodes, ...names));
  }

  async #read(busid: string, names: readonly string[], known: Known): Promise<UsbDevice | undefined> {
    const folder = join(this.#folder, busid);
    const attribute = (name: string) => readFile(join(folder, name), 'utf8').catch(() => '');
    const limits = { what: `Reading ${folder}`, timeoutMs: READ_TIMEOUT_MS, clock: this.#clock };
    const [facts, path, attributes, location, attachedAs] = await withDeadline(limits, async () => {
      const path = await realpath(folder);
      return Promise.all([
        readFile(join(folder, 'descriptors')).then(readDescriptors),
        path,
        Promise.all(['speed', 'bNumInterfaces', 'authorized', 'serial', 'manufacturer', 'product'].map(attribute)),
        readLocation(path),
        readAttachedAs(path),
      ]);
    });
    const [speed = '', count = '', authorized = '', serial = '', manufacturer = '', product = ''] = attributes;
    const isAuthorized = authorized.trim() !== '0';
    const isReady = hasInterfaces(busid, count, names) || !isAuthorized || this.#isFirstList || this.#isLate(known);
    if (facts === undefined || !isReady || this.#devnum(busid) !== known.devnum) return undefined;
    const untrustedSerial = untrustedString(serial);
    const untrustedManufacturer = untrustedString(manufacturer);
    const untrustedProduct = untrustedString(product);
    const guard = guardOf(facts, path, isAuthorized);
    const bus = Number.parseInt(busid, 10);
    return {
      backend: this.backend,
      busid,
      deviceId: formatDeviceId({ ...facts, untrustedSerial }),
      vendorId: facts.vendorId,
      productId: facts.productId,
      ...(untrustedSerial === undefined ? {} : { untrustedSerial }),
      ...(untrustedManufacturer === undefined ? {} : { untrustedManufacturer }),
      ...(untrustedProduct === undefined ? {} : { untrustedProduct }),
      speed: speedOf(speed),
      interfaces: facts.interfaces,
      generation: hostGeneration(this.#bootId, bus, known.devnum),
      ...(guard === undefined ? {} : { guard }),
      host: { bus, devnum: known.devnum },
      ...(location === undefined ? {} : { location }),
      ...(attachedAs === undefined ? {} : { attachedAs }),
    };
  }

  #isLate({ since }: Known): boolean {
    return this.#clock.monotonic() - since >= SETTLING_LIMIT_MS;
  }

  /** The longer a device takes, the less often it is looked at; in the end the router's sweep has to do. */
  #relookSoon(): void {
    const unready = [...this.#known.values()].filter(({ device }) => device === undefined);
    const ageMs = Math.min(...unready.map(({ since }) => this.#clock.monotonic() - since));
    if (unready.length === 0 || ageMs >= 2 * SETTLING_LIMIT_MS || this.#listeners.size === 0) return;
    this.#cancelRelook ??= this.#clock.after(Math.max(this.#settlingMs, ageMs / 4), () => {
      this.#cancelRelook = undefined;
      for (const onHint of this.#listeners) onHint();
    });
  }
}

/**
 * Whether the kernel has finished the configuration: `bNumInterfaces` is of the active one and empty without one. The
 * device's node appears before its interfaces do.
 */
function hasInterfaces(busid: string, count: string, names: readonly string[]): boolean {
  const wanted = Number.parseInt(count, 10);
  return wanted >= 0 && names.filter((name) => name.startsWith(`${busid}:`)).length >= wanted;
}

function guardOf(facts: DescriptorFacts, path: string, isAuthorized: boolean): string | undefined {
  if (isHub(facts)) return 'it is a hub';
  if (isOnVirtualController(path)) return 'it is on a virtual controller';
  return isAuthorized ? undefined : 'the host has not authorised it';
}

/** Megabits per second; 1.5 is low speed, and whatever is faster than 480 is some kind of super speed. */
function speedOf(text: string): UsbSpeed {
  const megabits = Number.parseFloat(text);
  if (megabits > 480) return 'super';
  if (megabits > 12) return 'high';
  return megabits === 1.5 ? 'low' : 'full';
}
