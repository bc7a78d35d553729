/** Makes software devices as QEMU emulates them, for drivers that can attach them. */
import { VIRTUAL_BACKEND } from '../../src/model/ids.ts';
import { formatDeviceId, type SoftwareKind, type UsbDevice, type UsbSpeed } from '../../src/model/usb.ts';

/** What QEMU's devices say of themselves (hw/usb/dev-storage.c, dev-hid.c, dev-serial.c). */
const EMULATED: Readonly<Record<SoftwareKind, { ids: [string, string]; interfaces: string[]; speed: UsbSpeed }>> = {
  storage: { ids: ['46f4', '0001'], interfaces: ['080650'], speed: 'high' },
  keyboard: { ids: ['0627', '0001'], interfaces: ['030101'], speed: 'full' },
  mouse: { ids: ['0627', '0001'], interfaces: ['030102'], speed: 'full' },
  tablet: { ids: ['0627', '0001'], interfaces: ['030000'], speed: 'full' },
  serial: { ids: ['0403', '6001'], interfaces: ['ffffff'], speed: 'full' },
};

export interface SoftwareDeviceOptions {
  readonly kind: SoftwareKind;
  readonly busid: string;
  readonly serial: string;
  /** Absolute path of the content of `storage`, of the output of `serial`. */
  readonly file?: string | undefined;
  /** Default: one that is new at each call. */
  readonly generation?: string | undefined;
}

let plugs = 0;

/** Makes a device of the backend `virtual`. */
export function makeSoftwareDevice(options: SoftwareDeviceOptions): UsbDevice {
  const { kind, busid, serial, file } = options;
  const { ids, interfaces, speed } = EMULATED[kind];
  const [vendorId, productId] = ids;
  return {
    backend: VIRTUAL_BACKEND,
    busid,
    deviceId: formatDeviceId({ vendorId, productId, untrustedSerial: serial, interfaces }),
    vendorId,
    productId,
    untrustedSerial: serial,
    speed,
    interfaces,
    generation: options.generation ?? `contract.${++plugs}`,
    software: file === undefined ? { kind, serial } : { kind, serial, file },
  };
}
