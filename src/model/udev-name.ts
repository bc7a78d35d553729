/** The name that udev gives a USB device, `ID_SERIAL`: what qvm-usb has always shown, and scripts look for. Pure. */
import type { UsbDevice } from './usb.ts';

/** What udev leaves as it is besides letters and digits; anything else that is ASCII becomes `_`. */
const ODD = /[^A-Za-z0-9#+\-.:=@_]/gu;
/** A serial number with anything else is none to udev (its source: udev-builtin-usb_id.c). */
const SERIAL = /^[\x20-\x7f]+$/;
/** As much of each string as udev keeps. */
const MAX_NAME = 63;
const MAX_SERIAL = 255;

/**
 * Gives `manufacturer_product_serial`: spaces at the ends go, runs of them become one `_`, odd characters `_`. A device
 * that does not say its manufacturer or product has the number there, as udev does it. Unlike udev's, the name is ASCII:
 * each character beyond that is a `_`, too.
 */
export function udevName(device: UsbDevice): string {
  const { vendorId, productId, untrustedManufacturer = '', untrustedProduct = '', untrustedSerial = '' } = device;
  const vendor = plain(untrustedManufacturer, MAX_NAME) || vendorId;
  const product = plain(untrustedProduct, MAX_NAME) || productId;
  const isSerial = SERIAL.test(untrustedSerial) && !untrustedSerial.includes(',');
  const serial = isSerial ? plain(untrustedSerial, MAX_SERIAL) : '';
  return [vendor, product, ...(serial === '' ? [] : [serial])].join('_');
}

function plain(untrusted: string, max: number): string {
  return untrusted.trim().replaceAll(/\s+/g, '_').replaceAll(ODD, '_').slice(0, max);
}
