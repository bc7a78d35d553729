/** What a new policy would change for the devices that are there: before it is loaded, or to try one. Pure. */
import type { Policy, PolicyAction, Rule } from './policy.ts';
import { effectOf, type PolicyVerdict } from './policy-judge.ts';
import { judgeAll, type SharedContext, type VmOf } from './policy-judge-all.ts';
import { deviceKey, type UsbDevice } from './usb.ts';

/** A device about which the two policies do not say the same. */
export interface PolicyChange {
  /** `backend:busid`. */
  readonly device: string;
  readonly before: PolicyVerdict;
  readonly after: PolicyVerdict;
  /** Whether something else is done; otherwise another rule says the same, or what is said is only observed. */
  readonly isEffective: boolean;
}

/** Compares what two policies say of the devices, sorted by device; what is the same is left out. */
export function diffPolicies(
  before: Policy,
  after: Policy,
  devices: readonly UsbDevice[],
  context: SharedContext,
  vmOf?: VmOf,
): readonly PolicyChange[] {
  const [old, young] = [before, after].map((policy) => ({
    verdicts: judgeAll(policy, devices, context, vmOf).verdicts,
    names: policy.rules.map(nameOf),
  }));
  const changes = devices.map(deviceKey).flatMap((device) => {
    const [was, is] = [old?.verdicts.get(device), young?.verdicts.get(device)];
    if (was === undefined || is === undefined) return [];
    const isSameRule = old?.names[was.rule?.index ?? -1] === young?.names[is.rule?.index ?? -1];
    const isEffective = !isSame(effectOf(was), effectOf(is));
    if (isSameRule && !isEffective && was.mode === is.mode && isSame(was.action, is.action)) return [];
    return [{ device, before: was, after: is, isEffective }];
  });
  return changes.sort((a, b) => (a.device < b.device ? -1 : 1));
}

/** What stays of a rule when it is moved: its name, or all of it. */
function nameOf({ line: _, ...rule }: Rule): string {
  return rule.name ?? JSON.stringify(rule);
}

function isSame(a: PolicyAction, b: PolicyAction): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
