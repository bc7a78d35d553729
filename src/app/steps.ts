/** Executes the planner's steps: audit intent, driver, audit outcome, event. One executor for each kind of step. */

import type { Driver } from '../hypervisor/driver.ts';
import type { Inventory } from '../inventory/inventory.ts';
import type { Clock } from '../lib/clock.ts';
import { failPoint } from '../lib/fail-point.ts';
import { asFault, Fault } from '../lib/fault.ts';
import { questionOf, silenceOn } from '../model/assignment.ts';
import type { Actor, AuditState, Because, GroupedTrail, Intent } from '../model/audit.ts';
import type { Publish } from '../model/event.ts';
import type { VmUuid } from '../model/ids.ts';
import { deviceKey, formatSlot, type UsbDevice } from '../model/usb.ts';
import type { Decider, StepExecutors } from '../usb/plan-types.ts';

/** Who acts when Usher acts by itself. */
export const USHER: Actor = { uid: process.getuid?.() ?? 0, pid: process.pid, user: 'usher' };

export interface StepContext {
  readonly audit: GroupedTrail;
  readonly publish: Publish;
  readonly driverOf: (vm: VmUuid) => Promise<Driver>;
  readonly nameOf: (vm: VmUuid) => string;
  readonly inventory: Pick<Inventory, 'dropHold' | 'carryHold' | 'putQuestion' | 'endQuestion'>;
  readonly clock: Clock;
  readonly askTimeoutMs: number;
  /** Sees to it that the host has not begun to use the device, and remembers what it made of it. @throws Fault `usb.kept_back` */
  readonly beforeAttach: (device: UsbDevice, vm: string) => Promise<void>;
  /** Has a look whether the device works on the host again; waits for nothing. */
  readonly afterDetach: (device: Pick<UsbDevice, 'backend' | 'busid'>) => void;
}

/** Gives the executors; a step that fails has its outcome in the trail and throws. */
export function stepExecutors(context: StepContext): StepExecutors {
  const { audit, publish, driverOf, nameOf, inventory, clock, askTimeoutMs } = context;
  return {
    async attach({ vm, slot, device, why, decider }, signal) {
      const key = deviceKey(device);
      const place = { vm, name: nameOf(vm), slot: formatSlot(slot) };
      const inVm = { vm: place.name, slot: place.slot };
      const details = { slot: place.slot, deviceId: device.deviceId, why };
      const subject = { vm: place.name, device: key, details, because: becauseOf(decider, why), before: NOWHERE };
      await audited(audit, 'attach', { ...subject, after: inVm }, async () => {
        await context.beforeAttach(device, nameOf(vm));
        await (await driverOf(vm)).attachDevice(vm, slot, device, { signal });
      });
      publish('usb.attached', { device: key, ...place, why });
    },
    async detach({ vm, attachment, why, decider }, signal) {
      const key = deviceKey(attachment);
      const name = nameOf(vm);
      const slot = formatSlot(attachment);
      const details = { slot, deviceId: attachment.deviceId, why };
      const subject = { vm: name, device: key, details, because: becauseOf(decider, why), before: { vm: name, slot } };
      await audited(audit, 'detach', { ...subject, after: NOWHERE }, async () => {
        await (await driverOf(vm)).detachDevice(vm, attachment, { signal });
      });
      publish('usb.detached', { device: key, vm, name, why });
      context.afterDetach(attachment);
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
      const before = { held: hold.vm === undefined ? 'out' : `in ${nameOf(hold.vm)}` };
      await audited(audit, 'drop_hold', { device: deviceKey(hold), details: { why }, before }, async () =>
        inventory.dropHold(hold),
      );
    },
    async carryHold({ hold, as, why }) {
      const details = { from: hold.deviceId, to: as.deviceId, why };
      await audited(audit, 'carry_hold', { device: deviceKey(hold), details }, async () => {
        inventory.carryHold(hold, as);
      });
    },
    async ask({ device, vms, why }) {
      const [key, names, now] = [deviceKey(device), vms.map(nameOf), clock.now()];
      const question = questionOf(device, vms, now, now + askTimeoutMs);
      const details = { vms: names, deviceId: device.deviceId, until: question.expiresAt, why };
      await audited(audit, 'ask', { device: key, details }, async () => inventory.putQuestion(question));
      publish('usb.asked', { device: key, deviceId: device.deviceId, vms: names, until: question.expiresAt, why });
    },
    async endQuestion({ question, as, why }) {
      const key = deviceKey(question);
      const hold = as === 'unanswered' ? silenceOn(question, clock.now()) : undefined;
      await audited(audit, 'end_question', { device: key, details: { as, why } }, async () => {
        inventory.endQuestion(question, hold);
      });
      publish('usb.answered', { device: key, answer: as });
    },
  };
}

/** How things stand with a device that is in no VM. */
const NOWHERE: AuditState = { vm: null };

type Subject = Pick<Intent, 'vm' | 'device' | 'details' | 'because' | 'before'>;

/** Makes what the trail says about who decided. */
function becauseOf(decider: Decider | undefined, says: string): Because | undefined {
  if (decider === undefined) return undefined;
  if (decider.by === 'rule') {
    const { name, index, line } = decider.rule;
    const at = line === undefined ? {} : { at: `policy.yaml:${line}` };
    return { by: 'rule', says, rule: name ?? `rule ${index + 1}`, ...at };
  }
  if (decider.by !== 'assignment') return { by: decider.by, says };
  return { by: 'assignment', says, assignment: decider.assignment.id };
}

/** Does a step between its intent and its outcome. */
async function audited(
  audit: GroupedTrail,
  step: 'attach' | 'detach' | 'add_controller' | 'drop_hold' | 'carry_hold' | 'ask' | 'end_question',
  { after, ...subject }: Subject & { readonly after?: AuditState },
  work: () => Promise<void>,
): Promise<void> {
  const reach = (place: 'before-intent' | 'after-intent' | 'before-outcome' | 'after-outcome') => {
    if (step === 'attach' || step === 'detach') failPoint(`${step}.${place}`);
  };
  reach('before-intent');
  const intent = await audit.intend({ actor: USHER, action: `step.${step}`, ...subject });
  reach('after-intent');
  try {
    await work();
  } catch (error) {
    const { message, code } = asFault(error);
    await audit.conclude({ intent, outcome: 'failed', details: { error: message, code } });
    throw error;
  }
  reach('before-outcome');
  await audit.conclude({ intent, outcome: 'ok', after });
  reach('after-outcome');
}
