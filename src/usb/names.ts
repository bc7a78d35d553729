/** Names of devices for people: what the device says of itself, else what the system's usb.ids says of its numbers. */
import { readFileSync } from 'node:fs';
import { plainName } from '../lib/text.ts';
import type { DeviceNames } from '../model/policy-match.ts';
import type { UsbDevice } from '../model/usb.ts';

/** Where Debian, and where others, keep it (package `usb.ids`, `hwdata`). */
const USB_IDS_PATHS = ['/usr/share/misc/usb.ids', '/usr/share/hwdata/usb.ids', '/var/lib/usbutils/usb.ids'];
/** As many different products are remembered; a host has a few dozen. */
const MAX_REMEMBERED = 1_000;

interface ProductNames {
  readonly vendor?: string;
  readonly product?: string;
}

/**
 * Describes devices. The file is read when the first device needs it and then searched, not parsed: a look-up takes
 * 1 to 2 ms, a map of it all would take 20 MB.
 */
export class UsbNames {
  readonly #paths: readonly string[];
  readonly #remembered = new Map<string, ProductNames>();
  #ids: Buffer | undefined;

  constructor(paths: readonly string[] = USB_IDS_PATHS) {
    this.#paths = paths;
  }

  /** Gives vendor and product, harmless to show; empty what nobody knows. One function, so that what was judged by it is kept. */
  readonly namesOf = ({
    vendorId,
    productId,
    untrustedManufacturer = '',
    untrustedProduct = '',
  }: UsbDevice): DeviceNames => {
    const [saysVendor, saysProduct] = [plainName(untrustedManufacturer), plainName(untrustedProduct)];
    const known = saysVendor !== '' && saysProduct !== '' ? {} : this.#lookUp(vendorId, productId);
    return { vendor: saysVendor || known.vendor || '', product: saysProduct || known.product || '' };
  };

  /** Gives vendor and product in one line, harmless to show. */
  describe(device: UsbDevice): string {
    const { vendor, product: name } = this.namesOf(device);
    const product = name || `device ${device.vendorId}:${device.productId}`;
    return product.toLowerCase().startsWith(vendor.toLowerCase()) ? product : `${vendor} ${product}`;
  }

  #lookUp(vendorId: string, productId: string): ProductNames {
    const key = `${vendorId}:${productId}`;
    let names = this.#remembered.get(key);
    if (names === undefined) {
      this.#ids ??= this.#read();
      names = search(this.#ids, vendorId, productId);
      if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear();
      this.#remembered.set(key, names);
    }
    return names;
  }

  #read(): Buffer {
    for (const path of this.#paths) {
      try {
        return readFileSync(path);
      } catch {
        // Not here, or not at all: names are a comfort.
      }
    }
    return Buffer.alloc(0);
  }
}

/** A vendor is a line `0951  Kingston Technology`, its products follow as lines `\t1666  DataTraveler`. */
function search(ids: Buffer, vendorId: string, productId: string): ProductNames {
  const start = ids.indexOf(`\n${vendorId}  `);
  if (start === -1) return {};
  const vendor = lineAt(ids, start + 1).slice(6);
  let at = start + 1;
  for (;;) {
    at = ids.indexOf('\n', at) + 1;
    if (at === 0 || at >= ids.length) return { vendor: plainName(vendor) };
    const line = lineAt(ids, at);
    if (line.startsWith(`\t${productId}  `)) return { vendor: plainName(vendor), product: plainName(line.slice(7)) };
    if (!line.startsWith('\t') && !line.startsWith('#')) return { vendor: plainName(vendor) };
  }
}

function lineAt(ids: Buffer, start: number): string {
  const end = ids.indexOf('\n', start);
  return ids.toString('utf8', start, end === -1 ? ids.length : end);
}
