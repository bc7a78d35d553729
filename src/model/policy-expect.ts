/** A policy's own expectations: devices that one might plug, and what the rules have to say of each. Pure. */
import {
  type Expectation,
  type ExpectedDevice,
  formatAction,
  formatRuleRef,
  type Policy,
  type PolicyAction,
} from './policy.ts';
import { exampleOf } from './policy-class.ts';
import { judge, type PolicyContext, type PolicyVerdict, rulesMatching, vmsOf } from './policy-judge.ts';
import { partsOfPlace } from './policy-patterns.ts';
import { momentOf } from './policy-time.ts';
import { formatDeviceId, type UsbDevice } from './usb.ts';

/** An expectation that does not hold. */
export interface FailedExpectation {
  /** From 0. */
  readonly index: number;
  readonly expectation: Expectation;
  /** What the policy says instead. */
  readonly verdict: PolicyVerdict;
  /** A sentence: what was expected, what happens, which rule decides and where it stands. */
  readonly message: string;
}

/** A port that a device without one is in; rules about ports are not meant then. */
const USUAL_PORT = 'dom0:1-1';
const USUAL_ID = '0000:0000';
/** What is judged at this moment may not depend on it. */
const USUAL_MOMENT = 'Mon 12:00';

/** Checks every expectation; gives those that do not hold. `observe` makes no difference: what rules say is asked. */
export function checkExpectations(policy: Policy): readonly FailedExpectation[] {
  return policy.expect.flatMap((expectation, index) => {
    const device = deviceOf(expectation.device);
    const context = contextOf(policy, expectation);
    const verdict = judge(policy, device, context);
    const wrong = whatIsWrong(policy, expectation, device, verdict);
    if (wrong === undefined) return [];
    return [{ index, expectation, verdict, message: `${sayExpected(expectation)} is expected, and ${wrong}.` }];
  });
}

/** Makes the device that an expectation describes. */
export function deviceOf(expected: ExpectedDevice): UsbDevice {
  const [vendorId = '0000', productId = '0000', encodedSerial = '', ids = ''] = (expected.id ?? USUAL_ID).split(':');
  const { backend, place: busid } = partsOfPlace(expected.port ?? USUAL_PORT);
  const untrustedSerial = expected.serial ?? decodeURIComponent(encodedSerial);
  const listed = expected.class?.map(exampleOf) ?? ids.split('.').filter((triple) => triple !== '');
  const interfaces = listed.toSorted();
  return {
    backend,
    busid,
    vendorId,
    productId,
    deviceId: formatDeviceId({ vendorId, productId, untrustedSerial, interfaces }),
    ...(untrustedSerial === '' ? {} : { untrustedSerial }),
    ...(expected.vendor === undefined ? {} : { untrustedManufacturer: expected.vendor }),
    ...(expected.product === undefined ? {} : { untrustedProduct: expected.product }),
    ...(expected.location === undefined ? {} : { location: expected.location }),
    ...(expected.attachedAs === undefined ? {} : { attachedAs: expected.attachedAs }),
    speed: expected.speed ?? 'high',
    interfaces,
    generation: 'expected',
  };
}

/** All VMs that the policy names are there; they run, unless the expectation says which do. */
function contextOf({ rules }: Policy, { running, at, to }: Expectation): PolicyContext {
  const names = new Set([
    ...rules.flatMap(({ action, when }) => [...vmsOf(action), ...(when?.running ?? [])]),
    ...vmsOf(to),
    ...(running ?? []),
  ]);
  const vms = new Map([...names].map((name) => [name, { isRunning: running?.includes(name) ?? true }]));
  return { vms, at: momentOf(at ?? USUAL_MOMENT) };
}

function whatIsWrong(
  policy: Policy,
  { to, by, at }: Expectation,
  device: UsbDevice,
  { action, rule }: PolicyVerdict,
): string | undefined {
  const decider = rule === undefined ? 'no rule decides' : `${formatRuleRef(rule)} decides`;
  if (!isSame(action, to)) return `it is ${formatAction(action)}: ${decider}`;
  if (by !== undefined && rule?.name !== by) return `${decider}, not "${by}"`;
  if (at !== undefined) return undefined;
  // Those that were asked: the one that decides, and those before it.
  const asked = rulesMatching(policy, device).filter(({ one }) => rule === undefined || one.ref.index <= rule.index);
  const timed = asked.find(({ one }) => one.isIn !== undefined)?.one.ref;
  return timed === undefined ? undefined : `that depends on the time, by ${formatRuleRef(timed)}: say "at: Mon 09:00"`;
}

function isSame(a: PolicyAction, b: PolicyAction): boolean {
  const [mine, yours] = [vmsOf(a), vmsOf(b)];
  return a.do === b.do && mine.length === yours.length && mine.every((vm) => yours.includes(vm));
}

function sayExpected({ device, to, by }: Expectation): string {
  const what = device.id ?? device.class?.join(' ') ?? device.product ?? device.port ?? 'the device';
  return `"${formatAction(to)}" for ${what}${by === undefined ? '' : ` by "${by}"`}`;
}
