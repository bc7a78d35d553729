/** Who decides about a device: a guard, a person's hold, the most exact assignment, others, or nothing. Pure; plans no steps. */
import { type Assignment, type Hold, locationKey, locationOf, type Match, matchDevice } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import type { Rule, RuleRef } from '../model/policy.ts';
import { effectOf, type PolicyVerdict, vmsOf } from '../model/policy-judge.ts';
import { deviceKey, type UsbDevice, type UsbSlot } from '../model/usb.ts';
import { objectionTo, objectionToStay, type Wanted } from './objections.ts';
import type { Decider, Loser } from './plan-types.ts';
import { HELD_OUT } from './reasons.ts';

/** An assignment that matches a device. */
export interface Claim {
  readonly assignment: Assignment;
  readonly match: Match;
}

/** What the decision needs to know of VMs. */
export interface Places {
  /** The VM that the device is in, or on its way to. */
  readonly here: VmUuid | undefined;
  /** The VM that others than Usher attached it to. */
  readonly foreign: VmUuid | undefined;
  /** The VM's name; `undefined` when there is no such VM. */
  nameOf(vm: VmUuid): string | undefined;
  /** Whether the VM runs and takes devices now. */
  canHave(vm: VmUuid): boolean;
  /** The VM of that name. */
  uuidOf(name: string): VmUuid | undefined;
  /** What the policy says of the device; `undefined` without rules. */
  policySays(): PolicyVerdict | undefined;
  ruleOf(ref: RuleRef): Rule | undefined;
  /** Whether only a person's hand moves anything. */
  readonly isObserving: boolean;
}

export interface Decision {
  readonly decider: Decider;
  /** Where the device is to be; absent: with its backend. */
  readonly target?: VmUuid;
  /** The port that a person asked for. */
  readonly slot?: UsbSlot;
  /** VMs that it may go to when a person says so; absent: nobody need be asked. */
  readonly ask?: readonly VmUuid[];
  /** What the policy says, when it was asked. */
  readonly policy?: PolicyVerdict;
  readonly losers: readonly Loser[];
}

/** Decides about a present device. `hold` is one of this plug. */
export function decide(device: UsbDevice, hold: Hold | undefined, claims: readonly Claim[], places: Places): Decision {
  if (device.guard !== undefined) {
    return {
      decider: { by: 'guard', reason: device.guard },
      losers: lost(claims, 'the device is never given to a VM'),
    };
  }
  const wish = wishFor(hold, claims, places);
  const { decider, target, ask } = wish;
  const isToMove = ask !== undefined || (target !== undefined && target !== places.here);
  const wanted = isToMove || target !== undefined ? wantedBy(decider, places) : undefined;
  if (wanted === undefined) return wish;
  const objection = isToMove ? objectionTo(device, wanted) : objectionToStay(device, wanted);
  return objection === undefined ? wish : keptBack(wish, objection.says);
}

/** Makes of a decision that gives a device to a VM one that keeps it back, for a reason (the half of a sentence). */
export function keptBack({ decider, losers, policy }: Decision, reason: string): Decision {
  const kept = decider.by === 'assignment' ? lost([decider], reason) : [];
  return {
    decider: { by: 'guard', reason, against: decider },
    losers: [...kept, ...losers],
    ...(policy === undefined ? {} : { policy }),
  };
}

/** Who wants the device where, whatever speaks against it. */
function wishFor(hold: Hold | undefined, claims: readonly Claim[], places: Places): Decision {
  if (hold !== undefined) return ofHold(hold, claims, places);
  if (places.isObserving) return observed(claims, places);
  const able = claims.filter((claim) => isAble(claim, places));
  const [winner] = able.sort((a, b) => precedence(a, b, places).order);
  const losers = claims
    .filter((claim) => claim !== winner)
    .map((claim) => ({ ...claim, because: whyLost(claim, winner, places) }));
  if (winner === undefined && places.foreign !== undefined) {
    return { decider: { by: 'others', vm: places.foreign }, target: places.foreign, losers };
  }
  if (winner === undefined) return ofPolicy(places, losers);
  const decider: Decider = { by: 'assignment', ...winner };
  const { vm, mode } = winner.assignment;
  if (mode !== 'ask' || vm === places.here) return { decider, target: vm, losers };
  const asking = able.filter(({ assignment, match }) => assignment.mode === 'ask' && match.rank === winner.match.rank);
  return { decider, ask: [...new Set(asking.map(({ assignment }) => assignment.vm))], losers };
}

