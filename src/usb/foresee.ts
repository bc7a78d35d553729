/**
 * What would become of the devices if every step succeeded at once: for explanations, and for tests that the planner comes
 * to an end. Pure; nothing is done.
 */
import { questionOf, silenceOn } from '../model/assignment.ts';
import { CONTROLLER_SPEEDS, deviceKey } from '../model/usb.ts';
import { plan } from './plan.ts';
import type { ObservedVm, Plan, PlanInput, Step, StepOf } from './plan-types.ts';

/** More rounds than any device needs: out of wrong VMs one by one, then into the right one. */
const MAX_ROUNDS = 20;

/** What one more controller is taken to be: what is left out differs from driver to driver, but for the speeds. */
const NEXT_CONTROLLER = { version: 3, ports: 8, speeds: CONTROLLER_SPEEDS[3] } as const;

/** Gives the input as it would be after the steps. */
export function applySteps(input: PlanInput, steps: readonly Step[]): PlanInput {
  const vms = new Map(input.observed.vms.map((vm) => [vm.uuid, vm]));
  let { holds, questions } = input.desired;
  for (const step of steps) {
    switch (step.kind) {
      case 'dropHold':
        holds = holds.filter((hold) => hold !== step.hold);
        continue;
      case 'carryHold':
        holds = holds.map((hold) => (hold === step.hold ? step.as : hold));
        continue;
      case 'ask':
        questions = [...questions, questionOf(step.device, step.vms, input.wallNow, Number.MAX_SAFE_INTEGER)];
        continue;
      case 'endQuestion':
        questions = questions.filter((question) => question !== step.question);
        if (step.as === 'unanswered') holds = [...holds, silenceOn(step.question, input.wallNow)];
        continue;
    }
    const vm = vms.get(step.vm);
    if (vm !== undefined) vms.set(step.vm, applyStep(vm, step));
  }
  return {
    ...input,
    observed: { ...input.observed, vms: [...vms.values()] },
    desired: { ...input.desired, holds, questions },
  };
}

/**
 * Plans, applies and plans again until nothing is left to do, and gives the last plan. What is under way counts as done
 * and what failed as not tried. With `only`, for that one device.
 */
export function foresee(input: PlanInput, only?: string): Plan {
  const underWay = [...input.memory.values()].flatMap(({ inFlight }) => inFlight ?? []);
  let world: PlanInput = { ...applySteps(input, underWay), memory: new Map() };
  let next = plan(world, only);
  for (let round = 0; round < MAX_ROUNDS && next.steps.length > 0; round++) {
    world = applySteps(world, next.steps);
    next = plan(world, only);
  }
  return next;
}

function applyStep(vm: ObservedVm, step: StepOf<'attach' | 'detach' | 'addController'>): ObservedVm {
  if (vm.domain === undefined) return vm;
  if (step.kind === 'addController') {
    const { controllers } = vm.domain;
    const index = Math.max(-1, ...controllers.map((other) => other.index)) + 1;
    return { ...vm, domain: { ...vm.domain, controllers: [...controllers, { index, ...NEXT_CONTROLLER }] } };
  }
  const key = deviceKey(step.kind === 'attach' ? step.device : step.attachment);
  const slot = step.kind === 'attach' ? step.slot : step.attachment;
  const others = vm.domain.attachments.filter(
    (other) => deviceKey(other) !== key || other.controller !== slot.controller || other.port !== slot.port,
  );
  if (step.kind === 'detach') return { ...vm, domain: { ...vm.domain, attachments: others } };
  const { backend, busid, deviceId, generation } = step.device;
  const attachment = { vm: vm.uuid, ...step.slot, backend, busid, deviceId, generation };
  return { ...vm, domain: { ...vm.domain, attachments: [...others, attachment] } };
}
