/**
 * The policy: rules of which the first that matches decides, and what it expects of itself. Types and words only, as
 * plain data; docs/policy.md explains them. Patterns are texts in the one form that their readers give.
 */
import type { AttachedAs, UsbSpeed } from './usb.ts';

/** `observe`: rules decide nothing, and it is told what they would. */
export const POLICY_MODES = ['enforce', 'observe'] as const;
export type PolicyMode = (typeof POLICY_MODES)[number];

export interface Policy {
  readonly mode: PolicyMode;
  readonly rules: readonly Rule[];
  readonly expect: readonly Expectation[];
}

/** A daemon without a policy file has this one. */
export const EMPTY_POLICY: Policy = { mode: 'enforce', rules: [], expect: [] };

export interface Rule {
  /** Unique in its policy. */
  readonly name?: string;
  /** All of the given fields have to match; without any, every device does. */
  readonly match: RuleMatch;
  readonly action: RuleAction;
  readonly when?: RuleConditions;
  /** Where it stands in its file, from 1. */
  readonly line?: number;
}

/** Each field takes patterns, of which any may match. `*` stands for any run of characters. */
export interface RuleMatch {
  /** `vid:pid:serial:interfaces`, four fields. */
  readonly id?: readonly string[];
  /** Ids of one device that changes its id while it stays in its port; each names vendor and product. */
  readonly switches?: readonly string[];
  readonly vendor?: readonly string[];
  readonly product?: readonly string[];
  /** Percent-encoded, as in a device id. */
  readonly serial?: readonly string[];
  readonly class?: ClassMatch;
  /** `backend:busid`. */
  readonly port?: readonly string[];
  /** `controller/ports`: `0000:00:14.0/1.4`. */
  readonly location?: readonly string[];
  /** `backend:usb3` (a root hub) or `backend:3-1` (a hub): whatever is below it, however deep. */
  readonly hub?: readonly string[];
  readonly speed?: readonly UsbSpeed[];
  readonly backend?: readonly string[];
  readonly attachedAs?: readonly AttachedAs[];
}

/** Each item is a word, such as `storage`, or hex digits, such as `0806`; see policy-class.ts. */
export interface ClassMatch {
  /** At least one interface is one of these. */
  readonly any?: readonly string[];
  /** For each of these there is an interface. */
  readonly all?: readonly string[];
  /** There are interfaces, and each is one of these. */
  readonly only?: readonly string[];
}

export const CLASS_PARTS = ['any', 'all', 'only'] as const satisfies readonly (keyof ClassMatch)[];

export type MatchField = keyof RuleMatch;

/**
 * Every field, in the order in which it is looked at and told, and how far what is matched is to be trusted: the host
 * says it, or the device claims it.
 */
export const FIELD_TRUST: { readonly [F in MatchField]-?: 'trusted' | 'claimed' } = {
  port: 'trusted',
  hub: 'trusted',
  location: 'trusted',
  backend: 'trusted',
  attachedAs: 'trusted',
  speed: 'trusted',
  id: 'claimed',
  switches: 'claimed',
  serial: 'claimed',
  class: 'claimed',
  vendor: 'claimed',
  product: 'claimed',
};
export const MATCH_FIELDS = Object.keys(FIELD_TRUST) as readonly MatchField[];

/** VMs are named, as in a policy file. */
export type RuleAction =
  | { readonly do: 'attach'; readonly vm: string }
  | { readonly do: 'ask'; readonly vms: readonly string[] }
  | { readonly do: 'deny'; readonly reason?: string };
export const RULE_ACTIONS = ['attach', 'ask', 'deny'] as const satisfies readonly RuleAction['do'][];

/** What a policy says of a device: a rule's action, or nothing. */
export type PolicyAction = RuleAction | { readonly do: 'nothing' };

/** All of them have to hold; a rule whose conditions do not hold is passed over. */
export interface RuleConditions {
  /** VMs that run, by name. */
  readonly running?: readonly string[];
  /** `22:00-06:00`, local time: from the first minute on, up to the last, which is not in it. One of them is enough. */
  readonly time?: readonly string[];
  /** A range of hours that passes midnight belongs to the day on which it begins. */
  readonly days?: readonly Day[];
  /** So many devices at once are in the VM by this rule, at most. */
  readonly atMost?: number;
}

export const DAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] as const;
export type Day = (typeof DAYS)[number];

/** A device that one might plug, and what has to become of it. */
export interface Expectation {
  readonly device: ExpectedDevice;
  readonly to: PolicyAction;
  /** The name of the rule that has to decide. */
  readonly by?: string;
  /** The VMs that run; without it every VM does. */
  readonly running?: readonly string[];
  /** `Mon 09:00`; without it no rule that decides may depend on the time. */
  readonly at?: string;
  readonly line?: number;
}

/** What is not given is usual: a device of the host in port 1-1, high speed, without names. */
export interface ExpectedDevice {
  /** `vid:pid[:serial[:interfaces]]`, without `*`. */
  readonly id?: string;
  readonly serial?: string;
  readonly vendor?: string;
  readonly product?: string;
  /** What its interfaces are, as in a rule; instead of those in `id`. */
  readonly class?: readonly string[];
  readonly port?: string;
  readonly location?: string;
  readonly speed?: UsbSpeed;
  readonly attachedAs?: AttachedAs;
}

/** Names a rule: by its place in the policy, from 0, and by what people call it. */
export interface RuleRef {
  readonly index: number;
  readonly name?: string;
  readonly line?: number;
}

/** Gives the reference of rule number `index` (from 0). */
export function refOf({ name, line }: Rule, index: number): RuleRef {
  return { index, ...(name === undefined ? {} : { name }), ...(line === undefined ? {} : { line }) };
}

/** Says a rule for people: `rule 3 "modem" (line 17)`. */
export function formatRuleRef({ index, name, line }: RuleRef): string {
  const called = name === undefined ? '' : ` "${name}"`;
  return `rule ${index + 1}${called}${line === undefined ? '' : ` (line ${line})`}`;
}

/** Writes an action as an expectation has it: `work`, `ask work, play`, `deny`, `nothing`. */
export function formatAction(action: PolicyAction): string {
  switch (action.do) {
    case 'attach':
      // A VM may be called like an action.
      return ['ask', 'deny', 'nothing', 'attach'].includes(action.vm) ? `attach ${action.vm}` : action.vm;
    case 'ask':
      return `ask ${action.vms.join(', ')}`;
    default:
      return action.do;
  }
}