function ofHold(hold: Hold, claims: readonly Claim[], places: Places): Decision {
  const decider: Decider = { by: 'hold', hold };
  if (hold.kind === 'out' || hold.vm === undefined) {
    return { decider, losers: lost(claims, `the device was ${HELD_OUT[hold.by]}`) };
  }
  const how = hold.by === 'answer' ? 'when it was asked for' : 'by hand';
  const losers = lost(claims, `the device was attached to ${places.nameOf(hold.vm) ?? 'another VM'} ${how}`);
  return { decider, target: hold.vm, ...(hold.slot === undefined ? {} : { slot: hold.slot }), losers };
}

/** What is somewhere stays there, and what is nowhere too. */
function observed(claims: readonly Claim[], { here, foreign, policySays }: Places): Decision {
  const losers = lost(claims, 'Usher only observes');
  const policy = policySays();
  return {
    decider: here === undefined ? { by: 'nothing' } : { by: here === foreign ? 'others' : 'observing', vm: here },
    ...(here === undefined ? {} : { target: here }),
    ...(policy === undefined ? {} : { policy }),
    losers,
  };
}

/** No assignment decides: what the policy says, if it is to be done and the VM is there. */
function ofPolicy({ here, policySays, uuidOf }: Places, losers: readonly Loser[]): Decision {
  const policy = policySays();
  if (policy?.rule === undefined) return { decider: { by: 'nothing' }, losers };
  const { rule } = policy;
  const action = effectOf(policy);
  const decider: Decider = action.do === 'nothing' ? { by: 'nothing' } : { by: 'rule', rule, said: policy };
  const vms = vmsOf(action).flatMap((name) => uuidOf(name) ?? []);
  const target = action.do === 'attach' ? vms[0] : vms.find((vm) => vm === here);
  if (target !== undefined) return { decider, target, policy, losers };
  return { decider, policy, losers, ...(action.do === 'ask' && vms.length > 0 ? { ask: vms } : {}) };
}

function wantedBy(decider: Decider, { ruleOf }: Places): Wanted | undefined {
  switch (decider.by) {
    case 'hold':
      return { by: 'hand', isForced: decider.hold.isForced === true };
    case 'assignment':
      return { by: 'assignment', pattern: decider.assignment.pattern };
    case 'rule': {
      const rule = ruleOf(decider.rule);
      return rule === undefined ? undefined : { by: 'rule', rule };
    }
    default:
      return undefined;
  }
}

/** Tells whether an assignment decides about a device by itself, or has a person asked. */
export function isAble({ assignment }: Claim, { nameOf }: Pick<Places, 'nameOf'>): boolean {
  return decides(assignment) && nameOf(assignment.vm) !== undefined;
}

/** What an index finds for a plug is remembered, for as many plugs: a device can come with one serial number after another. */
const MOST_REMEMBERED = 4096;
type FindClaims = (device: UsbDevice) => readonly Claim[];
const indexes = new WeakMap<readonly Assignment[], FindClaims>();

