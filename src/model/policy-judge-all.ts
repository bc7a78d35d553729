/**
 * Judges the devices of a host together: who gets the places of rules that take only so many. Pure, and without memory:
 * where devices are now is all that it needs to leave them there.
 */
import type { Policy, PolicyAction } from './policy.ts';
import {
  actionOf,
  type MatchingRule,
  type PolicyContext,
  type PolicyVerdict,
  type RuleReview,
  reviewRules,
  rulesMatching,
  verdictOf,
  vmsOf,
} from './policy-judge.ts';
import { deviceKey, type UsbDevice } from './usb.ts';

export type SharedContext = Omit<PolicyContext, 'countOf'>;

/** Names the VM that a device is in now. */
export type VmOf = (device: UsbDevice) => string | undefined;

/** The verdicts of devices that were judged together. */
export interface Judgement {
  /** By `backend:busid`. */
  readonly verdicts: ReadonlyMap<string, PolicyVerdict>;
  /** Tells of every rule why it did, or did not, decide about one of the devices. */
  review(device: UsbDevice): readonly RuleReview[];
}

/**
 * Judges devices together, counting for `atMost`. The places of a rule go first to those that are in its VM and would
 * have to leave it, then to others that are in it, then by key: what is somewhere stays when something else comes.
 */
export function judgeAll(
  policy: Policy,
  devices: readonly UsbDevice[],
  context: SharedContext,
  vmOf: VmOf = () => undefined,
): Judgement {
  return new Round(policy, devices, context, vmOf);
}

interface Candidate {
  readonly key: string;
  /** Where it is now. */
  readonly vm: string | undefined;
  /** The rules that could decide, in their order: those that take only so many, up to the first that takes all. */
  readonly options: readonly MatchingRule[];
  /** The option that it stands before. */
  at: number;
}

/**
 * INVARIANTS: rules have their turns in order, and who finds no place goes on to a later rule, never back: when a rule
 * has its turn, all who want its places are there, and nobody has one of them yet.
 */
class Round implements Judgement {
  readonly verdicts = new Map<string, PolicyVerdict>();
  readonly #policy: Policy;
  readonly #context: PolicyContext;
  /** By rule, then by VM. */
  readonly #counts = new Map<number, Map<string, number>>();
  readonly #waiting = new Map<number, Candidate[]>();

  constructor(policy: Policy, devices: readonly UsbDevice[], context: SharedContext, vmOf: VmOf) {
    this.#policy = policy;
    this.#context = { ...context, countOf: (rule, vm) => this.#counts.get(rule)?.get(vm) ?? 0 };
    for (const device of devices) {
      const options = optionsOf(rulesMatching(policy, device, context.namesOf), context);
      this.#queue({ key: deviceKey(device), vm: vmOf(device), options, at: 0 });
    }
    for (const index of policy.rules.keys()) {
      for (const candidate of inTurn(this.#waiting.get(index) ?? [])) this.#serve(candidate);
    }
  }

  review(device: UsbDevice): readonly RuleReview[] {
    const own = this.verdicts.get(deviceKey(device))?.rule?.index;
    // The place that it has is not in its own way.
    const countOf = (rule: number, vm: string) => (rule === own ? 0 : (this.#counts.get(rule)?.get(vm) ?? 0));
    return reviewRules(this.#policy, device, { ...this.#context, countOf });
  }

  /** Has the candidate stand before its next rule, or serves it at once where it need not wait for others. */
  #queue(candidate: Candidate): void {
    const next = candidate.options[candidate.at]?.one;
    if (next?.rule.when?.atMost === undefined) {
      this.#serve(candidate);
      return;
    }
    const others = this.#waiting.get(next.ref.index);
    if (others === undefined) this.#waiting.set(next.ref.index, [candidate]);
    else others.push(candidate);
  }

  #serve(candidate: Candidate): void {
    const match = candidate.options[candidate.at];
    if (match === undefined) {
      this.verdicts.set(candidate.key, verdictOf(this.#policy, this.#context));
      return;
    }
    const action = actionOf(match.one, this.#context);
    if (action === undefined) {
      candidate.at++;
      this.#queue(candidate);
      return;
    }
    this.verdicts.set(candidate.key, verdictOf(this.#policy, this.#context, { match, action }));
    const place = match.one.rule.when?.atMost === undefined ? undefined : placeOf(action, candidate.vm);
    if (place !== undefined) this.#count(match.one.ref.index, place);
  }

  #count(rule: number, vm: string): void {
    const counts = this.#counts.get(rule) ?? new Map<string, number>();
    counts.set(vm, (counts.get(vm) ?? 0) + 1);
    this.#counts.set(rule, counts);
  }
}

function optionsOf(matches: readonly MatchingRule[], context: SharedContext): readonly MatchingRule[] {
  const options: MatchingRule[] = [];
  for (const match of matches) {
    // Nothing is counted yet: what does not hold now is no matter of places.
    if (actionOf(match.one, context) === undefined) continue;
    options.push(match);
    if (match.one.rule.when?.atMost === undefined) break;
  }
  return options;
}

function inTurn(candidates: readonly Candidate[]): readonly Candidate[] {
  const ranks: Candidate[][] = [[], [], []];
  for (const candidate of candidates) ranks[rankOf(candidate)]?.push(candidate);
  return ranks.flatMap((equals) => equals.sort((a, b) => (a.key < b.key ? -1 : 1)));
}

function rankOf({ vm, options, at }: Candidate): 0 | 1 | 2 {
  const wants = (match: MatchingRule | undefined) =>
    vm !== undefined && match !== undefined && vmsOf(match.one.rule.action).includes(vm);
  if (!wants(options[at])) return 2;
  return wants(options[at + 1]) ? 1 : 0;
}

/** The VM in which a device takes a place. An open question takes none; one that was answered does, where the device is. */
function placeOf(action: PolicyAction, vm: string | undefined): string | undefined {
  if (action.do === 'attach') return action.vm;
  return action.do === 'ask' && vm !== undefined && action.vms.includes(vm) ? vm : undefined;
}
