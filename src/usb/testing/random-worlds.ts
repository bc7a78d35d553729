/**
 * Random worlds and what happens in them, out of a small stock, so that wishes meet devices often and in many ways. The
 * stock says by hand what the code works out: which patterns go before which, and which mean one device.
 */
import fc from 'fast-check';
import { withoutAbsent } from '../../lib/absent.ts';
import {
  type Assignment,
  type AssignmentMode,
  formatDevicePattern,
  type Hold,
  parseDevicePattern,
  type Question,
  questionOf,
} from '../../model/assignment.ts';
import type { ObjectionKind } from '../../model/host-use.ts';
import { POLICY_MODES, type Policy, type Rule } from '../../model/policy.ts';
import { rules as anyRule, makeDevice, VM_NAMES } from '../../model/testing/policy-arbitraries.ts';
import { type Attachment, deviceKey, formatDeviceId, parseDeviceRef, type UsbDevice } from '../../model/usb.ts';
import type { ObservedVm, PlanInput } from '../plan-types.ts';
import { assignment, controller, haltedVm, holdIn, holdOut, runningVm, vmId, world } from '../test-world.ts';

const VMS = 4;
/** Assignments to it are to a VM that is no longer there. */
const GONE_VM = VMS + 1;
const NAMES = [...VM_NAMES, 'spare'] as const;
export const PLACES = ['dom0:3-1', 'dom0:3-1.4', 'dom0:3-2', 'virtual:1-1', 'virtual:1-2', 'usbvm:3-1'] as const;
const BACKENDS = ['dom0', 'virtual', 'usbvm'] as const;

/** Where the host tells it; of the third port it does not. */
const LOCATIONS: Readonly<Record<string, string>> = {
  'dom0:3-1': '0000:00:14.0/1',
  'dom0:3-1.4': '0000:00:14.0/1.4',
};

/** Patterns of assignments, the least exact first; those of one line say as much as each other. */
const PATTERNS: readonly (readonly string[])[] = [
  ['*:*'],
  ['0951:*'],
  ['0951:1666', '046d:c31c'],
  ['0951:1666:S*'],
  ['0951:1666:S1'],
  ['0951:1666:S1:080650'],
  ['dom0:*', '*:3-1'],
  ['dom0:3-*', 'virtual:1-*', 'dom0:0000:00:14.0/1.*'],
  ['dom0:3-1', 'dom0:3-1.4', 'usbvm:3-1', 'dom0:0000:00:14.0/1'],
  ['dom0:*:0951:1666'],
  ['dom0:3-1:0951:*', 'dom0:0000:00:14.0/1:0951:*'],
  ['dom0:3-1:0951:1666:S1'],
];
const whole = (pattern: string) => formatDevicePattern(parseDevicePattern(pattern));
/** How exact a pattern is, the more the higher. */
export const RANKS: ReadonlyMap<string, number> = new Map(
  PATTERNS.flatMap((line, rank) => line.map((pattern) => [whole(pattern), rank] as const)),
);
/** Those that mean neither one place nor one product. */
export const LOOSE_PATTERNS: ReadonlySet<string> = new Set(
  ['*:*', '0951:*', 'dom0:*', '*:3-1', 'dom0:3-*', 'virtual:1-*', 'dom0:0000:00:14.0/1.*'].map(whole),
);

/** What is plugged: two sticks that are told apart by serial number, one with one more interface, a keyboard. */
const CONTENTS = [
  { vendorId: '0951', productId: '1666', untrustedSerial: 'S1', interfaces: ['080650'] },
  { vendorId: '0951', productId: '1666', untrustedSerial: 'S2', interfaces: ['080650'] },
  { vendorId: '0951', productId: '1666', untrustedSerial: 'S1', interfaces: ['080650', 'ff0000'] },
  { vendorId: '046d', productId: 'c31c', untrustedSerial: '', interfaces: ['030101'] },
] as const;
const OBJECTIONS = [
  'last keyboard',
  'last pointer',
  'boot disk',
  'mounted',
  'held',
  'network',
  'keyboard',
  'pointer',
  'input',
] as const satisfies readonly ObjectionKind[];

const anyVm = fc.integer({ min: 1, max: VMS });
const anyPlace = fc.constantFrom(...PLACES);
const seldom = (times: number) => fc.integer({ min: 0, max: times }).map((n) => n === 0);
const objections = fc.oneof(
  { arbitrary: fc.constant<ObjectionKind[]>([]), weight: 3 },
  { arbitrary: fc.shuffledSubarray<ObjectionKind>([...OBJECTIONS], { minLength: 1, maxLength: 2 }), weight: 1 },
);
const contents = fc.record({ no: fc.nat(CONTENTS.length - 1), objections, isGuarded: seldom(9) });
type Content = typeof contents extends fc.Arbitrary<infer T> ? T : never;

