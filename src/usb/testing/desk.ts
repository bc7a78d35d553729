/**
 * For tests only: a host with a person in front of it. What plan() says is done to its tree, pass by pass, until nothing is
 * left to do; then it is counted what the person has to type and to point with. No router, no driver.
 */

import { parsePolicy } from '../../config/policy-file.ts';
import type { DeviceSource } from '../../hypervisor/driver.ts';
import { ManualClock } from '../../lib/clock.ts';
import { INPUT_KINDS, type InputKind } from '../../model/input-claims.ts';
import { formatDeviceId, type UsbDevice } from '../../model/usb.ts';
import { applySteps, foresee } from '../foresee.ts';
import { HostGuards } from '../host-guards.ts';
import type { HostState } from '../in-use.ts';
import { readHostState } from '../in-use.ts';
import type { InputSettings } from '../last-inputs.ts';
import { plan, stepKey } from '../plan.ts';
import type { DeviceMemory, PlanInput, Step } from '../plan-types.ts';
import { holdIn, runningVm, stick, vmId, type WorldParts, world } from '../test-world.ts';
import type { HostTree } from './host-tree.ts';

/**
 * How the world goes on. `fresh`: the host is looked at before each pass; `stale`: only when something is plugged or
 * pulled; `slow`: as stale, and each step is under way during a pass; `single`: of each plan one step is done;
 * `deaf`: every look but the first fails.
 */
export const PACES = ['fresh', 'stale', 'slow', 'single', 'deaf'] as const;
export type Pace = (typeof PACES)[number];

/** What is plugged at a desk: how it comes to the tree, and for what a person uses it. */
export interface Plugged {
  readonly device: UsbDevice;
  readonly uses: readonly InputKind[];
  readonly put: (tree: HostTree, busid: string) => void;
}

export interface DeskOptions {
  readonly tree: HostTree;
  readonly plugged: readonly Plugged[];
  /** What is built in. */
  readonly own?: readonly InputKind[] | undefined;
  readonly inputs?: InputSettings | undefined;
  /** YAML. */
  readonly rules?: string | undefined;
  readonly wishes?: Pick<WorldParts, 'assignments' | 'holds'> | undefined;
  readonly pace: Pace;
  /** False: nothing that speaks against taking a device is told to the planner. */
  readonly isGuarded: boolean;
  readonly isBlind?: boolean | undefined;
}

/** A device of this kind at a busid; `id`: `vid:pid`. */
export function deviceOf(busid: string, id: string, interfaces: readonly string[], serial = ''): UsbDevice {
  const [vendorId = '', productId = ''] = id.split(':');
  const deviceId = formatDeviceId({ vendorId, productId, untrustedSerial: serial, interfaces });
  return stick(`dom0:${busid}`, { vendorId, productId, deviceId, interfaces, serial, speed: 'low' });
}

const MAX_PASSES = 30;

export class Desk {
  wallNow = new Date(2026, 0, 5, 7, 0).getTime();
  readonly tree: HostTree;
  readonly #options: DeskOptions;
  readonly #guards: HostGuards;
  readonly #policy: PlanInput['desired']['policy'];
  readonly #plugged = new Map<string, Plugged>();
  readonly #clock = new ManualClock(100_000);
  #input: PlanInput;
  #state: HostState | undefined;
  #plugs = 0;
  #hasLooked = false;

