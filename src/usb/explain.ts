/** Says in sentences why a device is (not) where it is. Pure; what is said comes from the planner's verdict. */
import { listWords, printable } from '../lib/text.ts';
import { formatDevicePattern, type HoldOrigin } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { formatAction, formatRuleRef } from '../model/policy.ts';
import { deviceKey, formatSlot, type UsbDevice } from '../model/usb.ts';
import { listChanges, type PlannedControllers } from './changes.ts';
import { controllerKey, plan } from './plan.ts';
import type { Change, Decider, Loser, Outcome, PlanInput, Verdict } from './plan-types.ts';
import { HELD_OUT, whyLeft, whyWanted } from './reasons.ts';

export interface Explanation {
  readonly verdict: Verdict;
  /** The whole answer, sentence by sentence, harmless to show. */
  readonly because: readonly string[];
  readonly losers: readonly Loser[];
  readonly twins: readonly string[];
  readonly changes: readonly Change[];
}

/**
 * Explains a device, by `backend:busid`; `undefined` when it is neither plugged nor attached. `controllersOf`: what VMs
 * that do not run would have; without it no start is proposed.
 */
export function explain(
  input: PlanInput,
  key: string,
  controllersOf: PlannedControllers = () => [],
): Explanation | undefined {
  const verdict = plan(input).verdicts.find((other) => other.device === key);
  if (verdict === undefined) return undefined;
  const device = input.observed.devices.find((other) => deviceKey(other) === key);
  const nameOf = namesIn(input);
  const because = [
    sayWhere(verdict, device, nameOf),
    ...sayDecider(verdict.decider, verdict.isGone, nameOf),
    ...sayObserved(verdict, input.desired.isObserving === true),
    ...sayTwins(verdict, device, input.observed.devices),
    ...(isSettled(verdict) ? [] : sayFailures(input, key)),
    ...sayControllerFailures(input, verdict),
  ];
  const isFree = device !== undefined && device.guard === undefined;
  const changes = isFree ? listChanges(input, device, verdict, controllersOf) : [];
  return { verdict, because, losers: verdict.losers, twins: verdict.twins, changes };
}

/** Says a verdict in one sentence, for lists. */
export function summarize(verdict: Verdict, nameOf: (vm: VmUuid) => string): string {
  const { decider, outcome } = verdict;
  if (outcome.is === 'waiting') return printable(outcome.detail, 300);
  if ('stuck' in outcome && outcome.stuck !== undefined) return `it is stuck: ${printable(outcome.stuck, 300)}`;
  if ('needs' in outcome) return 'one more USB controller is added for it';
  if (outcome.is === 'asking') return 'a person is asked: usher usb pending';
  if (verdict.isGone) return 'it was unplugged';
  switch (decider.by) {
    case 'assignment':
      return `assignment ${decider.assignment.id}: ${formatDevicePattern(decider.assignment.pattern)}`;
    case 'hold':
      return decider.hold.kind === 'out' || decider.hold.vm === undefined
        ? HELD_OUT[decider.hold.by]
        : whyWanted(decider, nameOf(decider.hold.vm));
    case 'others':
      return 'attached by others than Usher';
    case 'observing':
      return 'it stays, for Usher only observes';
    case 'rule':
      return outcome.is === 'left' ? whyLeft(decider) : formatRuleRef(decider.rule);
    default:
      return whyLeft(decider);
  }
}

/** Says an outcome, or what a change gives, in a few words: `attached to VM work`. */
export function sayOutcome(
  outcome: Pick<Outcome, 'is'> & { readonly vm?: VmUuid; readonly vms?: readonly VmUuid[] },
  nameOf: (vm: VmUuid) => string,
): string {
  const name = outcome.vm === undefined ? '' : `VM ${nameOf(outcome.vm)}`;
  switch (outcome.is) {
    case 'attached':
      return `attached to ${name}`;
    case 'attaching':
      return `being attached to ${name}`;
    case 'waiting':
      return `waiting for ${name}`;
    case 'detaching':
      return `being detached from ${name}`;
    case 'asking':
      return `left with its backend until a person says whether VM ${listWords((outcome.vms ?? []).map(nameOf))} may have it`;
    case 'left':
      return 'left with its backend';
  }
}

