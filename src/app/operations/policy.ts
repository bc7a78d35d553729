/** The operations `policy.*`, and those about changes on trial. */
import type { OperationName } from '../../api/operations.ts';
import { diffPolicies } from '../../model/policy-diff.ts';
import { deviceKey } from '../../model/usb.ts';
import { deviceFinder } from '../device-finder.ts';
import type { Handlers } from '../dispatch.ts';
import type { Engine } from '../engine.ts';
import { judgeNow, offeredDevices, policyContext, ruleView, trialView, verdictView } from '../policy-views.ts';

type PolicyHandlers = Pick<Handlers, Extract<OperationName, `policy.${string}` | `trial.${string}`>>;

/** Gives the handlers. */
export function policyHandlers(engine: Engine): PolicyHandlers {
  const { policy, trials } = engine;
  const { find } = deviceFinder(engine);
  const summary = () => {
    const { rules, expect, mode } = policy.policy;
    const observing = engine.observeReason;
    return {
      file: policy.file,
      mode,
      rules: rules.length,
      expectations: expect.length,
      warnings: policy.held.warnings,
      ...(policy.problem === undefined ? {} : { problem: policy.problem }),
      ...(observing === undefined ? {} : { observing }),
    };
  };

  return {
    async 'policy.show'() {
      const { printPolicy } = await import('../../config/policy-print.ts');
      return { ...summary(), text: printPolicy(policy.policy) };
    },
    async 'policy.load'({ confirmSeconds }) {
      const overtaken = trials.ofPolicy();
      const before = overtaken?.undo.do === 'policy' ? overtaken.undo.text : (policy.held.text ?? '');
      const trial =
        confirmSeconds === undefined
          ? undefined
          : trials.begin('another policy was loaded', { do: 'policy', text: before }, confirmSeconds);
      try {
        await policy.load();
      } catch (error) {
        if (trial !== undefined) trials.withdraw(trial.id);
        throw error;
      }
      if (overtaken !== undefined) trials.withdraw(overtaken.id);
      return { ...summary(), ...(trial === undefined ? {} : { trial: trialView(trial) }) };
    },
    async 'policy.diff'({ content }) {
      const { policy: after, warnings } = await policy.parse(content);
      const { shared, vmOf } = policyContext(engine);
      const changes = diffPolicies(policy.policy, after, offeredDevices(engine), shared, vmOf);
      return {
        changes: changes.map(({ device, before, after: then, isEffective }) => ({
          device,
          before: verdictView(before),
          after: verdictView(then),
          isEffective,
        })),
        warnings,
      };
    },
    async 'policy.explain'({ device: ref }, { signal }) {
      const device = await find(ref, signal);
      const judgement = judgeNow(engine, policy.policy);
      const verdict = judgement.verdicts.get(deviceKey(device));
      return {
        device: deviceKey(device),
        ...(verdict === undefined ? {} : { verdict: verdictView(verdict) }),
        rules: judgement.review(device).map(ruleView),
        ...(device.guard === undefined ? {} : { guard: device.guard }),
      };
    },
    async 'trial.list'() {
      return trials.list().map(trialView);
    },
    async 'trial.confirm'({ trial }) {
      return trials.confirm(trial).map(trialView);
    },
  };
}
