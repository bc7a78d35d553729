/**
 * What is wrong with a policy that can be read: rules that never decide, rules that match nothing, VMs that there are
 * not, expectations that do not hold. Pure; where it stands in the file is told by policy-file.ts in config.
 */
import { nearest } from '../lib/text.ts';
import { formatRuleRef, type Policy, type RuleMatch, refOf } from './policy.ts';
import { decidesBefore, findContradiction } from './policy-cover.ts';
import { checkExpectations } from './policy-expect.ts';
import { vmsOf } from './policy-judge.ts';

export interface Finding {
  /** An error keeps the policy from being loaded. */
  readonly severity: 'error' | 'warning';
  /** What it is about: `rules.3`, `rules.3.match.class`, `rules.3.when.running.0`, `expect.0`; numbers from 0. */
  readonly path: string;
  /** A sentence. */
  readonly message: string;
}

/** Comparing all pairs of rules ends here, in comparisons of patterns: far beyond what a person writes. */
const MAX_COMPARISONS = 5_000_000;

/** Gives all findings. `vms`: the names of all VMs; without it nothing is said of VMs. */
export function checkPolicy(policy: Policy, vms?: ReadonlySet<string>): readonly Finding[] {
  return [
    ...contradictions(policy),
    ...unreachable(policy),
    ...(vms === undefined ? [] : unknownVms(policy, vms)),
    ...checkExpectations(policy).map(
      ({ index, message }): Finding => ({ severity: 'error', path: `expect.${index}`, message }),
    ),
  ];
}

function contradictions({ rules }: Policy): readonly Finding[] {
  return rules.flatMap(({ match }, i): Finding[] => {
    const fields = findContradiction(match);
    if (fields === undefined) return [];
    const [one, other] = fields;
    const what =
      one === other ? `"${one}" asks for what excludes itself` : `"${one}" and "${other}" exclude each other`;
    return [{ severity: 'error', path: `rules.${i}.match.${one}`, message: `No device matches this rule: ${what}.` }];
  });
}

function unreachable({ rules }: Policy): readonly Finding[] {
  const findings: Finding[] = [];
  const weights = rules.map(({ match }) => 1 + countPatterns(match));
  let budget = MAX_COMPARISONS;
  for (const [i, later] of rules.entries()) {
    if (findContradiction(later.match) !== undefined) continue;
    const first = rules.slice(0, i).findIndex((former, j) => {
      budget -= (weights[i] ?? 1) * (weights[j] ?? 1);
      return budget > 0 && decidesBefore(former, later);
    });
    const former = rules[first];
    if (former !== undefined) {
      const message = `This rule never decides: ${formatRuleRef(refOf(former, first))} matches whatever it matches.`;
      findings.push({ severity: 'warning', path: `rules.${i}`, message });
    }
    if (budget <= 0) {
      const message = 'Rules from here on were not compared with those before them: there are too many patterns.';
      return [...findings, { severity: 'warning', path: `rules.${i}`, message }];
    }
  }
  return findings;
}

function countPatterns({ class: classes = {}, ...fields }: RuleMatch): number {
  return [...Object.values(fields), ...Object.values(classes)].flat().length;
}

function unknownVms({ rules, expect }: Policy, vms: ReadonlySet<string>): readonly Finding[] {
  const named = [
    ...rules.flatMap(({ action, when }, i) => [
      ...vmsOf(action).map((vm, j) => ({ vm, path: `rules.${i}.${action.do}.${j}` })),
      ...(when?.running ?? []).map((vm, j) => ({ vm, path: `rules.${i}.when.running.${j}` })),
    ]),
    ...expect.flatMap(({ to, running }, i) => [
      ...vmsOf(to).map((vm) => ({ vm, path: `expect.${i}.to` })),
      ...(running ?? []).map((vm, j) => ({ vm, path: `expect.${i}.running.${j}` })),
    ]),
  ];
  return named.flatMap(({ vm, path }): Finding[] => {
    if (vms.has(vm)) return [];
    const meant = nearest(vm, vms);
    const guess = meant === undefined ? '' : ` Did you mean "${meant}"?`;
    return [{ severity: 'warning', path, message: `There is no VM "${vm}".${guess}` }];
  });
}