  constructor(options: DeskOptions) {
    const { tree, plugged, inputs, rules, wishes, isBlind = false } = options;
    this.#options = options;
    this.tree = tree;
    const { policy, errors } = parsePolicy(rules ?? 'rules: []\n', 'policy.yaml', new Set(['vm1', 'vm2']));
    if (policy === undefined || errors.length > 0) throw new Error(errors.map(({ message }) => message).join(', '));
    this.#policy = policy;
    for (const one of plugged) this.#plugged.set(one.device.busid, one);
    const source: DeviceSource = {
      backend: 'dom0',
      list: async () => [...this.#plugged.values()].map(({ device }) => device),
      watch: () => () => {},
    };
    const look = async () => {
      if (isBlind || (options.pace === 'deaf' && this.#hasLooked)) throw new Error('EIO');
      this.#hasLooked = true;
      if (options.pace === 'fresh' || options.pace === 'single') this.#state = undefined;
      this.#state ??= await readHostState(tree.roots);
      return this.#state;
    };
    this.#guards = new HostGuards({ source, roots: tree.roots, clock: this.#clock, inputs, look });
    this.#input = world({ vms: [runningVm(1), runningVm(2)], policy, ...wishes });
  }

  /** Plugs something, or something else in its place. */
  plug(one: Plugged): void {
    const { busid } = one.device;
    if (this.#plugged.has(busid)) this.unplug(busid);
    one.put(this.tree, busid);
    this.#plugged.set(busid, { ...one, device: { ...one.device, generation: `plug${this.#plugs++}` } });
    this.#state = undefined;
  }

  unplug(busid: string): void {
    this.tree.unplug(busid);
    this.#plugged.delete(busid);
    this.#state = undefined;
  }

  /** Stops a VM, whose devices are back, and starts it anew. */
  restart(number: number): void {
    for (const busid of this.#inVms()) if (this.#vmOf(busid) === vmId(number)) this.#giveBack(busid);
    const vms = this.#input.observed.vms.map((vm) => (vm.uuid === vmId(number) ? runningVm(number) : vm));
    this.#input = { ...this.#input, observed: { ...this.#input.observed, vms } };
    this.#state = undefined;
  }

  /** A person attaches it, whatever speaks against it. */
  force(busid: string, number: number): void {
    const device = this.#plugged.get(busid)?.device;
    if (device === undefined) throw new Error(`nothing is at ${busid}`);
    const holds = [...this.#input.desired.holds, holdIn(device, number, { isForced: true })];
    this.#input = { ...this.#input, desired: { ...this.#input.desired, holds } };
  }

  /** Plans and does what is planned until nothing is left. Every question is answered with the first VM. */
  async settle(): Promise<void> {
    for (let pass = 0; pass < MAX_PASSES; pass++) {
      await this.#observe();
      const { steps } = plan(this.#input);
      const underWay = [...this.#input.memory.values()].flatMap(({ inFlight }) => inFlight ?? []);
      if (steps.length === 0 && underWay.length === 0) return;
      if (this.#options.pace === 'slow') {
        this.#do(underWay);
        this.#input = { ...this.#input, memory: new Map(steps.map(memoryOf)) };
      } else this.#do(this.#options.pace === 'single' ? steps.slice(0, 1) : steps);
      this.#giveTime();
    }
    throw new Error('it does not come to rest');
  }

  /** Gives what would be in VMs in the end, by what is known before anything is done. */
  async foreseen(): Promise<readonly string[]> {
    await this.#observe();
    return foresee(this.#input).verdicts.flatMap(({ device, outcome }) =>
      outcome.is === 'attached' ? [device.slice('dom0:'.length)] : [],
    );
  }

  /** Gives what VMs have. */
  get taken(): readonly string[] {
    return this.#inVms();
  }

  /** Gives the kinds of which something is there, and none is left for the person when the VMs have `taken`. */
  lost(taken: readonly string[] = this.#inVms()): readonly InputKind[] {
    const { own = [] } = this.#options;
    return INPUT_KINDS.filter((kind) => {
      const ofKind = [...this.#plugged.values()].filter(({ uses }) => uses.includes(kind));
      return !own.includes(kind) && ofKind.length > 0 && ofKind.every(({ device }) => taken.includes(device.busid));
    });
  }

  async #observe(): Promise<void> {
    for (const device of (await this.#guards.list()).slice(0, 1)) await this.#guards.lookNow(device);
    const guarded = await this.#guards.list();
    const devices = this.#options.isGuarded
      ? guarded
      : guarded.map(({ objections: _, replacedBy: __, ...device }): UsbDevice => device);
    this.#input = {
      ...this.#input,
      wallNow: this.wallNow,
      desired: { ...this.#input.desired, policy: this.#policy },
      observed: { ...this.#input.observed, devices },
    };
  }

  #do(steps: readonly Step[]): void {
    const before = new Set(this.#inVms());
    this.#input = { ...applySteps(this.#input, steps), memory: new Map() };
    const after = new Set(this.#inVms());
    for (const busid of before) if (!after.has(busid)) this.#giveBack(busid);
    for (const busid of after) if (!before.has(busid)) this.#take(busid);
    const { holds, questions } = this.#input.desired;
    const answers = questions.flatMap(({ busid, vms: [vm] }) => {
      const device = this.#plugged.get(busid)?.device;
      return device === undefined || vm === undefined ? [] : [holdIn(device, 0, { vm, by: 'answer' })];
    });
    this.#input = {
      ...this.#input,
      desired: { ...this.#input.desired, holds: [...holds, ...answers], questions: [] },
    };
  }

  #giveTime(): void {
    this.#input = { ...this.#input, now: this.#input.now + 1_000 };
  }

  #inVms(): readonly string[] {
    return this.#input.observed.vms.flatMap(({ domain }) => (domain?.attachments ?? []).map(({ busid }) => busid));
  }

  #vmOf(busid: string): string | undefined {
    return this.#input.observed.vms.find(({ domain }) => domain?.attachments.some((one) => one.busid === busid))?.uuid;
  }

  /** The kernel drivers of the host let go of it. */
  #take(busid: string): void {
    const { device } = this.#plugged.get(busid) ?? {};
    if (device === undefined) return;
    this.tree.unplug(busid);
    this.tree.usb(busid, {
      vendor: device.vendorId,
      interfaces: device.interfaces.map((triple) => [triple, 'usbfs'] as const),
    });
  }

  #giveBack(busid: string): void {
    const one = this.#plugged.get(busid);
    if (one === undefined) return;
    this.tree.unplug(busid);
    one.put(this.tree, busid);
  }
}

function memoryOf(step: Step): readonly [string, DeviceMemory] {
  const generation = step.kind === 'attach' ? step.device.generation : '';
  return [stepKey(step), { state: 'attaching', failures: 0, generation, inFlight: step }];
}
