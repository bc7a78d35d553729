/**
 * What a key of a VM's config file is: one row of data, of which the parser, the printer, the checks and the reference
 * come. Types, and makers of rows and of what drivers make of a key.
 */
import type { DriverName, VirtMode, VmConfig } from '../model/vm.ts';
import { parseBoolean, parseInteger, type ValueContext } from './values.ts';

/** What a file says of a VM: settings that it does not name are absent. */
export type VmSettings = { readonly [F in keyof VmConfig]?: VmConfig[F] };
/** Settings while a file is being read. */
export type VmDraft = { -readonly [F in keyof VmConfig]?: VmConfig[F] | undefined };

/** What a driver makes of a line; a reason is a clause that goes on a sentence. */
export type Honour =
  | { readonly does: 'honoured'; readonly says: string }
  | { readonly does: 'ignored' | 'refused'; readonly why: string };

/** The guest that a line speaks of. */
export interface Guest {
  readonly kind: VirtMode;
  readonly draft: VmDraft;
}

/** What a driver makes of a key. */
export interface HonourRule {
  /** For people, whatever the value is. */
  readonly says: string;
  /** Judges one value. */
  of(text: string, guest: Guest): Honour;
}

export type Honours = Readonly<Record<DriverName, HonourRule>>;

export type KeyType = 'text' | 'boolean' | 'integer' | 'word' | 'path';

export interface VmKey {
  readonly key: string;
  /** Other spellings: by xenvm's readme or its code. */
  readonly aliases: readonly string[];
  readonly type: KeyType;
  /** What the value is, for people. */
  readonly takes: string;
  /** What holds without the key, for people. */
  readonly otherwise: string;
  readonly meaning: string;
  /** Each line adds to the ones before; otherwise the last line counts. */
  readonly isList: boolean;
  readonly honours: Honours;
  /** Reads a value into the draft; what is wrong goes to the context. */
  read(draft: VmDraft, text: string, context: ValueContext): void;
  /** Gives the values that say what the config says; one a line. */
  print(config: VmSettings): readonly string[];
  /** Gives the values in this key's own words where `print` leaves them to another key. */
  readonly tell?: ((config: VmSettings) => readonly string[]) | undefined;
}

/** What an empty value means: the same as no line, a value of its own, or nothing that could be meant. */
type Empty = 'as no line' | 'a value' | 'refused';

interface KeySpec<F extends keyof VmConfig> {
  readonly key: string;
  readonly aliases?: readonly string[];
  readonly type: KeyType;
  readonly takes: string;
  readonly otherwise: string;
  readonly meaning: string;
  readonly isList?: boolean;
  readonly empty?: Empty;
  readonly honours: Honours;
  readonly parse: (text: string, context: ValueContext, before: VmConfig[F] | undefined) => VmConfig[F] | undefined;
  readonly print: (value: NonNullable<VmConfig[F]>) => string | readonly string[];
  readonly tell?: VmKey['tell'];
}

/** Makes the row of a key that is a field of the config. */
export function row<F extends keyof VmConfig>(field: F, spec: KeySpec<F>): VmKey {
  const { aliases = [], isList = false, empty = 'refused', parse, print, ...shown } = spec;
  return {
    ...{ ...shown, aliases, isList },
    read(draft, text, context) {
      if (text !== '' || empty === 'a value') {
        const value = parse(text, context, draft[field]);
        if (value !== undefined) draft[field] = value;
      } else if (empty === 'as no line') draft[field] = undefined;
      else context.error(`"${context.key}" needs a value: ${spec.takes}.`);
    },
    print(config) {
      const value = config[field];
      if (value === undefined || value === null) return [];
      const printed = print(value as NonNullable<VmConfig[F]>);
      return typeof printed === 'string' ? [printed] : printed;
    },
  };
}

type FieldsOf<T> = { [F in keyof VmConfig]-?: NonNullable<VmConfig[F]> extends T ? F : never }[keyof VmConfig];
type Said = Pick<VmKey, 'key' | 'otherwise' | 'meaning' | 'honours'> & { readonly aliases?: readonly string[] };

export const BOOLEAN_TAKES = 'true or false (also yes, y, 1; no, n, 0)';

/** Makes the row of a key that is true or false. */
export function booleanRow(field: FieldsOf<boolean>, said: Said): VmKey {
  return row(field, {
    ...said,
    type: 'boolean',
    takes: BOOLEAN_TAKES,
    parse: parseBoolean,
    print: String,
  });
}

/** Makes the row of a key that is a whole number from `min` to `max`. */
export function integerRow(
  field: FieldsOf<number>,
  said: Said & { readonly min: number; readonly max: number; readonly unit?: string },
): VmKey {
  const { min, max, unit = 'a number', ...rest } = said;
  return row(field, {
    ...rest,
    type: 'integer',
    takes: `${unit}, ${min} to ${max}`,
    parse: (text, context) => parseInteger(text, context, min, max),
    print: String,
  });
}

/** It does what the key says, as told. */
export function honoured(says: string): HonourRule {
  return { says, of: () => ({ does: 'honoured', says }) };
}

/** It does nothing with the key, and warns. */
export function ignored(why: string): HonourRule {
  return { says: `ignored: ${why}`, of: () => ({ does: 'ignored', why }) };
}

/** It depends on the value or the guest. */
export function depends(says: string, of: HonourRule['of']): HonourRule {
  return { says, of };
}

/** A key that asks for something which the driver lacks: as long as it asks for nothing, it gets that. */
export function lacking(why: string): HonourRule {
  return depends(`ignored: ${why}`, (text) =>
    isOff(text) ? { does: 'honoured', says: 'there is none' } : { does: 'ignored', why },
  );
}

/** What Xen does for guests with an emulated machine only. */
export function hvmOnly(rule: HonourRule, lacks: string): HonourRule {
  return depends(`${rule.says}; for hvm alone`, (text, guest) =>
    guest.kind === 'hvm'
      ? rule.of(text, guest)
      : { does: 'ignored', why: `a guest of the kind ${guest.kind} has ${lacks}` },
  );
}

/** A simulated guest shows nothing of it. */
export const SIMULATED: HonourRule = honoured('kept; a simulated guest has nothing of the kind');

function isOff(text: string): boolean {
  return ['0', 'n', 'no', 'false', ''].includes(text);
}