/** Makes the device that is plugged in a place. */
export function plug(place: string, { no, objections: kinds, isGuarded }: Content, generation: string): UsbDevice {
  const parts = CONTENTS[no] ?? CONTENTS[0];
  return makeDevice({
    ...parts,
    ...parseDeviceRef(place),
    deviceId: formatDeviceId(parts),
    generation,
    ...(LOCATIONS[place] === undefined ? {} : { location: LOCATIONS[place] }),
    ...(isGuarded ? { guard: 'it is a hub' } : {}),
    ...(kinds.length === 0 ? {} : { objections: kinds.map((kind) => ({ kind, says: `it is ${kind}` })) }),
  });
}

const simpleRule: fc.Arbitrary<Rule> = fc
  .record({
    match: fc.constantFrom<Rule['match']>(
      {},
      { class: { any: ['storage'] } },
      { id: ['0951:1666:S1:*'] },
      { port: ['dom0:3-1'] },
      { hub: ['dom0:3-1'] },
      { class: { any: ['keyboard'] } },
      { serial: ['S2'] },
      { switches: ['0951:1666:*:*', '046d:c31c:*:*'] },
    ),
    action: fc.oneof(
      fc.constantFrom(...NAMES).map((vm) => ({ do: 'attach' as const, vm })),
      fc.subarray([...NAMES], { minLength: 1, maxLength: 2 }).map((vms) => ({ do: 'ask' as const, vms })),
      fc.constant({ do: 'deny' as const }),
    ),
    atMost: fc.option(fc.integer({ min: 1, max: 2 }), { nil: undefined, freq: 2 }),
  })
  .map(({ atMost, ...rule }) =>
    atMost === undefined || rule.action.do === 'deny' ? rule : { ...rule, when: { atMost } },
  );

/** Half of them without rules. */
const policies: fc.Arbitrary<Policy> = fc.record({
  mode: fc.constantFrom('enforce', 'enforce', 'enforce', ...POLICY_MODES),
  rules: fc.oneof(
    fc.constant([]),
    fc.array(fc.oneof({ arbitrary: simpleRule, weight: 3 }, { arbitrary: anyRule, weight: 1 }), { maxLength: 5 }),
  ),
  expect: fc.constant([]),
});

const POWERS = [
  'open',
  'open',
  'open',
  'halted',
  'closed',
  'releasing',
  'giving back',
  'troubled',
  'out of sight',
] as const;
export type Power = (typeof POWERS)[number];

/** Gives what a VM is in a state: without a domain it has nothing. */
export function inPower(vm: ObservedVm, power: Power): ObservedVm {
  const { uuid, name, domain } = vm;
  if (power === 'halted' || domain === undefined) return { ...haltedVm(numberOf(uuid)), name };
  const { usbTrouble: _, ...healthy } = domain;
  return {
    uuid,
    name,
    power: 'running',
    isOpen: power === 'open' || power === 'troubled' || power === 'releasing',
    ...(power === 'releasing' || power === 'giving back' ? { isReleasing: true } : {}),
    ...(power === 'out of sight' ? { isOutOfSight: true } : {}),
    domain: power === 'troubled' ? { ...healthy, usbTrouble: 'its device model is gone' } : healthy,
  };
}

/** Gives a VM that has just started. Those of an even number can have more controllers. */
export function freshVm(number: number, ports: number, attachments: readonly Attachment[] = []): ObservedVm {
  const more = { controllers: [controller(0, ports)], canAddController: number % 2 === 0 };
  return runningVm(number, attachments, { ...more, name: NAMES[number - 1] ?? '' });
}

export function numberOf(vm: string): number {
  return Number(vm.slice(-4));
}

const assignments = fc
  .record({
    vm: fc.oneof({ arbitrary: anyVm, weight: 9 }, { arbitrary: fc.constant(GONE_VM), weight: 1 }),
    pattern: fc.constantFrom(...PATTERNS.flat()),
    mode: fc.constantFrom<AssignmentMode[]>('auto', 'auto', 'auto', 'required', 'ask', 'manual'),
  })
  .map(
    ({ vm, pattern, mode }) =>
      (id: number): Assignment =>
        assignment(id, vm, pattern, mode),
  );

const hands = fc
  .record({ vm: fc.integer({ min: 0, max: VMS }), isForced: fc.boolean(), port: fc.nat(4) })
  .map(({ vm, isForced, port }) => (device: UsbDevice): Hold => {
    if (vm === 0) return holdOut(device);
    const slot = port === 1 || port === 2 ? { slot: { controller: 0, port } } : {};
    return holdIn(device, vm, { ...slot, ...(isForced ? { isForced } : {}) });
  });

const places = fc.record({ place: anyPlace, content: contents, generation: fc.constantFrom('g1', 'g2') });

