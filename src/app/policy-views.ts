/** Makes the shapes that operations answer with about rules, and asks the policy about the devices that are there. */
import type { PolicyVerdictView, RuleView, TrialView } from '../api/views.ts';
import type { StoredTrial } from '../inventory/trial-table.ts';
import { listWords, printable } from '../lib/text.ts';
import { formatAction, formatRuleRef, type Policy } from '../model/policy.ts';
import type { PolicyVerdict, RuleReview } from '../model/policy-judge.ts';
import { type Judgement, judgeAll, type SharedContext, type VmOf } from '../model/policy-judge-all.ts';
import type { FieldMatch } from '../model/policy-match.ts';
import { localTimeOf } from '../model/policy-time.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import type { Engine } from './engine.ts';

type Parts = Pick<Engine, 'router' | 'clock' | 'names'>;

/** What rules may ask about besides the device, as of now. */
export function policyContext({ router, clock, names }: Parts): {
  readonly shared: SharedContext;
  readonly vmOf: VmOf;
} {
  const { observed } = router.planInput();
  const places = new Map(
    observed.vms.flatMap(({ name, domain }) => (domain?.attachments ?? []).map((one) => [deviceKey(one), name])),
  );
  return {
    shared: {
      vms: new Map(observed.vms.map(({ name, domain }) => [name, { isRunning: domain !== undefined }])),
      at: localTimeOf(clock.now()),
      namesOf: names.namesOf,
    },
    vmOf: (device) => places.get(deviceKey(device)),
  };
}

/** Gives the devices that rules may have something to say about. */
export function offeredDevices({ router }: Pick<Engine, 'router'>): readonly UsbDevice[] {
  return router.devices.filter(({ guard }) => guard === undefined);
}

/** Judges the devices that are there. */
export function judgeNow(engine: Parts, policy: Policy): Judgement {
  const { shared, vmOf } = policyContext(engine);
  return judgeAll(policy, offeredDevices(engine), shared, vmOf);
}

/** Gives a change on trial. */
export function trialView({ id, what, until }: StoredTrial): TrialView {
  return { id, what, until: new Date(until).toISOString() };
}

/** Gives what the policy says of a device. */
export function verdictView({ mode, action, rule, matched, missingVms }: PolicyVerdict): PolicyVerdictView {
  return {
    mode,
    action: formatAction(action),
    ...(rule === undefined ? {} : { rule: formatRuleRef(rule) }),
    matched: matched.map(sayField),
    missingVms,
  };
}

/** Gives why a rule does, or does not, decide. */
export function ruleView(review: RuleReview): RuleView {
  return { rule: formatRuleRef(review.rule), decides: review.is === 'decides', because: sayReview(review) };
}

function sayReview(review: RuleReview): string {
  switch (review.is) {
    case 'decides':
      return review.matched.length === 0
        ? 'it matches every device'
        : `it matches by ${listWords(review.matched.map(sayField), 'and')}`;
    case 'no match':
      return `it does not match: ${review.failed.map(sayFailed).join(', ')}`;
    case 'condition':
      return `it matches, but ${review.detail}`;
    case 'too late':
      return `${formatRuleRef(review.by)} decides before it${review.wouldDecide ? '; it would decide otherwise' : ''}`;
  }
}

function sayField({ field, pattern, value, trust }: FieldMatch): string {
  return `${field} ${pattern} (${printable(value, 120)}, ${trust})`;
}

function sayFailed({ field, pattern, value }: FieldMatch): string {
  return `${field} is ${value === '' ? 'not known' : printable(value, 120)}, not ${pattern}`;
}
