/**
 * The patterns of a policy's fields: untrusted text to the one form that rules keep, or what is wrong with it. What they
 * match is in policy-match.ts; classes are in policy-class.ts, times in policy-time.ts.
 */
import { reasonOf } from '../lib/fault.ts';
import { nearest, printable } from '../lib/text.ts';
import { isLocationPattern, parseIdPattern } from './assignment.ts';
import { HOST_BACKEND } from './ids.ts';
import { canonicalBackend, isBusid } from './usb.ts';

/** A text that was read, or what is wrong with it: half a sentence. */
export type Reading<T> = { readonly value: T } | { readonly wrong: string };

/** No pattern is longer: a device id with a serial number of 126 characters and 32 interfaces has 1700 at most. */
export const MAX_PATTERN = 2_000;
const MAX_NAME = 126;

/** Reads `vid:pid[:serial[:interfaces]]`, `*` allowed, into its four fields. */
export function readIdPattern(untrustedText: string): Reading<string> {
  try {
    return { value: parseIdPattern(untrustedText) };
  } catch (error) {
    return { wrong: `"${printable(untrustedText, 80)}" is no device id: ${reasonOf(error, 'usb.device_invalid')}` };
  }
}

/** Reads an id of a device that changes its id: vendor and product are named, so that no other device is meant. */
export function readSwitchPattern(untrustedText: string): Reading<string> {
  const read = readIdPattern(untrustedText);
  if ('wrong' in read || namesProduct(read.value)) return read;
  return { wrong: `"${printable(untrustedText, 80)}" has to name vendor and product: it is about one device` };
}

/** Reads a serial number, as the device says it or percent-encoded as in a device id. */
export function readSerialPattern(untrustedText: string): Reading<string> {
  const encoded = untrustedText
    .replaceAll(/%(?![0-9A-Fa-f]{2})/g, '%25')
    .replaceAll(/%[0-9a-f]{2}/gi, canonicalCode)
    .replaceAll(/[^A-Za-z0-9._%*-]/gu, encodeCharacter);
  return { value: encoded };
}

/** Reads a vendor's or product's name: any text, of which the case does not matter. */
export function readNamePattern(untrustedText: string): Reading<string> {
  if (untrustedText === '') return { wrong: 'a name is not empty; "*" stands for anything' };
  if ([...untrustedText].length <= MAX_NAME) return { value: untrustedText };
  return { wrong: `a name has up to ${MAX_NAME} characters` };
}

/** Reads `backend:busid`, `*` allowed; without a backend the port is the host's. */
export function readPortPattern(untrustedText: string): Reading<string> {
  const { backend, place } = splitPlace(untrustedText);
  const isPlace = isBusid(place) || (/^[0-9.*-]{1,32}$/.test(place) && place.includes('*'));
  if (isPlace && isBackend(backend)) return { value: `${backend}:${place}` };
  const shown = printable(untrustedText, 80);
  const hint = /^usb[0-9]+$/.test(place) ? `; a root hub goes into "hub"` : '';
  return { wrong: `"${shown}" is no port: write backend:busid, as dom0:3-1.4 or dom0:3-*${hint}` };
}

/** Reads `backend:usb3` or `backend:3-1`, the hub above; the backend may be `*`, and is the host without one. */
export function readHubPattern(untrustedText: string): Reading<string> {
  const { backend, place } = splitPlace(untrustedText);
  if (isBackend(backend) && (isBusid(place) || /^usb[0-9]{1,3}$/.test(place))) return { value: `${backend}:${place}` };
  const shown = printable(untrustedText, 80);
  return { wrong: `"${shown}" is no hub: write usb3 for all of bus 3, or 3-1 for the hub in that port, or dom0:3-1` };
}

/**
 * Reads a physical place, `controller/ports`, `*` allowed: `0000:00:14.0/1.4`, `0000:00:14.0/1.*` for whatever is below
 * port 1. A controller alone is all of its ports.
 */
export function readLocationPattern(untrustedText: string): Reading<string> {
  const text = untrustedText.toLowerCase();
  const place = text.includes('/') ? text : `${text}/*`;
  if (isLocationPattern(place) && /[:*/]/.test(text)) return { value: place };
  const shown = printable(untrustedText, 80);
  return {
    wrong: `"${shown}" is no place: write the controller and the ports, as 0000:00:14.0/1.4 or 0000:00:14.0/1.*`,
  };
}