/** Attachments as any history may have left them: stale, foreign, one device in two VMs; but one a port. */
export const worlds: fc.Arbitrary<PlanInput> = fc
  .record({
    devices: fc.uniqueArray(places, { selector: ({ place }) => place, maxLength: PLACES.length }),
    attachments: fc.array(
      fc.record({ vm: anyVm, port: fc.integer({ min: 1, max: 2 }), in: places, isForeign: seldom(3) }),
      { maxLength: 5 },
    ),
    powers: fc.array(fc.constantFrom(...POWERS), { minLength: VMS, maxLength: VMS }),
    ports: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: VMS, maxLength: VMS }),
    assignments: fc.array(assignments, { maxLength: 6 }),
    holds: fc.uniqueArray(fc.tuple(places, hands), { selector: ([{ place }]) => place, maxLength: 3 }),
    questions: fc.uniqueArray(fc.tuple(places, anyVm), { selector: ([{ place }]) => place, maxLength: 2 }),
    backends: fc.subarray([...BACKENDS], { minLength: 2 }),
    policy: policies,
    isObserving: seldom(9),
  })
  .map((parts) => {
    const devices = parts.devices.map(({ place, content, generation }) => plug(place, content, generation));
    return world({
      devices,
      backends: parts.backends,
      vms: parts.powers.map((power, i) => {
        const ports = parts.ports[i] ?? 1;
        const own = parts.attachments.filter(({ vm, port }) => vm === i + 1 && port <= ports);
        const attachments = new Map(own.map((one) => [one.port, attachmentOf(one)]));
        return inPower(freshVm(i + 1, ports, [...attachments.values()]), power);
      }),
      assignments: parts.assignments.map((make, i) => make(i + 1)),
      holds: parts.holds.map(([{ place, content, generation }, make]) => make(plug(place, content, generation))),
      questions: parts.questions.map(([{ place, content, generation }, vm]): Question => {
        return questionOf(plug(place, content, generation), [vmId(vm)], 0, 1_004_000);
      }),
      policy: parts.policy,
      isObserving: parts.isObserving,
    });
  });

function attachmentOf(one: {
  readonly vm: number;
  readonly port: number;
  readonly in: { readonly place: string; readonly content: Content; readonly generation: string };
  readonly isForeign: boolean;
}): Attachment {
  const { backend, busid, deviceId, generation } = plug(one.in.place, one.in.content, one.in.generation);
  const attachment = { vm: vmId(one.vm), controller: 0, port: one.port, backend, busid, deviceId, generation };
  return one.isForeign ? { ...attachment, isForeign: true } : attachment;
}

/** The same, but each device is in one VM at most, as the hypervisor sees to it. */
export const soundWorlds: fc.Arbitrary<PlanInput> = worlds.map((input) => {
  const seen = new Set<string>();
  const isFirst = (attachment: Attachment) => {
    const key = deviceKey(attachment);
    return !seen.has(key) && seen.add(key) !== undefined;
  };
  const vms = input.observed.vms.map((vm) =>
    vm.domain === undefined
      ? vm
      : { ...vm, domain: { ...vm.domain, attachments: vm.domain.attachments.filter(isFirst) } },
  );
  return { ...input, observed: { ...input.observed, vms } };
});

const change = fc.oneof(
  fc.record({ what: fc.constant('plug' as const), place: anyPlace, content: contents }),
  fc.record({ what: fc.constant('replug' as const), place: anyPlace }),
  fc.record({ what: fc.constant('unplug' as const), place: anyPlace }),
  /** What the host does with a device changes: it is mounted, or becomes the last keyboard. */
  fc.record({ what: fc.constant('use' as const), place: anyPlace, content: contents }),
  fc.record({ what: fc.constant('power' as const), vm: anyVm, power: fc.constantFrom(...POWERS) }),
  fc.record({ what: fc.constant('start' as const), vm: anyVm, ports: fc.integer({ min: 0, max: 3 }) }),
  fc.record({ what: fc.constant('read' as const), backends: fc.subarray([...BACKENDS], { minLength: 1 }) }),
  fc.record({ what: fc.constant('foreign' as const), place: anyPlace, vm: anyVm }),
  fc.record({ what: fc.constant('assign' as const), make: assignments }),
  fc.record({ what: fc.constant('unassign' as const), pick: fc.nat(6) }),
  fc.record({ what: fc.constant('hold' as const), place: anyPlace, make: hands }),
  fc.record({ what: fc.constant('release' as const), place: anyPlace }),
  fc.record({ what: fc.constant('answer' as const), pick: fc.nat(2), isYes: fc.boolean() }),
  fc.record({ what: fc.constant('policy' as const), policy: policies }),
  fc.record({ what: fc.constant('observe' as const), isObserving: fc.boolean() }),
  fc.record({ what: fc.constant('crash' as const), wereDone: fc.boolean(), unseen: anyPlace }),
  fc.record({ what: fc.constant('finish' as const) }),
  fc.record({ what: fc.constant('pass' as const), ms: fc.constantFrom(300, 2_000, 7_000, 3_600_000) }),
);
export type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

/** How the steps that come of a change go: all well, or one fails, or takes its time. */
const fate = fc.record({ is: fc.constantFrom('well', 'well', 'fail', 'linger'), pick: fc.nat(5) });
export type Fate = typeof fate extends fc.Arbitrary<infer T> ? T : never;

export const histories = fc.array(fc.record({ change, fate }).map(withoutAbsent), { maxLength: 20 });
