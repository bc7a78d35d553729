/**
 * What a device may be used for by a person, judged by what it says of itself before any kernel driver has it. Pure. The
 * kernel's own finding, once a driver has it, is src/usb/input-devices.ts.
 */

export const INPUT_KINDS = ['keyboard', 'pointer'] as const;
export type InputKind = (typeof INPUT_KINDS)[number];

export interface InputClaims {
  /** It says so: a boot keyboard or boot mouse among its interfaces. */
  readonly certain: readonly InputKind[];
  /** It may be: HID whose kind only its report descriptor tells, which is not read before a driver has it. */
  readonly possible: readonly InputKind[];
}

/** HID with the boot subclass: protocol 1 is a keyboard, 2 a mouse (HID 1.11, 4.2 and 4.3). */
const BOOT_KINDS: ReadonlyMap<string, InputKind> = new Map([
  ['030101', 'keyboard'],
  ['030102', 'pointer'],
]);
const HID_CLASS = '03';

/**
 * Reads the claims out of a device's interfaces (`030101`). One interface is enough, whatever else a composite device is.
 * Any other HID interface is taken for both kinds: touchpads, tablets, the second half of gaming keyboards, and devices
 * made to type are all like that, and the protocol means nothing without the boot subclass. Security keys and
 * uninterruptible power supplies are too; for them it costs a rule that names them.
 */
export function claimedInputs(interfaces: readonly string[]): InputClaims {
  const certain = INPUT_KINDS.filter((kind) => interfaces.some((triple) => BOOT_KINDS.get(triple) === kind));
  const isOpen = interfaces.some((triple) => triple.startsWith(HID_CLASS) && !BOOT_KINDS.has(triple));
  return { certain, possible: isOpen ? INPUT_KINDS.filter((kind) => !certain.includes(kind)) : [] };
}
