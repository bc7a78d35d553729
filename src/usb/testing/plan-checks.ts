/** What every plan has to keep, whatever it was made from, and what has to be so when nothing is left to do. For tests. */
import assert from 'node:assert/strict';
import type { Hold } from '../../model/assignment.ts';
import type { UsbDevice } from '../../model/usb.ts';
import { deviceKey, formatSlot } from '../../model/usb.ts';
import { stepKey } from '../plan.ts';
import type { ObservedVm, Plan, PlanInput, Step, StepOf } from '../plan-types.ts';
import { maySwitch, SWITCH_MS } from '../switched.ts';
import { outcomeWord, wordOf } from '../test-world.ts';
import { placesOf, slotsOf } from './changing-world.ts';
import { canTake, goodAttachments, holdOf, isSwitched, type Ought, oughtOf } from './ought.ts';

/** Checks that each step is legal at once, and that it is one that ought to be. */
export function checkPlan(input: PlanInput, { steps, verdicts }: Plan): void {
  assert.equal(new Set(steps.map(stepKey)).size, steps.length, 'one step a device');
  for (const step of steps) {
    const word = wordOf(step);
    assert.equal(input.memory.get(stepKey(step))?.inFlight, undefined, `${word}: nothing while a step is under way`);
    const device = input.observed.devices.find((one) => deviceKey(one) === stepKey(step));
    const ought = device === undefined ? {} : oughtOf(input, device, verdicts);
    if (step.kind === 'attach') checkAttach(input, step, ought);
    if (step.kind === 'detach') checkDetach(input, step, device, ought);
    if (step.kind === 'addController') checkNeed(input, steps, step);
    if (step.kind === 'dropHold') checkDrop(input, step.hold);
    if (step.kind === 'carryHold') {
      const next = input.observed.devices.find((one) => deviceKey(one) === deviceKey(step.hold));
      assert.ok(next !== undefined && isSwitched(input.desired.policy, step.hold, next), `${word}: it changed its id`);
      assert.deepEqual([step.as.generation, step.as.deviceId], [next.generation, next.deviceId], word);
      assert.equal(step.as.isForced, undefined, `${word}: force is for what it was`);
    }
    if (step.kind === 'ask') {
      const { ask = [] } = oughtOf(input, step.device, verdicts);
      const able = ask.filter((vm) => canTake(vmOf(input, vm)));
      assert.deepEqual(new Set(step.vms), new Set(able), `${word}: those are asked about that could have it`);
      assert.deepEqual(placesOf(input, deviceKey(step.device)), [], `${word}: attached nowhere`);
    }
    if (step.kind === 'endQuestion' && step.as === 'unanswered') {
      assert.ok(step.question.expiresAt <= input.wallNow, `${word}: there was time to answer`);
    }
  }
  const slots = steps.flatMap((step) => (step.kind === 'attach' ? [`${step.vm} ${formatSlot(step.slot)}`] : []));
  assert.equal(new Set(slots).size, slots.length, 'no port twice');
}

/** Checks what may never be the case: a device in two VMs, or on its way into a second one, and a port with two devices. */
export function checkWorld(input: PlanInput, places: readonly string[]): void {
  for (const place of places) assert.ok(placesOf(input, place).length <= 1, `${place} is in two VMs`);
  for (const vm of input.observed.vms) {
    const slots = slotsOf(input, vm);
    assert.equal(new Set(slots).size, slots.length, `a port of ${vm.name} has two devices`);
  }
}

/** Checks, where nothing is left to do, that every device is where it ought to be, and that no wish is left over or lost. */
export function checkRest(input: PlanInput, { verdicts }: Plan): void {
  const { backends, devices, vms } = input.observed;
  for (const hold of input.desired.holds) assert.ok(!isOver(input, hold), 'no hold outlives its plug');
  for (const one of input.desired.questions) assert.ok(!backends.has(one.backend), 'no question is left open');
  for (const { uuid, name, isOpen, isReleasing, domain } of vms) {
    if (isReleasing) assert.deepEqual(domain?.attachments ?? [], [], `${name} has given all back`);
    for (const one of isOpen ? (domain?.attachments ?? []) : []) {
      if (!backends.has(one.backend)) continue;
      const device = devices.find((other) => deviceKey(other) === deviceKey(one));
      const good = device === undefined ? [] : goodAttachments(input, device);
      const isGood = good.some(({ vm, port }) => vm === uuid && port === one.port);
      assert.ok(isGood, `${name} has what is not there: ${deviceKey(one)}`);
    }
  }
  for (const device of devices) {
    if (!backends.has(device.backend)) continue;
    const key = deviceKey(device);
    const verdict = verdicts.find((one) => one.device === key);
    const ought = oughtOf(input, device, verdicts);
    const isAt = vms.filter(({ domain }) => domain?.attachments.some((one) => deviceKey(one) === key));
    const says = `${key}, ${outcomeWord(verdict?.outcome)}, is in ${isAt.map(({ name }) => name).join() || 'no VM'}`;
    // What is in a closed VM cannot leave it now.
    if (isAt.some(({ isOpen, isReleasing }) => !isOpen && !isReleasing)) continue;
    if (ought.vm === undefined) assert.deepEqual(isAt, [], `${says} and ought to be in none`);
    else if (isAt.length > 0) assert.equal(isAt[0]?.uuid, ought.vm, `${says} and ought to be in another`);
    else assert.ok(cannotHave(input, device, vmOf(input, ought.vm)), `${says}, and its VM could have it`);
  }
}

