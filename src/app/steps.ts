/** Executes the planner's steps: audit intent, driver, audit outcome, event. One executor for each kind of step. */

import type { Driver } from '../hypervisor/driver.ts';
import { failPoint } from '../lib/fail-point.ts';
import { asFault, Fault } from '../lib/fault.ts';
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
      const place = { vm, name: nameOf(vm), slot: formatSlot(slot) };
      const details = { slot: place.slot, deviceId: device.deviceId, why };
      await audited(audit, 'attach', { vm: place.name, device: key, details }, async () => {
        await (await driverOf(vm)).attachDevice(vm, slot, device, { signal });
      });
      publish('usb.attached', { device: key, ...place, why });
    },
    async detach({ vm, attachment, why }, signal) {
      const key = deviceKey(attachment);
      const name = nameOf(vm);
      await audited(
        audit,
        'detach',
        { vm: name, device: key, details: { slot: formatSlot(attachment), why } },
        async () => {
          await (await driverOf(vm)).detachDevice(vm, attachment, { signal });
        },
      );
      publish('usb.detached', { device: key, vm, name, why });
    },
    async addController({ vm, why }, signal) {
      const name = nameOf(vm);
      await audited(audit, 'add_controller', { vm: name, details: { why } }, async () => {
        const driver = await driverOf(vm);
        const what = `the driver ${driver.name} adds none to a domain that is there`;
        if (driver.addController === undefined) throw new Fault('usb.controller_failed', { vm: name, what });
        const { index: controller, version, ports } = await driver.addController(vm, { signal });
        publish('usb.controller_added', { vm, name, controller, version, ports, why });
      });
    },
    async dropHold({ hold, why }) {
      await audited(audit, 'drop_hold', { device: deviceKey(hold), details: { why } }, async () =>
        context.dropHold(hold),
      );
    },
  };
}

type Subject = Pick<Parameters<AuditTrail['intend']>[0], 'vm' | 'device' | 'details'>;

/** Does a step between its intent and its outcome. */
async function audited(
  audit: AuditTrail,
  step: 'attach' | 'detach' | 'add_controller' | 'drop_hold',
  subject: Subject,
  work: () => Promise<void>,
): Promise<void> {
  const reach = (place: 'before-intent' | 'after-intent' | 'before-outcome' | 'after-outcome') => {
    if (step === 'attach' || step === 'detach') failPoint(`${step}.${place}`);
  };
  reach('before-intent');
  const intent = audit.intend({ actor: USHER, action: `step.${step}`, ...subject });
  reach('after-intent');
  try {
    await work();
  } catch (error) {
    const { message, code } = asFault(error);
    audit.conclude(intent, 'failed', { error: message, code });
    throw error;
  }
  reach('before-outcome');
  audit.conclude(intent, 'ok');
  reach('after-outcome');
}
