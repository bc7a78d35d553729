/**
 * What a mutating operation would do, said without doing it: refusals as faults, the way of a VM, and where devices would
 * go in the end, by the planner that would move them. Nothing is stored, asked or started.
 */
import type { OperationName, Params } from '../api/operations.ts';
import { isPreviewed, type PreviewedOperation } from '../api/previewed.ts';
import type { PreviewView } from '../api/views.ts';
import type { Controller } from '../hypervisor/driver.ts';
import type { DraftedVm, NewVm } from '../inventory/inventory.ts';
import { Fault } from '../lib/fault.ts';
import { type Assignment, matchDevice, parseDevicePattern } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { deviceKey, parseDeviceRef, parseSlot, type UsbDevice } from '../model/usb.ts';
import type { VmRecord } from '../model/vm.ts';
import { passageOf, type Verb } from '../monitor/states.ts';
import { applyChange } from '../usb/changes.ts';
import { sayOutcome } from '../usb/explain.ts';
import { foresee } from '../usb/foresee.ts';
import type { Change, PlanInput, Verdict } from '../usb/plan-types.ts';
import { deviceFinder } from './device-finder.ts';
import type { Engine } from './engine.ts';
import { adoptStranger } from './flows/adopt.ts';
import { questionFor } from './flows/answers.ts';
import { seenNow, whyNotByHand } from './flows/by-hand.ts';
import { checkRequired } from './flows/required.ts';
import { demandBoard } from './operations/vm-board.ts';

/** One preview for each operation of the list: a missing one does not compile. */
export type Previews = {
  readonly [O in PreviewedOperation]: (params: Params<O>, signal: AbortSignal) => Promise<readonly string[]>;
};

