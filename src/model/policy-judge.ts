/**
 * What a policy says of a device: the first rule that matches and whose conditions hold decides. Pure. Guards, holds and
 * assignments go before rules and are not known here.
 */
import { listWords } from '../lib/text.ts';
import { type Policy, type PolicyAction, type PolicyMode, type Rule, type RuleRef, refOf } from './policy.ts';
import { indexRules, type RuleIndex } from './policy-index.ts';
import { type CompiledField, compileMatch, type FieldMatch, type NamesOf, Subject } from './policy-match.ts';
import { compileTime, formatMoment, type LocalTime } from './policy-time.ts';
import type { UsbDevice } from './usb.ts';

/** What rules may ask about besides the device. */
export interface PolicyContext {
  /** All VMs by name. */
  readonly vms: ReadonlyMap<string, { readonly isRunning: boolean }>;
  readonly at: LocalTime;
  /** Tells how many devices other than this one are in the VM by the rule (its index); without it none are. */
  readonly countOf?: ((rule: number, vm: string) => number) | undefined;
  /** Without it the names are what the device says of itself. */
  readonly namesOf?: NamesOf | undefined;
}

/** What a policy says of a device, and why. */
export interface PolicyVerdict {
  /** `observe`: nothing is to be done about it. */
  readonly mode: PolicyMode;
  /** Of `ask`, the VMs that may be offered now. */
  readonly action: PolicyAction;
  /** The rule that decides; absent: none does, and nothing is the fallback. */
  readonly rule?: RuleRef;
  readonly matched: readonly FieldMatch[];
  /** VMs of the action that there are not. */
  readonly missingVms: readonly string[];
}

export type Condition = 'running' | 'time' | 'atMost';

/** Why a rule did, or did not, decide. */
export type RuleReview = { readonly rule: RuleRef } & (
  | { readonly is: 'decides'; readonly matched: readonly FieldMatch[] }
  /** `failed`: the first field that does not match. */
  | { readonly is: 'no match'; readonly failed: readonly FieldMatch[] }
  /** It matches, and this does not hold; `detail` is a sentence without its full stop. */
  | { readonly is: 'condition'; readonly condition: Condition; readonly detail: string }
  /** A former rule decides; `wouldDecide`: without that one this one might. */
  | { readonly is: 'too late'; readonly by: RuleRef; readonly wouldDecide: boolean }
);

/** A rule that is ready to be asked. */
export interface CompiledRule {
  readonly ref: RuleRef;
  readonly rule: Rule;
  readonly fields: readonly CompiledField[];
  readonly isIn: ((at: LocalTime) => boolean) | undefined;
}

/** A policy that is ready to be asked; nobody else looks into it. */
export interface CompiledPolicy {
  readonly rules: readonly CompiledRule[];
  readonly candidates: RuleIndex;
  /** What matches a device is worked out once, as a device never changes: one that is plugged again is another object. */
  readonly known: WeakMap<
    UsbDevice,
    { readonly namesOf: NamesOf | undefined; readonly matches: readonly MatchingRule[] }
  >;
}

/** A rule that matches a device, whether or not its conditions hold. */
export class MatchingRule {
  readonly one: CompiledRule;
  readonly #subject: Subject;
  #matched: readonly FieldMatch[] | undefined;

  constructor(one: CompiledRule, subject: Subject) {
    this.one = one;
    this.#subject = subject;
  }

  /** What of it matches. */
  get matched(): readonly FieldMatch[] {
    this.#matched ??= this.one.fields.flatMap((field) => field.describe(this.#subject));
    return this.#matched;
  }
}

const compiled = new WeakMap<Policy, CompiledPolicy>();

/** Compiles a policy ahead of its first use; what is compiled is kept for as long as the policy is. */
export function compilePolicy(policy: Policy): CompiledPolicy {
  let one = compiled.get(policy);
  if (one === undefined) {
    const rules = policy.rules.map((rule, index) => ({
      ref: refOf(rule, index),
      rule,
      fields: compileMatch(rule.match),
      isIn: compileTime(rule.when ?? {}),
    }));
    one = { rules, candidates: indexRules(policy.rules), known: new WeakMap() };
    compiled.set(policy, one);
  }
  return one;
}

/** Judges one device. Of several at once ask `judgeAll`, which counts for `atMost`. */
export function judge(policy: Policy, device: UsbDevice, context: PolicyContext): PolicyVerdict {
  for (const match of rulesMatching(policy, device, context.namesOf)) {
    const action = actionOf(match.one, context);
    if (action !== undefined) return verdictOf(policy, context, { match, action });
  }
  return verdictOf(policy, context);
}