/** Reads the name of who has the device: `dom0`, `virtual`, a VM that lends devices; `*` allowed. */
export function readBackendPattern(untrustedText: string): Reading<string> {
  if (/^[A-Za-z*][A-Za-z0-9._*-]{0,62}$/.test(untrustedText)) return { value: canonicalBackend(untrustedText) };
  return { wrong: `"${printable(untrustedText, 80)}" is no backend: dom0, virtual, or the name of a VM` };
}

/** Reads the id of one device, `vid:pid[:serial[:interfaces]]`, without `*`; it keeps as many fields as were given. */
export function readExactId(untrustedText: string): Reading<string> {
  const read = readIdPattern(untrustedText);
  if ('wrong' in read) return read;
  const given = untrustedText.split(':').length;
  const fields = read.value.split(':').slice(0, given);
  const [, , serial = '', interfaces = ''] = fields;
  const isExact = !fields.join('').includes('*') && /^([0-9a-f]{6}(\.[0-9a-f]{6})*)?$/.test(interfaces);
  if (isExact && isEncoded(serial)) return { value: fields.join(':') };
  return { wrong: `"${printable(untrustedText, 80)}" is not the id of one device, as 0951:1666:S1:080650` };
}

/** Makes a reader that refuses `*`, for what is said of one device. */
export function withoutStars(reader: (text: string) => Reading<string>): (untrustedText: string) => Reading<string> {
  return (untrustedText) =>
    untrustedText.includes('*')
      ? { wrong: `"${printable(untrustedText, 80)}" is about one device: it takes no *` }
      : reader(untrustedText);
}

/** Makes a reader of some words. */
export function wordReader<W extends string>(words: readonly W[]): (untrustedText: string) => Reading<W> {
  return (untrustedText) => {
    const word = words.find((other) => other === untrustedText);
    if (word !== undefined) return { value: word };
    const meant = untrustedText.length > 40 ? undefined : nearest(untrustedText, words);
    const guess = meant === undefined ? '' : `. Did you mean "${meant}"?`;
    return { wrong: `it is ${words.join(', ')}, not "${printable(untrustedText, 40)}"${guess}` };
  };
}

/** Tells whether an id pattern names vendor and product without `*`. */
export function namesProduct(idPattern: string): boolean {
  const [vendor = '*', product = '*'] = idPattern.split(':');
  return !vendor.includes('*') && !product.includes('*');
}

/** Gives backend and place of a port or a hub, as its reader gave it. */
export function partsOfPlace(pattern: string): { readonly backend: string; readonly place: string } {
  const colon = pattern.indexOf(':');
  return { backend: pattern.slice(0, colon), place: pattern.slice(colon + 1) };
}

/** Gives what the busids below a hub begin with: `3-` for `usb3`, `3-1.` for `3-1`. */
export function prefixBelow(hubPlace: string): string {
  return hubPlace.startsWith('usb') ? `${Number(hubPlace.slice(3))}-` : `${hubPlace}.`;
}

function splitPlace(text: string): { readonly backend: string; readonly place: string } {
  if (!text.includes(':')) return { backend: HOST_BACKEND, place: text };
  const { backend, place } = partsOfPlace(text);
  return { backend: canonicalBackend(backend), place };
}

function isBackend(text: string): boolean {
  return /^(\*|[A-Za-z][A-Za-z0-9._-]{0,62})$/.test(text);
}

/** A device id does not encode what need not be. */
function canonicalCode(code: string): string {
  const character = String.fromCharCode(Number.parseInt(code.slice(1), 16));
  return /[A-Za-z0-9._-]/.test(character) ? character : code.toUpperCase();
}

function isEncoded(serial: string): boolean {
  try {
    decodeURIComponent(serial);
    return true;
  } catch {
    return false;
  }
}

function encodeCharacter(character: string): string {
  return [...Buffer.from(character, 'utf8')]
    .map((byte) => `%${byte.toString(16).padStart(2, '0').toUpperCase()}`)
    .join('');
}