/** Gives the previews. Each throws the fault that the operation would throw, as far as that can be known before. */
export function previews(engine: Engine): Previews {
  const { inventory, router, fleet } = engine;
  const { find, controllersOf } = deviceFinder(engine);
  const nameOf = (vm: VmUuid) => fleet.nameOf(vm);
  const moves = (after: PlanInput) => sayMoves(foresee(router.planInput()).verdicts, foresee(after).verdicts, nameOf);
  const changed = (device: UsbDevice, apply: Change['apply']) =>
    moves(applyChange(router.planInput(), device, apply, controllersOf));
  const power = (verb: Verb) => async (params: { readonly vm: string }, signal: AbortSignal) => {
    const record = inventory.findVm(params.vm);
    const state = fleet.monitorOf(record).state;
    const { to } = passageOf(verb, state, record.name);
    if (verb === 'start' || verb === 'restore' || verb === 'restart') await checkRequired(engine, record, signal);
    const says =
      state === to ? `VM ${record.name} would stay ${to}.` : `VM ${record.name} is ${state}, and would be ${to}.`;
    return [says, ...moves(poweredTo(router.planInput(), record, to === 'running', controllersOf))];
  };
  const nothingMoves = async (says: string) => [says];
  const takenIn = ({ record, warnings }: DraftedVm) => [
    `VM ${record.name} (${record.uuid}) would be taken in, with the driver ${record.driver}; nothing is started.`,
    ...warnings,
  ];
  return {
    'vm.create': async (params) => takenIn(await inventory.draftVm(params)),
    async 'vm.adopt'({ domain, name }) {
      const draft = async (from: NewVm) => (await inventory.draftVm(from)).record;
      return takenIn(await adoptStranger(engine, domain, { name }, draft));
    },
    async 'usb.plug'({ at, kind }) {
      const key = deviceKey(parseDeviceRef(at));
      if (router.devices.some((device) => deviceKey(device) === key))
        throw new Fault('usb.device_exists', { device: key });
      return [`A ${kind} would be plugged at ${key}.`];
    },
    'vm.start': power('start'),
    'vm.pause': power('pause'),
    'vm.unpause': power('unpause'),
    'vm.shutdown': power('shutdown'),
    'vm.restart': power('restart'),
    'vm.reset': power('reset'),
    'vm.destroy': power('destroy'),
    'vm.suspend': power('suspend'),
    'vm.restore': power('restore'),
    'vm.checkpoint': power('checkpoint'),
    'vm.set': async ({ vm, autostart }) =>
      nothingMoves(`VM ${inventory.findVm(vm).name} would ${autostart ? '' : 'not '}be started with the host.`),
    async 'vm.configure'({ vm, key, value, isAdded = false }) {
      const { name } = inventory.findVm(vm);
      const what = isAdded ? `get one more line "${key} = ${value}"` : `have "${key} = ${value}"`;
      return nothingMoves(`VM ${name} would ${what} at its next start; its file stays as it is.`);
    },
    async 'vm.reread'({ vm, path }) {
      const record = inventory.findVm(vm);
      const file = path ?? record.path;
      if (file === undefined) {
        throw new Fault('params.invalid', { field: 'path', what: 'the VM was made without a file' });
      }
      return nothingMoves(`VM ${record.name} would be started next as ${file} says, and nothing else.`);
    },
    'vm.insert': async ({ vm, target, file }) =>
      nothingMoves(`${file} would be in the drive ${target} of VM ${demandBoard(engine, 'vm.insert', vm).name}.`),
    'vm.eject': async ({ vm, target }) =>
      nothingMoves(`The drive ${target} of VM ${demandBoard(engine, 'vm.eject', vm).name} would be empty.`),
    'vm.memory': async ({ vm, memoryMiB }) =>
      nothingMoves(`VM ${demandBoard(engine, 'vm.memory', vm).name} would be asked to do with ${memoryMiB} MiB.`),
    'vm.trigger': async ({ vm, trigger }) =>
      nothingMoves(`VM ${demandBoard(engine, 'vm.trigger', vm).name} would be sent "${trigger}".`),
    async 'vm.remove'({ vm }) {
      const record = inventory.findVm(vm);
      const state = fleet.find(record.uuid)?.state ?? 'halted';
      if (state !== 'halted')
        throw new Fault('vm.state', { verb: 'remove', vm: record.name, state, expected: 'halted' });
      const count = inventory.assignments().filter((assignment) => assignment.vm === record.uuid).length;
      return [`VM ${record.name} would leave the inventory, and ${count} of its assignments with it.`];
    },
    async 'usb.attach'({ device: ref, vm, port, isForced }, signal) {
      const record = inventory.findVm(vm);
      const device = await seenNow(engine, await find(ref, signal), signal);
      const slot = port === undefined ? undefined : parseSlot(port);
      const fault = whyNotByHand(engine, device, record, { slot, isForced });
      if (fault !== undefined) throw fault;
      return changed(device, { do: 'attach', vm: record.uuid, ...(isForced === true ? { isForced } : {}) });
    },
    async 'usb.detach'({ device }, signal) {
      const verdict = router.verdictOf(deviceKey(parseDeviceRef(device)));
      if (verdict?.isGone === true && 'vm' in verdict.outcome) {
        return [`${verdict.device} was unplugged, and would leave VM ${nameOf(verdict.outcome.vm)}.`];
      }
      return changed(await find(device, signal), { do: 'detach' });
    },
    async 'usb.release'({ device: ref }, signal) {
      inventory.findHold(parseDeviceRef(ref));
      return changed(await find(ref, signal), { do: 'release' });
    },
    async 'usb.answer'({ device: ref, vm, isRemembered }, signal) {
      const device = await find(ref, signal);
      const into = vm === undefined ? undefined : inventory.findVm(vm);
      questionFor(engine, device, { into, isRemembered });
      return changed(device, into === undefined ? { do: 'detach' } : { do: 'attach', vm: into.uuid });
    },
    async 'usb.assign'({ vm, device, mode = 'manual' }) {
      const input = router.planInput();
      const pattern = parseDevicePattern(device);
      const wish: Assignment = { id: 0, vm: inventory.findVm(vm).uuid, pattern, mode, createdAt: 0 };
      const assignments = [...input.desired.assignments, { ...wish, id: 1 + highest(input.desired.assignments) }];
      const matching = input.observed.devices.filter((one) => matchDevice(pattern, one) !== undefined).map(deviceKey);
      const now =
        matching.length === 0 ? 'It matches nothing that is plugged now.' : `It matches ${matching.join(' ')}.`;
      return [now, ...moves({ ...input, desired: { ...input.desired, assignments } })];
    },
    async 'usb.unassign'({ assignment: id }) {
      const input = router.planInput();
      const assignments = input.desired.assignments.filter((other) => other.id !== id);
      if (assignments.length === input.desired.assignments.length)
        throw new Fault('assignment.not_found', { assignment: id }, { hint: 'See: usher usb assignments' });
      return moves({ ...input, desired: { ...input.desired, assignments } });
    },
    async 'usb.unplug'({ device: ref }, signal) {
      const device = await find(ref, signal);
      const input = router.planInput();
      const devices = input.observed.devices.filter((other) => deviceKey(other) !== deviceKey(device));
      return moves({ ...input, observed: { ...input.observed, devices } });
    },
    async 'policy.load'() {
      const { policy, warnings } = await engine.policy.parseFile();
      const input = router.planInput();
      const rules = `${policy.rules.length} rules would hold, in the mode ${policy.mode}.`;
      return [rules, ...warnings, ...moves({ ...input, desired: { ...input.desired, policy } })];
    },
    async 'trial.confirm'({ trial }) {
      return engine.trials.find(trial).map(({ id, what }) => `Trial ${id} would be kept: ${what}.`);
    },
    'usb.reconcile': async () => {
      const says = sayMovesOf(router.planInput(), nameOf);
      return says.length === 0 ? ['Every device is where it belongs, or waits.'] : says;
    },
  };
}