/** Gives the rules that match, in their order, whether or not their conditions hold. */
export function rulesMatching(policy: Policy, device: UsbDevice, namesOf?: NamesOf): readonly MatchingRule[] {
  const { rules, candidates, known } = compilePolicy(policy);
  const before = known.get(device);
  if (before !== undefined && before.namesOf === namesOf) return before.matches;
  const subject = new Subject(device, namesOf);
  const matches: MatchingRule[] = [];
  for (const index of candidates(subject)) {
    const one = rules[index];
    if (one !== undefined && isMatch(one, subject)) matches.push(new MatchingRule(one, subject));
  }
  known.set(device, { namesOf, matches });
  return matches;
}

/** Gives the verdict of the rule that decides; without one, of the fallback. */
export function verdictOf(
  { mode }: Policy,
  { vms }: Pick<PolicyContext, 'vms'>,
  decided?: { readonly match: MatchingRule; readonly action: PolicyAction },
): PolicyVerdict {
  if (decided === undefined) return { mode, action: { do: 'nothing' }, matched: [], missingVms: [] };
  const { match, action } = decided;
  const missingVms = vmsOf(match.one.rule.action).filter((vm) => !vms.has(vm));
  return { mode, action, rule: match.one.ref, matched: match.matched, missingVms };
}

/** Tells of every rule, in their order, why it does or does not decide about the device. */
export function reviewRules(policy: Policy, device: UsbDevice, context: PolicyContext): readonly RuleReview[] {
  const subject = new Subject(device, context.namesOf);
  let decider: RuleRef | undefined;
  return compilePolicy(policy).rules.map((one): RuleReview => {
    const rule = one.ref;
    const failed = one.fields.find((field) => !field.matches(subject));
    const action = actionOf(one, context);
    if (decider !== undefined) {
      return { rule, is: 'too late', by: decider, wouldDecide: failed === undefined && action !== undefined };
    }
    if (failed !== undefined) return { rule, is: 'no match', failed: failed.describe(subject) };
    if (action === undefined) return { rule, is: 'condition', ...whyPassedOver(one, context) };
    decider = rule;
    return { rule, is: 'decides', matched: one.fields.flatMap((field) => field.describe(subject)) };
  });
}

/** Gives the VMs that an action names. */
export function vmsOf(action: PolicyAction): readonly string[] {
  if (action.do === 'attach') return [action.vm];
  return action.do === 'ask' ? action.vms : [];
}

/** Gives what is to be done: nothing, when the policy only observes. */
export function effectOf({ mode, action }: PolicyVerdict): PolicyAction {
  return mode === 'enforce' ? action : { do: 'nothing' };
}

/**
 * Gives the action of a rule whose conditions hold, `undefined` otherwise. A VM that there is not is no reason to pass the
 * rule over: the next one might give the device to a VM that this rule is there to keep it from.
 */
export function actionOf({ ref, rule, isIn }: CompiledRule, context: PolicyContext): PolicyAction | undefined {
  const { action, when } = rule;
  if (when !== undefined && (idleVm(rule, context) !== undefined || isIn?.(context.at) === false)) return undefined;
  if (action.do === 'deny') return action;
  const { countOf } = context;
  const { atMost } = when ?? {};
  const hasRoom = (vm: string) => atMost === undefined || countOf === undefined || countOf(ref.index, vm) < atMost;
  if (action.do === 'attach') return hasRoom(action.vm) ? action : undefined;
  const withRoom = action.vms.filter(hasRoom);
  return withRoom.length === 0 ? undefined : { do: 'ask', vms: withRoom.filter((vm) => context.vms.has(vm)) };
}

/** Says which condition of a rule does not hold; legal when one does not. */
function whyPassedOver(
  { rule, isIn }: CompiledRule,
  context: PolicyContext,
): { readonly condition: Condition; readonly detail: string } {
  const { action, when } = rule;
  const idle = idleVm(rule, context);
  if (idle !== undefined) {
    const detail = context.vms.has(idle) ? `VM ${idle} does not run` : `there is no VM ${idle}`;
    return { condition: 'running', detail };
  }
  if (isIn?.(context.at) === false) {
    const wanted = [...(when?.time ?? []), ...(when?.days ?? [])].join(', ');
    return { condition: 'time', detail: `it is ${formatMoment(context.at)}, and the rule holds at ${wanted}` };
  }
  const vms = vmsOf(action);
  const full = `${listWords(vms, 'and')} ${vms.length === 1 ? 'has' : 'have'}`;
  return { condition: 'atMost', detail: `VM ${full} ${when?.atMost} by this rule already, and that is the most` };
}

function idleVm({ when }: Rule, { vms }: PolicyContext): string | undefined {
  return when?.running?.find((vm) => vms.get(vm)?.isRunning !== true);
}

function isMatch({ fields }: CompiledRule, subject: Subject): boolean {
  for (const field of fields) if (!field.matches(subject)) return false;
  return true;
}
