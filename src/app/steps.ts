/** Executes the planner's steps: audit intent, driver, audit outcome, event. One executor for each kind of step. */

import type { Driver } from '../hypervisor/driver.ts';
import { failPoint } from '../lib/fail-point.ts';
import { asFault } from '../lib/fault.ts';
import type { Hold } from '../model/assignment.ts';
import type { Actor, AuditTrail } from '../model/audit.ts';
import type { Publish } from '../model/event.ts';
import type { VmUuid } from '../model/ids.ts';
import { deviceKey, formatSlot } from '../model/usb.ts';
import type { StepExecutors } from '../usb/plan-types.ts';

/** Who acts when Usher acts by itself. */
export const USHER: Actor = { uid: process.getuid?.() ?? 0, pid: process.pid, user: 'usher' };

export interface StepContext {
  readonly audit: AuditTrail;
  readonly publish: Publish;
  readonly driverOf: (vm: VmUuid) => Promise<Driver>;
  readonly nameOf: (vm: VmUuid) => string;
  readonly dropHold: (hold: Hold) => void;
}

/** Gives the executors; a step that fails has its outcome in the trail and throws. */
export function stepExecutors(context: StepContext): StepExecutors {
  const { audit, publish, driverOf, nameOf } = context;
  return {
    async attach({ vm, slot, device, why }, signal) {
      const key = deviceKey(device);
      const place = { vm: vm, name: nameOf(vm), slot: formatSlot(slot) };
      failPoint('attach.before-intent');
      const conclude = begin(audit, 'step.attach', place.name, key, {
        slot: place.slot,
        deviceId: device.deviceId,
        why,
      });
      failPoint('attach.after-intent');
      try {
        await (await driverOf(vm)).attachDevice(vm, slot, device, { signal });
      } catch (error) {
        conclude(error);
        throw error;
      }
      failPoint('attach.before-outcome');
      conclude();
      failPoint('attach.after-outcome');
      publish('usb.attached', { device: key, ...place, why });
    },
    async detach({ vm, attachment, why }, signal) {
      const key = deviceKey(attachment);
      const name = nameOf(vm);
      failPoint('detach.before-intent');
      const conclude = begin(audit, 'step.detach', name, key, { slot: formatSlot(attachment), why });
      failPoint('detach.after-intent');
      try {
        await (await driverOf(vm)).detachDevice(vm, attachment, { signal });
      } catch (error) {
        conclude(error);
        throw error;
      }
      failPoint('detach.before-outcome');
      conclude();
      failPoint('detach.after-outcome');
      publish('usb.detached', { device: key, vm, name, why });
    },
    async dropHold({ hold, why }) {
      const conclude = begin(audit, 'step.drop_hold', undefined, deviceKey(hold), { why });
      context.dropHold(hold);
      conclude();
    },
  };
}

/** Writes the intent; the function it returns writes the outcome, of an error if there is one. */
function begin(
  audit: AuditTrail,
  action: string,
  vm: string | undefined,
  device: string,
  details: Record<string, unknown>,
) {
  const intent = audit.intend({ actor: USHER, action, vm, device, details });
  return (error?: unknown) => {
    if (error === undefined) audit.conclude(intent, 'ok');
    else audit.conclude(intent, 'failed', { error: asFault(error).message, code: asFault(error).code });
  };
}
