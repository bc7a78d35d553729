/** For tests: random devices, rules and moments from a small stock, so that rules match often and in many ways. */
import fc from 'fast-check';
import { withoutAbsent } from '../../lib/absent.ts';
import { DAYS, POLICY_MODES, type Policy, type Rule, type RuleAction, type RuleMatch } from '../policy.ts';
import { ATTACHED_AS, formatDeviceId, USB_SPEEDS, type UsbDevice } from '../usb.ts';

export const VM_NAMES = ['work', 'play', 'vault'] as const;
const VENDORS = ['0951', '046d'] as const;
const PRODUCTS = ['1666', 'c31c'] as const;
const SERIALS = ['', 'S1', 'S2', 'a b'] as const;
const INTERFACES = ['030101', '030102', '030000', '080650', '020201', '0a0000', 'ff0000'] as const;
const PLACES = ['3-1', '3-1.4', '3-1.4.2', '3-2', '4-1'] as const;
const BACKENDS = ['dom0', 'usbvm'] as const;
const NAMES = ['', 'Kingston', 'KINGSTON Technology', 'Data Traveler'] as const;

/** Makes a device; what a test does not care about is filled in. */
export function makeDevice(parts: Partial<UsbDevice> = {}): UsbDevice {
  const { vendorId = '0951', productId = '1666', interfaces = ['080650'], untrustedSerial } = parts;
  return {
    backend: 'dom0',
    busid: '3-1.4',
    vendorId,
    productId,
    speed: 'high',
    interfaces,
    generation: 'g1',
    deviceId: formatDeviceId({ vendorId, productId, interfaces, untrustedSerial }),
    ...parts,
  };
}

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
const rarely = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ arbitrary: fc.constant(undefined), weight: 5 }, { arbitrary, weight: 1 });
const some = <T>(...items: readonly T[]) => fc.uniqueArray(fc.constantFrom(...items), { minLength: 1, maxLength: 3 });

export const devices: fc.Arbitrary<UsbDevice> = fc
  .record({
    vendorId: fc.constantFrom(...VENDORS),
    productId: fc.constantFrom(...PRODUCTS),
    untrustedSerial: fc.constantFrom(...SERIALS),
    untrustedManufacturer: fc.constantFrom(...NAMES),
    untrustedProduct: fc.constantFrom(...NAMES),
    interfaces: fc.uniqueArray(fc.constantFrom(...INTERFACES), { maxLength: 3 }).map((list) => list.sort()),
    backend: fc.constantFrom(...BACKENDS),
    busid: fc.constantFrom(...PLACES),
    speed: fc.constantFrom(...USB_SPEEDS),
    location: maybe(fc.constantFrom('0000:00:14.0/1', '0000:00:14.0/1.4', '0000:05:00.0/1')),
    attachedAs: maybe(fc.constantFrom(...ATTACHED_AS)),
  })
  .map((parts) => makeDevice(withoutAbsent(parts)));

const ids = fc
  .tuple(
    fc.constantFrom(...VENDORS, '*'),
    fc.constantFrom(...PRODUCTS, '*'),
    fc.constantFrom('*', '*', 'S1', 'S*', '', 'a%20b'),
    fc.constantFrom('*', '*', '080650', '03*', '030101.080650'),
  )
  .map((fields) => fields.join(':'));
const switchIds = fc
  .tuple(fc.constantFrom(...VENDORS), fc.constantFrom(...PRODUCTS))
  .map((fields) => [...fields, '*', '*'].join(':'));
const classes = some('storage', 'hid', 'keyboard', 'mouse', 'serial', 'vendor', '03', '0301', '03*02', '*01', '0a');
const nameGlobs = some('kingston', 'King*', '*tech*', '*', 'Data Traveler');

const matches: fc.Arbitrary<RuleMatch> = fc
  .record({
    id: rarely(fc.uniqueArray(ids, { minLength: 1, maxLength: 2 })),
    switches: rarely(fc.uniqueArray(switchIds, { minLength: 1, maxLength: 2 })),
    vendor: rarely(nameGlobs),
    product: rarely(nameGlobs),
    serial: rarely(some('S1', 'S*', '', '*', 'a%20b')),
    class: rarely(
      fc
        .record({ any: rarely(classes), all: rarely(classes), only: rarely(classes) })
        .filter((parts) => Object.values(parts).some((part) => part !== undefined))
        .map(withoutAbsent),
    ),
    port: rarely(some('dom0:3-1', 'dom0:3-1.4', 'dom0:3-*', '*:3-1.4', 'usbvm:*', '*:*', '*:*.4')),
    location: rarely(some('0000:00:14.0/1.4', '0000:00:14.0/1.*', '0000:00:14.0/*', '*/1')),
    hub: rarely(some('dom0:usb3', 'dom0:3-1', '*:usb3', '*:3-1.4', 'usbvm:usb4')),
    speed: rarely(some(...USB_SPEEDS)),
    backend: rarely(some('dom0', 'usbvm', 'usb*', '*')),
    attachedAs: rarely(some(...ATTACHED_AS)),
  })
  // A rule has one of the two.
  .map(({ switches, ...rest }) => (rest.id === undefined ? { switches, ...rest } : rest))
  .map(withoutAbsent);

const actions: fc.Arbitrary<RuleAction> = fc.oneof(
  fc.constantFrom(...VM_NAMES).map((vm) => ({ do: 'attach' as const, vm })),
  some(...VM_NAMES).map((vms) => ({ do: 'ask' as const, vms })),
  fc.constantFrom({ do: 'deny' as const }, { do: 'deny' as const, reason: 'not "here": no' }),
);

const conditions = fc
  .record({
    running: rarely(some(...VM_NAMES)),
    time: rarely(some('08:00-18:00', '22:00-06:00', '00:00-24:00')),
    days: rarely(fc.subarray([...DAYS], { minLength: 1 })),
    atMost: maybe(fc.integer({ min: 1, max: 3 })),
  })
  .map(withoutAbsent);

export const rules: fc.Arbitrary<Rule> = fc
  .record({ match: matches, action: actions, when: maybe(conditions) })
  .map(({ when, ...rule }) => {
    const { atMost, ...others } = when ?? {};
    // Nothing is counted for a rule that denies.
    const kept = rule.action.do === 'deny' || atMost === undefined ? others : { ...others, atMost };
    return Object.keys(kept).length === 0 ? rule : { ...rule, when: kept };
  });

export const policies: fc.Arbitrary<Policy> = fc
  .record({
    mode: fc.constantFrom(...POLICY_MODES),
    rules: fc.array(fc.tuple(rules, fc.boolean()), { maxLength: 8 }),
  })
  .map(({ mode, rules: list }) => ({
    mode,
    rules: list.map(([rule, isNamed], i) => (isNamed ? { name: `rule no. ${i}`, ...rule } : rule)),
    expect: [],
  }));

export const moments = fc.record({ day: fc.constantFrom(...DAYS), minute: fc.integer({ min: 0, max: 24 * 60 - 1 }) });

export const contexts = fc
  .record({ at: moments, running: fc.subarray([...VM_NAMES]), known: fc.subarray([...VM_NAMES], { minLength: 1 }) })
  .map(({ at, running, known }) => ({
    at,
    vms: new Map(known.map((name) => [name, { isRunning: running.includes(name) }])),
  }));
