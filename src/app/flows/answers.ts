/** What comes of questions about devices: the answer of a person holds the device in a VM, or out of every VM. */
import { Fault } from '../../lib/fault.ts';
import { listWords } from '../../lib/text.ts';
import { type Hold, placeOf, type Question } from '../../model/assignment.ts';
import { deviceKey, type UsbDevice } from '../../model/usb.ts';
import type { VmRecord } from '../../model/vm.ts';
import type { Engine } from '../engine.ts';

type Parts = Pick<Engine, 'inventory' | 'router' | 'fleet' | 'clock' | 'events'>;

/** `into`: the VM that may have the device; absent: none. `who` answered. */
export interface Answer {
  readonly into?: VmRecord | undefined;
  /** From now on without a question: the device is assigned to that VM, by its id, or by its place too when it has a twin. */
  readonly isRemembered?: boolean | undefined;
  readonly who: string;
}

/**
 * Gives the question that the answer is to.
 * @throws Fault `question.not_found`; `params.invalid` for an answer that it cannot have
 */
export function questionFor(
  { inventory, fleet }: Pick<Parts, 'inventory' | 'fleet'>,
  device: UsbDevice,
  { into, isRemembered = false }: Omit<Answer, 'who'>,
): Question {
  const key = deviceKey(device);
  const isAbout = (other: Question) => deviceKey(other) === key && other.generation === device.generation;
  const question = inventory.questions().find(isAbout);
  if (question === undefined)
    throw new Fault('question.not_found', { device: key }, { hint: 'See: usher usb pending' });
  if (into !== undefined && !question.vms.includes(into.uuid)) {
    const what = `the question is about VM ${listWords(question.vms.map((vm) => fleet.nameOf(vm)))}`;
    throw new Fault('params.invalid', { field: 'vm', what });
  }
  if (into === undefined && isRemembered) {
    const what = 'only a VM is remembered: to be asked no more, remove the assignment, or write a rule that denies it';
    throw new Fault('params.invalid', { field: 'isRemembered', what });
  }
  return question;
}

/**
 * Answers the question about a device; the router does the rest.
 * @throws Fault as {@link questionFor}; `question.not_found` also when another answer came first
 */
export function answer(engine: Parts, device: UsbDevice, { into, isRemembered = false, who }: Answer): void {
  const { inventory, router, clock, events } = engine;
  const key = deviceKey(device);
  const question = questionFor(engine, device, { into, isRemembered });
  const { backend, busid, generation } = question;
  const { deviceId } = device; // Of the same plug: that is what the question was found by.
  const held = { backend, busid, generation, deviceId, by: 'answer' as const, createdAt: clock.now() };
  const hold: Hold = into === undefined ? { ...held, kind: 'out' } : { ...held, kind: 'in', vm: into.uuid };
  if (!inventory.endQuestion(question, hold)) throw new Fault('question.not_found', { device: key });
  if (into !== undefined && isRemembered) remember(engine, device, into);
  events.publish('usb.answered', { device: key, answer: into?.name ?? 'no', who });
  router.hint('wishes');
}

function remember({ inventory, router }: Parts, device: UsbDevice, { uuid: vm }: VmRecord): void {
  const { deviceId } = device;
  const isTwin = (router.verdictOf(deviceKey(device))?.twins.length ?? 0) > 0;
  const pattern = isTwin ? { ...placeOf(device), deviceId } : { deviceId };
  inventory.putAssignment({ vm, pattern, mode: 'auto' });
}
