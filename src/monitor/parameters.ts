/** What a value of a command may be: each kind with its check and with the word that stands for it in help. Pure. */
import { Fault } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';

interface KindRow {
  /** How help writes it. */
  readonly word: string;
  /** Says what is wrong with a value, if anything is. */
  readonly refuse: (untrustedValue: string) => string | undefined;
}

const MAX_PATH_CHARACTERS = 4096;
const MAX_TEXT_CHARACTERS = 8000;
const MAX_SECONDS = 86_400;
const MAX_MIB = 16 * 1024 * 1024;
const CONTROL = /\p{Cc}/u;

const KINDS = {
  path: {
    word: 'PATH',
    refuse(value) {
      if (!value.startsWith('/') || value.includes('\0')) return 'an absolute path is expected';
      return value.length > MAX_PATH_CHARACTERS ? 'the path is too long' : undefined;
    },
  },
  'yes-no': {
    word: 'true|false',
    refuse: (value) => (value === 'true' || value === 'false' ? undefined : 'true or false is expected'),
  },
  ignore: {
    word: 'ignore',
    refuse: (value) => (value === 'ignore' ? undefined : 'only the word ignore is expected'),
  },
  seconds: {
    word: 'SECONDS',
    refuse: (value) =>
      /^\d{1,5}(\.\d{1,3})?$/.test(value) && Number(value) <= MAX_SECONDS
        ? undefined
        : `a number of seconds up to ${MAX_SECONDS} is expected`,
  },
  mib: {
    word: 'MIB',
    refuse: (value) =>
      /^[1-9]\d{0,8}$/.test(value) && Number(value) <= MAX_MIB ? undefined : `MiB up to ${MAX_MIB} are expected`,
  },
  key: {
    word: 'KEY',
    refuse: (value) => (/^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(value) ? undefined : 'a key of the config is expected'),
  },
  disk: {
    word: 'hdX|sdX|xvdX',
    refuse: (value) => (/^(hd|sd|xvd)[a-z]$/.test(value) ? undefined : 'a disk such as hdc is expected'),
  },
  word: {
    word: 'WORD',
    refuse: (value) =>
      /^[\w.:/+-]{1,100}$/.test(value) ? undefined : `letters and digits are expected, not "${printable(value, 40)}"`,
  },
  text: {
    word: 'TEXT',
    refuse(value) {
      if (CONTROL.test(value)) return 'it has a control character';
      return value.length > MAX_TEXT_CHARACTERS ? 'it is too long' : undefined;
    },
  },
} as const satisfies Record<string, KindRow>;

export type ParameterKind = keyof typeof KINDS;

/** Gives a value that is of its kind. @throws Fault `params.invalid` */
export function checkValue(
  { name, kind }: { readonly name: string; readonly kind: ParameterKind },
  untrustedValue: string,
): string {
  const what = KINDS[kind].refuse(untrustedValue);
  if (what !== undefined) throw new Fault('params.invalid', { field: name, what });
  return untrustedValue;
}

/** Gives the word that stands for such a value in help. */
export function valueWord(kind: ParameterKind): string {
  return KINDS[kind].word;
}