/** Says what is under way, and why it does not end if that is known; `undefined` of a device that rests. */
export function sayUnderWay({ device, outcome }: Verdict, nameOf: (vm: VmUuid) => string): string | undefined {
  if (outcome.is !== 'attaching' && outcome.is !== 'detaching') return undefined;
  const { stuck } = outcome;
  return `${device} is ${sayOutcome(outcome, nameOf)}${stuck === undefined ? '' : `: ${printable(stuck, 300)}`}`;
}

/** Makes the function that gives a VM's name, or its uuid when there is no such VM. */
export function namesIn({ observed }: PlanInput): (vm: VmUuid) => string {
  const names = new Map(observed.vms.map(({ uuid, name }) => [uuid, name]));
  return (vm) => names.get(vm) ?? vm;
}

function sayWhere(verdict: Verdict, device: UsbDevice | undefined, nameOf: (vm: VmUuid) => string): string {
  const { outcome, isGone } = verdict;
  const where = sayOutcome(outcome, nameOf);
  const stuck = 'stuck' in outcome && outcome.stuck !== undefined ? `, and stuck: ${sentenceEnd(outcome.stuck)}` : '.';
  if (isGone) return `It was unplugged, and is still ${where}${stuck}`;
  if (device === undefined) return `It is ${where}; its backend cannot be read, so it is left alone.`;
  if (outcome.is === 'attached') return `It is ${where} at port ${formatSlot(outcome.slot)}${stuck}`;
  if (outcome.is === 'waiting') return `It is ${where}: ${sentenceEnd(outcome.detail)}`;
  if (outcome.is === 'asking') return `It is ${where}${sayUntil(outcome.until)}.`;
  if ('needs' in outcome) return `It is ${where}; the VM gets one more USB controller for it first${stuck}`;
  return `It is ${where}${stuck}`;
}

/** Ends a sentence with what may be half a sentence or, as an error's message, a whole one. */
function sentenceEnd(what: string): string {
  return `${printable(what, 300).replace(/\.$/, '')}.`;
}

function sayDecider(decider: Decider, isGone: boolean, nameOf: (vm: VmUuid) => string): string[] {
  switch (decider.by) {
    case 'guard':
      return decider.against === undefined
        ? [`It is never given to a VM: ${printable(decider.reason)}.`]
        : [`It is kept back: ${printable(decider.reason, 300)}.`, ...sayDecider(decider.against, isGone, nameOf)];
    case 'rule':
      return sayRule(decider);
    case 'hold': {
      const { kind, vm, by, createdAt } = decider.hold;
      const target = kind === 'out' ? undefined : vm;
      const done = SAYS_HOLD[by](target === undefined ? undefined : `VM ${nameOf(target)}`);
      return [`${done} on ${sayTime(createdAt)}: that holds until it is unplugged or released.`];
    }
    case 'assignment': {
      const { assignment, match } = decider;
      const pattern = formatDevicePattern(assignment.pattern);
      return [
        `Assignment ${assignment.id} (${pattern}) gives it to VM ${nameOf(assignment.vm)}: it matches by ${match.by}.`,
        TRUST[match.by],
      ];
    }
    case 'observing':
      return [`It stays in VM ${nameOf(decider.vm)}, for Usher only observes.`];
    case 'others':
      return [`Others than Usher attached it to VM ${nameOf(decider.vm)}, and nothing says that it belongs elsewhere.`];
    case 'nothing':
      return isGone
        ? []
        : ['Nothing decides about it: no assignment that matches attaches by itself, and no rule decides.'];
  }
}