/** Gives the preview of an operation. @throws Fault `usage` for one that has none, or what the operation would throw */
export async function preview<O extends OperationName>(
  table: Previews,
  operation: O,
  params: Params<O>,
  signal: AbortSignal,
): Promise<PreviewView> {
  if (!isPreviewed(operation)) throw new Fault('usage', { what: `${operation} changes nothing` });
  const make = table[operation] as (params: Params<O>, signal: AbortSignal) => Promise<readonly string[]>;
  const says = await make(params, signal);
  return { operation, says: says.length === 0 ? ['Nothing would change.'] : says };
}

/** Says where devices would be in the end that are elsewhere now, or would be. */
function sayMoves(before: readonly Verdict[], after: readonly Verdict[], nameOf: (vm: VmUuid) => string): string[] {
  const ends = new Map(before.map(({ device, outcome }) => [device, sayOutcome(outcome, nameOf)]));
  const moved = after.flatMap(({ device, outcome }) => {
    const [was, is] = [ends.get(device), sayOutcome(outcome, nameOf)];
    ends.delete(device);
    return was === is ? [] : [`${device} would be ${is}${was === undefined ? '' : `; as it is, ${was}`}.`];
  });
  return [...moved, ...[...ends.keys()].map((device) => `${device} would be gone.`)];
}

/** Says where devices would be in the end that are elsewhere as it is. */
function sayMovesOf(input: PlanInput, nameOf: (vm: VmUuid) => string): string[] {
  const attachments = input.observed.vms.flatMap(({ domain }) => domain?.attachments ?? []);
  const now = new Map(attachments.map((attachment) => [deviceKey(attachment), attachment.vm]));
  return foresee(input).verdicts.flatMap(({ device, outcome }) => {
    const to = outcome.is === 'attached' ? outcome.vm : undefined;
    return to === now.get(device) ? [] : [`${device} would be ${sayOutcome(outcome, nameOf)}.`];
  });
}

/** The world in which the VM runs, or has no domain. */
function poweredTo(
  input: PlanInput,
  { uuid }: VmRecord,
  isRunning: boolean,
  controllersOf: (vm: VmUuid) => Controller[],
): PlanInput {
  const vms = input.observed.vms.map((vm) => {
    if (vm.uuid !== uuid) return vm;
    if (!isRunning) return { uuid, name: vm.name, power: 'halted' as const, isOpen: false };
    const domain = vm.domain ?? { controllers: controllersOf(uuid), attachments: [] };
    return { uuid, name: vm.name, power: 'running' as const, isOpen: true, domain };
  });
  return { ...input, observed: { ...input.observed, vms } };
}

function highest(assignments: readonly Assignment[]): number {
  return Math.max(0, ...assignments.map(({ id }) => id));
}
