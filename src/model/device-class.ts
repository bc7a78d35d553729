/** What kinds of devices are called where rights are given: words for classes of interfaces, and hex digits. Pure. */

/** Interfaces of a word: the first digits of class, subclass and protocol (USB-IF, "Defined Class Codes"). */
export const DEVICE_CLASSES: Readonly<Record<string, readonly string[]>> = {
  audio: ['01'],
  cdc: ['02', '0a'],
  hid: ['03'],
  image: ['06'],
  printer: ['07'],
  storage: ['08'],
  smartcard: ['0b'],
  video: ['0e'],
  wireless: ['e0'],
  vendor: ['ff'],
};

/** Tells whether the text names a class: a word, or two, four or six hex digits. */
export function isDeviceClass(text: string): boolean {
  return Object.hasOwn(DEVICE_CLASSES, text) || /^([0-9a-f]{2}){1,3}$/.test(text);
}

/**
 * Tells whether a device is of these classes and of nothing else: every interface is of one of them, and there is one.
 * A stick that is a keyboard, too, is no `storage`.
 */
export function isOnlyOf(interfaces: readonly string[], classes: readonly string[]): boolean {
  const beginnings = classes.flatMap((name) => DEVICE_CLASSES[name] ?? [name]);
  return interfaces.length > 0 && interfaces.every((triple) => beginnings.some((digits) => triple.startsWith(digits)));
}

/** Gives the interfaces that a device id claims, see `formatDeviceId`. */
export function interfacesOfId(deviceId: string): readonly string[] {
  const interfaces = deviceId.split(':')[3] ?? '';
  return interfaces === '' ? [] : interfaces.split('.');
}
