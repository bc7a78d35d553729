/**
 * Judges which USB devices are the last keyboard and the last pointer of this host, which are never taken. Pure.
 *
 * What is protected and what replaces it are judged differently, each to the safe side: whatever may be somebody's keyboard
 * is protected, and only what surely is one replaces it. Whoever knows better says so in the settings.
 */
import { INPUT_KINDS, type InputKind } from '../model/input-claims.ts';
import type { UsbDevice } from '../model/usb.ts';
import type { HostInput } from './host-inputs.ts';

/**
 * Patterns match the name of an input device, or where it is attached (`isa0060/serio0`, which is above
 * `isa0060/serio0/input0`); `*` stands for anything.
 */
export interface InputSettings {
  /** These replace a keyboard, whatever is thought of them otherwise. */
  readonly countsAsKeyboard?: readonly string[];
  readonly countsAsPointer?: readonly string[];
  /** These are nobody's keyboard or pointer: they replace none and are not protected. `*` switches the guard off. */
  readonly neverCounts?: readonly string[];
}

/**
 * Makers of security keys and of bar code scanners, which announce a whole keyboard and have not one key with a letter:
 * Yubico; Symbol (Zebra), Metrologic (Honeywell), PSC (Datalogic).
 */
const VENDORS_WITHOUT_KEYS: ReadonlySet<string> = new Set(['1050', '05e0', '0c2e', '05f9']);

/**
 * Gives the busids whose loss would leave the host without a keyboard, and without a pointer, when those in `taken` are
 * gone or about to go. Where nothing counts, every device that may be a keyboard is the last one.
 */
export function lastInputs(
  inputs: readonly HostInput[],
  taken: ReadonlySet<string>,
  settings: InputSettings = {},
): Readonly<Record<InputKind, readonly string[]>> {
  const left = inputs.filter(({ busids }) => !busids.some((busid) => taken.has(busid)));
  const lastOf = (kind: InputKind): string[] => {
    const ofKind = left.filter(({ kinds }) => kinds.includes(kind));
    const spares = ofKind.filter((input) => spareObjection(inputs, input, kind, settings) === undefined);
    const owned = ofKind.filter((input) => !isNobodys(input, settings));
    const busids = new Set(owned.flatMap((input) => input.busids));
    return [...busids].filter((busid) => spares.every((spare) => spare.busids.includes(busid))).sort();
  };
  return { keyboard: lastOf('keyboard'), pointer: lastOf('pointer') };
}

/**
 * Gives the busids on which each input depends that replaces the device at `busid`, of each kind that it is to a person;
 * a kind is left out when something that is not on USB replaces it.
 */
export function replacementsOf(
  inputs: readonly HostInput[],
  busid: string,
  settings: InputSettings = {},
): NonNullable<UsbDevice['replacedBy']> {
  const own = inputs.filter((input) => input.busids.includes(busid) && !isNobodys(input, settings));
  const entries = INPUT_KINDS.filter((kind) => own.some(({ kinds }) => kinds.includes(kind))).map(
    (kind) =>
      [
        kind,
        sparesOf(inputs, kind, settings).flatMap(({ busids }) => (busids.includes(busid) ? [] : [busids])),
      ] as const,
  );
  return Object.fromEntries(entries.filter(([, others]) => others.every((busids) => busids.length > 0)));
}

/** Gives the input devices that replace another of this kind. */
export function sparesOf(
  inputs: readonly HostInput[],
  kind: InputKind,
  settings: InputSettings = {},
): readonly HostInput[] {
  return inputs.filter(
    (input) => input.kinds.includes(kind) && spareObjection(inputs, input, kind, settings) === undefined,
  );
}

/**
 * Says why an input device does not replace another of this kind, as the half of a sentence; `undefined` when it does.
 *
 * PS/2: the driver asks the socket who is there, and on many boards the firmware answers for a keyboard that is on USB, or
 * for none; on laptops the keyboard is really there, and is told as built in. Bluetooth: it may be switched off, or out of
 * reach, and BlueZ leaves its input device in place. Keyboard and pointer in one: a mouse with keys for macros cannot be
 * told from a receiver of both, nor a keyboard with a rudimentary mouse.
 */
export function spareObjection(
  inputs: readonly HostInput[],
  input: HostInput,
  kind: InputKind,
  settings: InputSettings = {},
): string | undefined {
  if (settings.neverCounts?.some((pattern) => matches(pattern, input))) return 'the settings say that it never counts';
  if (!input.isReady) return 'no kernel driver of this host works with it, or not yet';
  const named = kind === 'keyboard' ? settings.countsAsKeyboard : settings.countsAsPointer;
  if (named?.some((pattern) => matches(pattern, input))) return undefined;
  if (input.isInhibited) return 'it is switched off (inhibited)';
  if (isNobodys(input, settings)) return 'its maker makes security keys or scanners, which only look like keyboards';
  if (input.bus === 'virtual') return 'it is virtual: nobody has it at hand';
  if (input.bus === 'bluetooth') return 'it is on Bluetooth, and may be off or out of reach';
  if (input.bus === 'ps2') return `nothing tells whether a ${kind} is really plugged into the PS/2 socket`;
  if (input.bus === 'usb' && announcesAll(inputs, input)) {
    return `it announces keyboard and pointer in one, as ${kind === 'keyboard' ? 'mice' : 'keyboards'} with additional functions do too`;
  }
  return undefined;
}

/** Tells whether nobody types on it or points with it: its maker makes other things, or the settings say so. */
export function isNobodys(
  input: Pick<HostInput, 'name' | 'phys' | 'vendorId'>,
  { neverCounts = [] }: InputSettings,
): boolean {
  return VENDORS_WITHOUT_KEYS.has(input.vendorId) || neverCounts.some((pattern) => matches(pattern, input));
}

function announcesAll(inputs: readonly HostInput[], { busids }: HostInput): boolean {
  const kinds = inputs.filter((other) => other.busids.some((busid) => busids.includes(busid))).flatMap((o) => o.kinds);
  return INPUT_KINDS.every((kind) => kinds.includes(kind));
}

function matches(pattern: string, { name, phys }: Pick<HostInput, 'name' | 'phys'>): boolean {
  return [name, phys, ...foldersAbove(phys)].some((text) => text !== '' && isLike(pattern, text));
}

/** Not by a regular expression, of which some patterns make one that takes for ever. */
function isLike(pattern: string, text: string): boolean {
  const [start = '', ...parts] = pattern.split('*');
  const end = parts.pop();
  if (end === undefined) return text === start;
  if (!text.startsWith(start) || text.length < start.length + end.length) return false;
  let at = start.length;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= text.length - end.length && text.endsWith(end);
}

/** `a/b/c` gives `a` and `a/b`. */
function foldersAbove(phys: string): string[] {
  const parts = phys.split('/');
  return parts.slice(1).map((_, at) => parts.slice(0, at + 1).join('/'));
}