function sayRule({ rule, said }: Extract<Decider, { by: 'rule' }>): string[] {
  const { action, matched, missingVms } = said;
  const does =
    action.do === 'deny'
      ? `denies it${action.reason === undefined ? '' : `: ${printable(action.reason, 300)}`}`
      : `says: ${formatAction(action)}`;
  const fields = matched.map(({ field, pattern, value, trust }) => `${field} ${pattern} (${value}, ${trust})`);
  return [
    `${formatRuleRef(rule).replace(/^r/, 'R')} ${does}.`,
    fields.length === 0 ? 'It matches every device.' : `It matches by ${listWords(fields, 'and')}.`,
    ...missingVms.map((vm) => `There is no VM ${vm}.`),
  ];
}

/** What the policy says and nobody does. */
function sayObserved({ decider, policy }: Verdict, isObserving: boolean): string[] {
  if (decider.by === 'rule' || decider.by === 'guard' || policy === undefined) return [];
  if (policy.rule === undefined) return isObserving ? ['No rule matches it.'] : [];
  return [
    `It is only observed: ${formatRuleRef(policy.rule)} says ${formatAction(policy.action)}, and nothing is done.`,
  ];
}

/** What was done, and by whom; without a VM the device is kept out of every VM. */
const SAYS_HOLD: Readonly<Record<HoldOrigin, (vm: string | undefined) => string>> = {
  hand: (vm) => `A person ${vm === undefined ? 'detached it' : `attached it to ${vm}`} by hand`,
  answer: (vm) => `A person was asked and said ${vm === undefined ? 'no' : `that ${vm} may have it`}`,
  silence: () => 'A person was asked, and nobody had answered in time',
};

const TRUST = {
  port: 'The port is what its backend says, whatever is plugged there: trusted.',
  location:
    'The location is what its backend says, whatever is plugged there and however the buses are numbered: trusted.',
  'device id': 'The device id is what the device says of itself, and another could say the same: claimed.',
  'port and device id': 'The port is what its backend says: trusted. The device id is what the device says of itself.',
  'location and device id':
    'The location is what its backend says: trusted. The device id is what the device says of itself.',
} as const;

function sayTwins({ twins }: Verdict, device: UsbDevice | undefined, all: readonly UsbDevice[]): string[] {
  if (twins.length === 0) return [];
  const have = twins.length === 1 ? 'has' : 'have';
  const locations = new Map(all.map((other) => [deviceKey(other), other.location]));
  const named = twins.map((twin) => {
    const location = locations.get(twin);
    return location === undefined ? twin : `${twin} (location ${location})`;
  });
  const same = `${listWords(named, 'and')} ${have} the same device id`;
  if (device?.location === undefined) return [`${same}: only ports tell them apart.`];
  return [`${same}, and this one is in location ${device.location}: only their places tell them apart.`];
}

/** Where it is it stays: what failed before is no matter any more. */
function isSettled({ outcome }: Verdict): boolean {
  return outcome.is === 'left' || (outcome.is === 'attached' && outcome.stuck === undefined);
}

function sayFailures({ memory, now }: PlanInput, key: string, what = 'It'): string[] {
  const { failures = 0, lastError, retryAt } = memory.get(key) ?? {};
  if (failures === 0 || lastError === undefined) return [];
  const next =
    retryAt === undefined || retryAt <= now ? '' : ` The next try comes in ${Math.ceil((retryAt - now) / 1000)} s.`;
  return [`${what} failed ${failures === 1 ? 'once' : `${failures} times in a row`}: ${sentenceEnd(lastError)}${next}`];
}

function sayControllerFailures(input: PlanInput, { outcome }: Verdict): string[] {
  if (outcome.is !== 'attaching' && outcome.is !== 'waiting') return [];
  const isAbout = outcome.is === 'attaching' ? outcome.needs !== undefined : outcome.for === 'controller';
  return isAbout ? sayFailures(input, controllerKey(outcome.vm), 'Adding a USB controller') : [];
}

function sayUntil(until: number | undefined): string {
  return until === undefined ? '' : `; without an answer by ${sayTime(until)} it stays there`;
}

function sayTime(at: number): string {
  return new Date(at).toISOString().replace('T', ' ').slice(0, 19);
}
