/**
 * Reads what a device says of itself in its raw descriptors, as the kernel keeps them in the sysfs file `descriptors`:
 * the device descriptor, then each configuration whole (USB 2.0, 9.5 and 9.6). Pure. The bytes may be short or lie.
 */

export interface DescriptorFacts {
  /** Four lower-case hex digits each. */
  readonly vendorId: string;
  readonly productId: string;
  /** Class, subclass, protocol in six hex digits, of the device and of each interface of the first configuration. */
  readonly deviceClass: string;
  readonly interfaces: readonly string[];
}

const DEVICE = 0x01;
const CONFIGURATION = 0x02;
const INTERFACE = 0x04;
const DEVICE_BYTES = 18;
const CONFIGURATION_BYTES = 9;
const INTERFACE_BYTES = 9;
/** The kernel takes no more (USB_MAXINTERFACES). */
const MAX_INTERFACES = 32;
const HUB_CLASS = '09';
/** Strings of descriptors end there (USB 2.0, 9.6.7: 255 bytes of UTF-16). */
const MAX_STRING = 126;

/**
 * Reads the descriptors; `undefined` when there is not even a device descriptor. A configuration that ends early, or
 * whose lengths lie, gives the interfaces up to that place: the same bytes always give the same identity.
 */
export function readDescriptors(untrustedBytes: Buffer): DescriptorFacts | undefined {
  if (untrustedBytes.length < DEVICE_BYTES || untrustedBytes[1] !== DEVICE) return undefined;
  const word = (offset: number) => untrustedBytes.readUInt16LE(offset).toString(16).padStart(4, '0');
  return {
    vendorId: word(8),
    productId: word(10),
    deviceClass: classAt(untrustedBytes, 4),
    interfaces: readInterfaces(untrustedBytes.subarray(DEVICE_BYTES)).sort(),
  };
}

/** Tells whether the device, or one of its interfaces, is a hub. */
export function isHub({ deviceClass, interfaces }: DescriptorFacts): boolean {
  return [deviceClass, ...interfaces].some((triple) => triple.startsWith(HUB_CLASS));
}

/** Reads one of the device's strings as sysfs shows it: the kernel ends it by one line feed, the rest is the device's. Empty is none. */
export function untrustedString(attribute: string): string | undefined {
  const untrusted = [...attribute.replace(/\n$/, '')].slice(0, MAX_STRING).join('');
  return untrusted === '' ? undefined : untrusted;
}

function readInterfaces(bytes: Buffer): string[] {
  const interfaces: string[] = [];
  if (bytes.length < CONFIGURATION_BYTES || bytes[1] !== CONFIGURATION) return interfaces;
  const end = Math.min(bytes.length, bytes.readUInt16LE(2));
  for (let at = Math.max(CONFIGURATION_BYTES, bytes[0] ?? 0); at + 2 <= end; ) {
    const length = bytes[at] ?? 0;
    const type = bytes[at + 1];
    if (length < 2 || at + length > end || type === CONFIGURATION) break;
    const isDefault = type === INTERFACE && length >= INTERFACE_BYTES && bytes[at + 3] === 0;
    if (isDefault && interfaces.push(classAt(bytes, at + 5)) === MAX_INTERFACES) break;
    at += length;
  }
  return interfaces;
}

function classAt(bytes: Buffer, offset: number): string {
  return bytes.subarray(offset, offset + 3).toString('hex');
}
