/**
 * What the fields of a rule match of a device: compiled once, asked often. Knows no conditions and no order of rules;
 * those are in policy-judge.ts.
 */
import { compileGlob } from '../lib/glob.ts';
import { plainName, printable } from '../lib/text.ts';
import { CLASS_PARTS, FIELD_TRUST, MATCH_FIELDS, type MatchField, type RuleMatch } from './policy.ts';
import { compileClass } from './policy-class.ts';
import { partsOfPlace, prefixBelow } from './policy-patterns.ts';
import type { UsbDevice } from './usb.ts';

/** A vendor's and a product's name as people see them: the caller may take them from the system's tables. */
export interface DeviceNames {
  readonly vendor: string;
  readonly product: string;
}
export type NamesOf = (device: UsbDevice) => DeviceNames;

/** What of a rule matched, harmless to show, and how far it is to be trusted. */
export interface FieldMatch {
  readonly field: MatchField;
  /** The pattern that matched, or all of them when none did. */
  readonly pattern: string;
  /** What the device has. */
  readonly value: string;
  readonly trust: 'trusted' | 'claimed';
}

/** A device while it is judged: what many rules ask for is worked out once. */
export class Subject {
  readonly device: UsbDevice;
  readonly #namesOf: NamesOf;
  #idFields: readonly string[] | undefined;
  #interfaces: readonly number[] | undefined;
  #names: DeviceNames | undefined;
  #lowerNames: DeviceNames | undefined;

  constructor(device: UsbDevice, namesOf: NamesOf = ownNames) {
    this.device = device;
    this.#namesOf = namesOf;
  }

  /** The four fields of its device id. */
  get idFields(): readonly string[] {
    this.#idFields ??= this.device.deviceId.split(':');
    return this.#idFields;
  }

  get interfaces(): readonly number[] {
    this.#interfaces ??= this.device.interfaces.map((triple) => Number.parseInt(triple, 16));
    return this.#interfaces;
  }

  /** As people see them: what cannot be seen cannot make a difference. */
  get names(): DeviceNames {
    if (this.#names === undefined) {
      const { vendor, product } = this.#namesOf(this.device);
      this.#names = { vendor: plainName(vendor), product: plainName(product) };
    }
    return this.#names;
  }

  get lowerNames(): DeviceNames {
    const { vendor, product } = this.names;
    this.#lowerNames ??= { vendor: vendor.toLowerCase(), product: product.toLowerCase() };
    return this.#lowerNames;
  }
}

/** A field of a rule, ready to be asked. */
export interface CompiledField {
  readonly field: MatchField;
  matches(subject: Subject): boolean;
  /** Tells what matched, or with what it was compared when nothing did. */
  describe(subject: Subject): readonly FieldMatch[];
}

/** Compiles the fields of a rule, in the order of `MATCH_FIELDS`. */
export function compileMatch(match: RuleMatch): readonly CompiledField[] {
  const fields = MATCH_FIELDS.filter((field) => match[field] !== undefined);
  return fields.map((field) => (field === 'class' ? compileClassField(match) : compilePatterns(field, match)));
}

type Test = (subject: Subject) => boolean;

function compilePatterns(field: Exclude<MatchField, 'class'>, match: RuleMatch): CompiledField {
  const tests = (match[field] ?? []).map((pattern) => ({ pattern, test: compilePattern(field, pattern) }));
  const [only] = tests;
  return {
    field,
    matches: only !== undefined && tests.length === 1 ? only.test : anyOf(tests.map(({ test }) => test)),
    describe: (subject) => {
      const found = tests.find(({ test }) => test(subject));
      const pattern = found?.pattern ?? tests.map((one) => one.pattern).join(', ');
      return [fieldMatch(field, pattern, shownValue(field, subject))];
    },
  };
}

function anyOf(tests: readonly Test[]): Test {
  return (subject) => {
    for (const test of tests) if (test(subject)) return true;
    return false;
  };
}

function compileClassField({ class: asked = {} }: RuleMatch): CompiledField {
  const isClass = compileClass(asked);
  const parts = CLASS_PARTS.flatMap((part) => {
    const items = asked[part];
    return items === undefined ? [] : [{ part, items, isPart: compileClass({ [part]: items }) }];
  });
  return {
    field: 'class',
    matches: ({ interfaces }) => isClass(interfaces),
    describe: (subject) => {
      const failed = parts.filter(({ isPart }) => !isPart(subject.interfaces));
      return (failed.length > 0 ? failed : parts).map(({ part, items }) =>
        fieldMatch('class', `${part} ${items.join(', ')}`, shownValue('class', subject)),
      );
    },
  };
}

function compilePattern(field: Exclude<MatchField, 'class'>, pattern: string): Test {
  switch (field) {
    case 'id':
    case 'switches':
      return compileId(pattern);
    case 'vendor':
    case 'product': {
      const glob = compileGlob(pattern.toLowerCase());
      return ({ lowerNames }) => glob(lowerNames[field]);
    }
    case 'serial': {
      const glob = compileGlob(pattern);
      return ({ idFields }) => glob(idFields[2] ?? '');
    }
    case 'port': {
      const { backend, place } = partsOfPlace(pattern);
      const glob = compileGlob(place);
      return ({ device }) => (backend === '*' || backend === device.backend) && glob(device.busid);
    }
    case 'hub': {
      const { backend, place } = partsOfPlace(pattern);
      const prefix = prefixBelow(place);
      return ({ device }) => (backend === '*' || backend === device.backend) && device.busid.startsWith(prefix);
    }
    case 'location': {
      const glob = compileGlob(pattern);
      return ({ device }) => device.location !== undefined && glob(device.location.toLowerCase());
    }
    case 'backend': {
      const glob = compileGlob(pattern);
      return ({ device }) => glob(device.backend);
    }
    case 'speed':
    case 'attachedAs':
      return ({ device }) => device[field] === pattern;
  }
}

/** A star within one field of an id does not reach into the next. */
function compileId(pattern: string): Test {
  const globs = pattern.split(':').map(compileGlob);
  const asked = pattern.split(':').flatMap((field, i) => (field === '*' ? [] : [i]));
  return ({ idFields }) => {
    for (const i of asked) if (globs[i]?.(idFields[i] ?? '') !== true) return false;
    return true;
  };
}

function shownValue(field: MatchField, subject: Subject): string {
  const { device } = subject;
  switch (field) {
    case 'id':
    case 'switches':
      return device.deviceId;
    case 'vendor':
    case 'product':
      return subject.names[field];
    case 'serial':
      return subject.idFields[2] ?? '';
    case 'class':
      return subject.interfaces.map((number) => number.toString(16).padStart(6, '0')).join(' ');
    case 'port':
    case 'hub':
      return `${device.backend}:${device.busid}`;
    default:
      return device[field] ?? '';
  }
}

function fieldMatch(field: MatchField, pattern: string, value: string): FieldMatch {
  return { field, pattern: printable(pattern, 200), value: printable(value, 200), trust: FIELD_TRUST[field] };
}

function ownNames({ untrustedManufacturer = '', untrustedProduct = '' }: UsbDevice): DeviceNames {
  return { vendor: untrustedManufacturer, product: untrustedProduct };
}
