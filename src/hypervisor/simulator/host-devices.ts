/** The simulated devices that are plugged into backends (`dom0`, `usbvm`): plugging and pulling. Knows no domains. */
import { Fault } from '../../lib/fault.ts';
import { HOST_BACKEND } from '../../model/ids.ts';
import { canonicalBackend, deviceKey, formatDeviceId, parseDeviceRef, type UsbDevice } from '../../model/usb.ts';
import type { PlugOptions } from './world-port.ts';

/** What is plugged by default: a memory stick. */
const STICK = {
  vendorId: '0951',
  productId: '1666',
  manufacturer: 'Kingston',
  product: 'DataTraveler',
  speed: 'high',
  interfaces: ['080650'],
} as const satisfies Partial<PlugOptions>;

export class HostDevices {
  readonly #backends = new Map<string, Map<string, UsbDevice>>([[HOST_BACKEND, new Map()]]);
  #plugs = 0;

  /** Plugs a device; each plug has a generation of its own, unless it is told one. @throws `usb.device_exists`, `usb.device_invalid` */
  plug(options: PlugOptions): UsbDevice {
    const { vendorId, productId, manufacturer, product, speed, interfaces } = { ...STICK, ...options };
    const ref = parseDeviceRef(deviceKey({ backend: options.backend ?? HOST_BACKEND, busid: options.busid }));
    const devices = this.#backends.get(ref.backend) ?? new Map<string, UsbDevice>();
    if (devices.has(ref.busid)) throw new Fault('usb.device_exists', { device: deviceKey(ref) });
    const { serial, guard, location, generation = `simulated.${ref.busid.split('-')[0]}.${++this.#plugs}` } = options;
    const device: UsbDevice = {
      ...ref,
      deviceId: formatDeviceId({ vendorId, productId, untrustedSerial: serial, interfaces }),
      vendorId,
      productId,
      ...(serial === undefined ? {} : { untrustedSerial: serial }),
      untrustedManufacturer: manufacturer,
      untrustedProduct: product,
      speed,
      interfaces: [...interfaces].sort(),
      generation,
      ...(location === undefined ? {} : { location }),
      ...(guard === undefined ? {} : { guard }),
    };
    this.#backends.set(ref.backend, devices.set(ref.busid, device));
    return device;
  }

  /** Pulls a device and gives it. @throws `usb.device_not_found` */
  unplug(place: { readonly backend: string; readonly busid: string }): UsbDevice {
    const devices = this.#backends.get(canonicalBackend(place.backend));
    const device = devices?.get(place.busid);
    if (device === undefined) throw new Fault('usb.device_not_found', { device: deviceKey(place) });
    devices?.delete(place.busid);
    return device;
  }

  /** Takes a whole backend away, as when a usbvm ends; its devices go with it. */
  removeBackend(backend: string): void {
    this.#backends.delete(canonicalBackend(backend));
  }

  /** Lists the backends that are there. */
  backends(): readonly string[] {
    return [...this.#backends.keys()];
  }

  /** Lists what is plugged. @throws `hypervisor.failed` when there is no such backend */
  list(backend: string): readonly UsbDevice[] {
    const devices = this.#backends.get(canonicalBackend(backend));
    if (devices === undefined) throw new Fault('hypervisor.failed', { what: `there is no backend "${backend}"` });
    return [...devices.values()];
  }

  /** Tells whether this very plug is still there. */
  has(device: { readonly backend: string; readonly busid: string; readonly generation: string }): boolean {
    return this.#backends.get(device.backend)?.get(device.busid)?.generation === device.generation;
  }

  /** Gives what is plugged there now. */
  at(place: { readonly backend: string; readonly busid: string }): UsbDevice | undefined {
    return this.#backends.get(place.backend)?.get(place.busid);
  }
}