function cannotHave(input: PlanInput, device: UsbDevice, vm: ObservedVm | undefined): boolean {
  if (vm?.domain === undefined || !canTake(vm) || vm.domain.usbTrouble !== undefined) return true;
  const taken = vm.domain.attachments.map(formatSlot);
  const hold = holdOf(input, device);
  if (hold?.slot !== undefined) {
    const { controller, port } = hold.slot;
    const isThere = vm.domain.controllers.some(({ index, ports }) => index === controller && port <= ports);
    return !isThere || taken.includes(formatSlot(hold.slot));
  }
  return !vm.domain.canAddController && taken.length === portsOf(vm);
}

function checkAttach(input: PlanInput, step: StepOf<'attach'>, ought: Ought): void {
  const word = wordOf(step);
  const vm = vmOf(input, step.vm);
  assert.ok(input.observed.backends.has(step.device.backend), `${word}: the backend can be read`);
  assert.ok(vm?.domain !== undefined && canTake(vm), `${word}: the VM is open`);
  assert.equal(step.device.guard, undefined, `${word}: no guarded device`);
  assert.equal(step.vm, ought.vm, `${word}: it ought to be there`);
  assert.deepEqual(placesOf(input, stepKey(step)), [], `${word}: attached nowhere`);
  assert.ok(!slotsOf(input, vm).includes(formatSlot(step.slot)), `${word}: a free port`);
  const own = vm.domain.controllers.find(({ index }) => index === step.slot.controller);
  assert.ok(step.slot.port >= 1 && step.slot.port <= (own?.ports ?? 0), `${word}: a port that is there`);
}

function checkDetach(input: PlanInput, step: StepOf<'detach'>, device: UsbDevice | undefined, ought: Ought): void {
  const word = wordOf(step);
  const vm = vmOf(input, step.vm);
  assert.ok(vm?.isReleasing || input.observed.backends.has(step.attachment.backend), `${word}: it can be read`);
  assert.ok(vm?.domain !== undefined && (vm.isOpen || vm.isReleasing), `${word}: the VM is open`);
  const good = device === undefined ? [] : goodAttachments(input, device);
  const isTwice = good.filter((one) => one.vm === step.vm).length > 1;
  const isWrong = !good.includes(step.attachment) || step.vm !== ought.vm;
  assert.ok(vm.isReleasing || isTwice || isWrong, `${word}: it ought to stay`);
}

/** A hold ends with its plug, unless the device is, or may soon be, back under another id. */
function checkDrop(input: PlanInput, hold: Hold): void {
  const { observed, desired, goneSince, now } = input;
  const word = `dropHold ${deviceKey(hold)}`;
  assert.ok(isOver(input, hold), `${word}: the plug is over`);
  const device = observed.devices.find((one) => deviceKey(one) === deviceKey(hold));
  if (device !== undefined) assert.ok(!isSwitched(desired.policy, hold, device), `${word}: it only changed its id`);
  else if (maySwitch(hold, desired.policy)) {
    const since = goneSince?.get(`hold ${deviceKey(hold)} ${hold.generation}`) ?? now;
    assert.ok(now - since >= SWITCH_MS, `${word}: it may come back under another id`);
  }
}

/** A controller is added for a VM that is open, can have one, and has no port left after this plan's steps. */
function checkNeed(input: PlanInput, steps: readonly Step[], { vm: uuid }: StepOf<'addController'>): void {
  const vm = vmOf(input, uuid);
  assert.ok(vm?.domain?.canAddController && canTake(vm), 'the VM can have one more');
  const underWay = [...steps, ...[...input.memory.values()].flatMap(({ inFlight }) => inFlight ?? [])];
  const taken = new Set(slotsOf(input, vm));
  for (const step of underWay) {
    if (step.kind === 'attach' && step.vm === uuid) taken.add(formatSlot(step.slot));
    if (step.kind === 'detach' && step.vm === uuid) taken.add(formatSlot(step.attachment));
  }
  assert.equal(taken.size, portsOf(vm), 'no port is left');
}

function portsOf({ domain }: ObservedVm): number {
  return (domain?.controllers ?? []).reduce((sum, { ports }) => sum + ports, 0);
}

function vmOf({ observed }: PlanInput, uuid: string): ObservedVm | undefined {
  return observed.vms.find((vm) => vm.uuid === uuid);
}

/** Whether the plug that a hold is about is known to be over. */
function isOver(
  { observed }: PlanInput,
  hold: { readonly backend: string; readonly busid: string; readonly generation: string },
): boolean {
  const device = observed.devices.find((one) => deviceKey(one) === deviceKey(hold));
  return observed.backends.has(hold.backend) && device?.generation !== hold.generation;
}