/** Gives what finds the claims on a device: made once for a list of assignments, which must not change any more. */
export function claimsAmong(assignments: readonly Assignment[]): FindClaims {
  const made = indexes.get(assignments);
  if (made !== undefined) return made;
  const find = indexClaims(assignments);
  const known = new Map<string, readonly Claim[]>();
  const remembering: FindClaims = (device) => {
    const location = locationOf(device);
    const key = `${deviceKey(device)} ${device.deviceId} ${location === undefined ? '' : locationKey(location)}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    if (known.size >= MOST_REMEMBERED) known.clear();
    const found = find(device);
    known.set(key, found);
    return found;
  };
  indexes.set(assignments, remembering);
  return remembering;
}

/**
 * Makes a function that finds the claims on a device. Assignments to one port, location, serial number or product are
 * looked up; only the others are tried one by one.
 */
function indexClaims(assignments: readonly Assignment[]): (device: UsbDevice) => Claim[] {
  const byKey = new Map<string, Assignment[]>();
  const others: Assignment[] = [];
  for (const assignment of assignments) {
    const { port, location, deviceId = '' } = assignment.pattern;
    const keys = [...(port === undefined ? [] : [deviceKey(port)]), ...locationKeys(location), ...idKeys(deviceId)];
    const key = keys.find((candidate) => !candidate.includes('*'));
    const list = key === undefined ? others : byKey.get(key);
    if (list !== undefined) list.push(assignment);
    else if (key !== undefined) byKey.set(key, [assignment]);
  }
  return (device) => {
    const keys = [deviceKey(device), ...locationKeys(locationOf(device)), ...idKeys(device.deviceId)];
    const lists = keys.map((key) => byKey.get(key) ?? []);
    const claims: Claim[] = [];
    for (const candidates of [...lists, others]) {
      for (const assignment of candidates) {
        const match = matchDevice(assignment.pattern, device);
        if (match !== undefined) claims.push({ assignment, match });
      }
    }
    return claims.sort((a, b) => a.assignment.id - b.assignment.id);
  };
}

function locationKeys(location: Assignment['pattern']['location']): string[] {
  return location === undefined ? [] : [locationKey(location)];
}

/** The parts of a device id that are looked up: `vid:pid:serial`, `vid:pid`. Never the same as a `backend:busid`. */
function idKeys(deviceId: string): string[] {
  if (deviceId === '') return [];
  const productEnd = deviceId.indexOf(':', deviceId.indexOf(':') + 1);
  return [deviceId.slice(0, deviceId.indexOf(':', productEnd + 1)), deviceId.slice(0, productEnd)];
}

/** `required` attaches as `auto` does, `ask` when a person says so; `manual` waits for a command. */
function decides(assignment: Assignment): boolean {
  return assignment.mode !== 'manual';
}

/** Compares two claims: negative order when the first goes before; `by` tells what made the difference. */
function precedence(a: Claim, b: Claim, places: Places): { order: number; by: 'exact' | 'here' | 'able' | 'older' } {
  if (a.match.rank !== b.match.rank) return { order: b.match.rank - a.match.rank, by: 'exact' };
  const isHere = (claim: Claim) => Number(claim.assignment.vm === places.here);
  if (isHere(a) !== isHere(b)) return { order: isHere(b) - isHere(a), by: 'here' };
  const isAble = (claim: Claim) => Number(places.canHave(claim.assignment.vm));
  if (isAble(a) !== isAble(b)) return { order: isAble(b) - isAble(a), by: 'able' };
  return { order: a.assignment.id - b.assignment.id, by: 'older' };
}

function whyLost(claim: Claim, winner: Claim | undefined, places: Places): string {
  const { assignment } = claim;
  if (places.nameOf(assignment.vm) === undefined) return 'its VM is no longer there';
  if (!decides(assignment) || winner === undefined) return `${assignment.mode}: waits for \`usher usb attach\``;
  const other = `assignment ${winner.assignment.id}`;
  switch (precedence(winner, claim, places).by) {
    case 'exact':
      return `${other} is more exact: it matches by ${winner.match.by}`;
    case 'here':
      return `${other} is as exact, and the device is where that one wants it`;
    case 'able':
      return `${other} is as exact, and its VM can have the device now`;
    case 'older':
      return `${other} is as exact, and older`;
  }
}

function lost(claims: readonly Claim[], because: string): Loser[] {
  return claims.map((claim) => ({ ...claim, because }));
}
