/** Who decides about a device: a guard, a person's hold, the most exact assignment, others, or nothing. Pure; plans no steps. */
import { type Assignment, type Hold, type Match, matchDevice } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { deviceKey, type UsbDevice, type UsbSlot } from '../model/usb.ts';
import type { Decider, Loser } from './plan-types.ts';

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
}

export interface Decision {
  readonly decider: Decider;
  /** Where the device is to be; absent: with its backend. */
  readonly target?: VmUuid;
  /** The port that a person asked for. */
  readonly slot?: UsbSlot;
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
  if (hold !== undefined) {
    const decider: Decider = { by: 'hold', hold };
    if (hold.kind === 'out' || hold.vm === undefined) {
      return { decider, losers: lost(claims, 'the device was detached by hand') };
    }
    const losers = lost(claims, `the device was attached to ${places.nameOf(hold.vm) ?? 'another VM'} by hand`);
    return { decider, target: hold.vm, ...(hold.slot === undefined ? {} : { slot: hold.slot }), losers };
  }
  const able = claims.filter(({ assignment }) => decides(assignment) && places.nameOf(assignment.vm) !== undefined);
  const [winner] = able.sort((a, b) => precedence(a, b, places).order);
  const losers = claims
    .filter((claim) => claim !== winner)
    .map((claim) => ({ ...claim, because: whyLost(claim, winner, places) }));
  if (winner === undefined && places.foreign !== undefined) {
    return { decider: { by: 'others', vm: places.foreign }, target: places.foreign, losers };
  }
  if (winner === undefined) return { decider: { by: 'nothing' }, losers };
  return { decider: { by: 'assignment', ...winner }, target: winner.assignment.vm, losers };
}

/**
 * Makes a function that finds the claims on a device. Assignments to one port, to one serial number or to one product are
 * looked up; only the others are tried one by one.
 */
export function indexClaims(assignments: readonly Assignment[]): (device: UsbDevice) => Claim[] {
  const byKey = new Map<string, Assignment[]>();
  const others: Assignment[] = [];
  for (const assignment of assignments) {
    const { port, deviceId = '' } = assignment.pattern;
    const keys = [...(port === undefined ? [] : [deviceKey(port)]), ...idKeys(deviceId)];
    const key = keys.find((candidate) => !candidate.includes('*'));
    const list = key === undefined ? others : byKey.get(key);
    if (list !== undefined) list.push(assignment);
    else if (key !== undefined) byKey.set(key, [assignment]);
  }
  return (device) => {
    const lists = [deviceKey(device), ...idKeys(device.deviceId)].map((key) => byKey.get(key) ?? []);
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

/** The parts of a device id that are looked up: `vid:pid:serial`, `vid:pid`. Never the same as a `backend:busid`. */
function idKeys(deviceId: string): string[] {
  if (deviceId === '') return [];
  const productEnd = deviceId.indexOf(':', deviceId.indexOf(':') + 1);
  return [deviceId.slice(0, deviceId.indexOf(':', productEnd + 1)), deviceId.slice(0, productEnd)];
}

/** `required` attaches like `auto` does, `ask` waits for a person like `manual` does. */
function decides(assignment: Assignment): boolean {
  return assignment.mode === 'auto' || assignment.mode === 'required';
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
