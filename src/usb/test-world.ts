/** For tests of this room only: devices, VMs and wishes with everything that a test does not care about filled in. */
import type { Controller } from '../hypervisor/driver.ts';
import {
  type Assignment,
  type AssignmentMode,
  type Hold,
  parseDevicePattern,
  type Question,
} from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { EMPTY_POLICY, type Policy } from '../model/policy.ts';
import { type Attachment, deviceKey, formatDeviceId, parseDeviceRef, type UsbDevice } from '../model/usb.ts';
import { plan } from './plan.ts';
import type { DeviceMemory, ObservedVm, Outcome, PlanInput, Step } from './plan-types.ts';

/** A controller of version 3 unless told otherwise. */
export function controller(
  index = 0,
  ports = 4,
  speeds: Controller['speeds'] = ['low', 'full', 'high', 'super'],
): Controller {
  return { index, version: 3, ports, speeds };
}

/** Gives the uuid of VM number `number`: `vm(1)`. */
export function vmId(number: number): VmUuid {
  return `00000000-0000-4000-8000-${String(number).padStart(12, '0')}` as VmUuid;
}

/** A VM that runs and is open, named `vm1`, `vm2`, …; a halted one has no domain. */
export function runningVm(
  number: number,
  attachments: readonly Attachment[] = [],
  more: Partial<ObservedVm> & {
    readonly controllers?: readonly Controller[];
    readonly canAddController?: boolean;
  } = {},
): ObservedVm {
  const { controllers = [controller()], canAddController = false, ...rest } = more;
  const domain = { controllers, attachments, canAddController };
  return { uuid: vmId(number), name: `vm${number}`, power: 'running', isOpen: true, domain, ...rest };
}

export function haltedVm(number: number): ObservedVm {
  return { uuid: vmId(number), name: `vm${number}`, power: 'halted', isOpen: false };
}

/** A stick, `0951:1666` with serial `S1`, plugged at `backend:busid`. */
export function stick(ref: string, more: Partial<UsbDevice> & { readonly serial?: string } = {}): UsbDevice {
  const { serial: untrustedSerial = 'S1', ...rest } = more;
  const [vendorId, productId, interfaces] = ['0951', '1666', ['080650']];
  const deviceId = formatDeviceId({ vendorId, productId, untrustedSerial, interfaces });
  const generation = `g1 ${ref}`;
  return {
    ...parseDeviceRef(ref),
    deviceId,
    vendorId,
    productId,
    untrustedSerial,
    speed: 'high',
    interfaces,
    generation,
    ...rest,
  };
}

/** The fact that the device, as it is now, is in VM number `number` at port `port` of controller 0. */
export function attached(device: UsbDevice, number: number, port = 1): Attachment {
  const { backend, busid, deviceId, generation } = device;
  return { vm: vmId(number), controller: 0, port, backend, busid, deviceId, generation };
}

export function assignment(id: number, number: number, pattern: string, mode: AssignmentMode = 'auto'): Assignment {
  return { id, vm: vmId(number), pattern: parseDevicePattern(pattern), mode, createdAt: 0 };
}

export function holdIn(device: UsbDevice, number: number, more: Partial<Hold> = {}): Hold {
  const { backend, busid, generation, deviceId } = device;
  return { backend, busid, generation, deviceId, kind: 'in', vm: vmId(number), by: 'hand', createdAt: 1, ...more };
}

export function holdOut({ backend, busid, generation, deviceId }: UsbDevice): Hold {
  return { backend, busid, generation, deviceId, kind: 'out', by: 'hand', createdAt: 1 };
}

export interface WorldParts {
  readonly devices?: readonly UsbDevice[];
  readonly vms?: readonly ObservedVm[];
  readonly assignments?: readonly Assignment[];
  readonly holds?: readonly Hold[];
  readonly questions?: readonly Question[];
  readonly memory?: PlanInput['memory'];
  readonly backends?: readonly string[];
  readonly now?: number;
  readonly wallNow?: number;
  readonly policy?: Policy;
  readonly isObserving?: boolean;
}

export function world(parts: WorldParts): PlanInput {
  const { devices = [], vms = [], assignments = [], holds = [], memory = new Map(), now = 1_000 } = parts;
  const { questions = [], wallNow = 1_000_000, policy = EMPTY_POLICY, isObserving = false } = parts;
  const backends = new Set(parts.backends ?? ['dom0', 'virtual', 'usbvm']);
  return {
    observed: { backends, devices, vms },
    desired: { assignments, holds, questions, policy, isObserving },
    memory,
    now,
    wallNow,
  };
}

/** Writes a step as a word: `attach dom0:1-1 vm1 0-2`, `detach dom0:1-1 vm1 0-2`, `addController vm1`, `dropHold dom0:1-1`, `carryHold dom0:1-1`, `ask dom0:1-1 vm1 vm2`, `endQuestion dom0:1-1 moot`. */
export function wordOf(step: Step): string {
  if (step.kind === 'dropHold' || step.kind === 'carryHold') return `${step.kind} ${deviceKey(step.hold)}`;
  if (step.kind === 'ask') return `ask ${deviceKey(step.device)} ${step.vms.map(vmWord).join(' ')}`;
  if (step.kind === 'endQuestion') return `endQuestion ${deviceKey(step.question)} ${step.as}`;
  if (step.kind === 'addController') return `addController ${vmWord(step.vm)}`;
  const { backend, busid } = step.kind === 'attach' ? step.device : step.attachment;
  const { controller: index, port } = step.kind === 'attach' ? step.slot : step.attachment;
  return `${step.kind} ${backend}:${busid} ${vmWord(step.vm)} ${index}-${port}`;
}

/** Writes an outcome as a word: `attached vm1`, `waiting vm2 port`, `attaching vm1 needs controller`, `left`. */
export function outcomeWord(outcome: Outcome | undefined): string {
  if (outcome === undefined || outcome.is === 'left') return outcome?.is ?? 'none';
  if (outcome.is === 'asking') return `asking ${outcome.vms.map(vmWord).join(' ')}`;
  const vm = vmWord(outcome.vm);
  if (outcome.is === 'waiting') return `waiting ${vm} ${outcome.for}`;
  return 'needs' in outcome ? `attaching ${vm} needs ${outcome.needs}` : `${outcome.is} ${vm}`;
}

/** Plans, and gives the steps and the outcome of the first verdict, as words. */
export function planned(parts: WorldParts): { steps: string[]; outcome: string } {
  const { steps, verdicts } = plan(world(parts));
  return { steps: steps.map(wordOf), outcome: outcomeWord(verdicts[0]?.outcome) };
}

/** What the planner is to remember of this plug of a device: a failure unless told otherwise. */
export function memoryOf(device: UsbDevice, entry: Partial<DeviceMemory>): PlanInput['memory'] {
  const { backend, busid, generation } = device;
  return new Map([[`${backend}:${busid}`, { state: 'failed', failures: 0, generation, ...entry }]]);
}

function vmWord(uuid: VmUuid): string {
  return `vm${Number(uuid.slice(-4))}`;
}
