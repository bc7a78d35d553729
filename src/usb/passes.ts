/**
 * The passes of the router: a plan is made from what was last observed whenever something of it or of the wishes changed,
 * and its steps go to the attacher. Events only say where to look; what is done, the planner decides. Who waits for what
 * comes of it is in router.ts.
 */
import type { DeviceSource } from '../hypervisor/driver.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import type { VmUuid } from '../model/ids.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import { Attacher, type AttacherOptions, type StepResult } from './attacher.ts';
import { LastPlaces, type PlaceStore } from './last-places.ts';
import { Observer } from './observer.ts';
import { controllerKey, holdKey, plan, questionKey } from './plan.ts';
import type { Desired, ObservedVm, Plan, PlanInput, Step, StepExecutors, Verdict } from './plan-types.ts';

/** Where something may have changed. `wishes`: assignments or holds. */
export type RouterHint = { readonly vm: VmUuid } | { readonly backend: string } | 'wishes' | 'everything';

export interface RouterOptions {
  /** All VMs there are, running or not; asked at each sweep. */
  readonly listVms: () => Iterable<{ readonly uuid: VmUuid; readonly name: string }>;
  /** Observes one VM; `undefined` when there is no such VM any more. */
  readonly observeVm: (vm: VmUuid, signal: AbortSignal) => Promise<ObservedVm | undefined>;
  readonly sources: readonly DeviceSource[];
  /** Reads assignments, holds, questions and policy; asked at each pass. */
  readonly wishes: () => Desired;
  readonly executors: StepExecutors;
  /** Names of devices as people see them, for rules. One function. */
  readonly namesOf?: PlanInput['namesOf'] | undefined;
  /** Where it outlives this process in which VM a device may be. */
  readonly places?: PlaceStore | undefined;
  readonly clock?: Clock | undefined;
  readonly log?: Log | undefined;
  /** How often everything is looked at though nothing hints at a change. Default 30 s. */
  readonly sweepMs?: number | undefined;
  /** How long a look at one VM or backend may take. Default 5 s. */
  readonly lookTimeoutMs?: number | undefined;
  /** How long the first plan waits for VMs that are slow to be observed. Default 1 s. */
  readonly primeMs?: number | undefined;
  readonly attacher?: Pick<AttacherOptions, 'settleMs' | 'deadlinesMs' | 'backoff' | 'random'> | undefined;
  /** Told what came and went at a backend since it was last read; not what was there at the first reading. */
  readonly onDevices?: ((plugged: readonly UsbDevice[], unplugged: readonly UsbDevice[]) => void) | undefined;
  readonly onStep?: ((step: Step, result: StepResult) => void) | undefined;
  readonly onPlan?: ((plan: Plan) => void) | undefined;
}

const NO_PLAN: Plan = { steps: [], verdicts: [] };

/**
 * INVARIANTS: a plan is made from the newest sight of everything and waits for none that is still to come; hints that
 * come before a pass share it, what changes after it leads to one more; a step that ended counts as under way until its
 * VM has been observed from after its end (see Attacher); a VM that was closed for a release is opened by `reopen`, never
 * by an observation.
 */
export class Passes {
  readonly attacher: Attacher;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly #options: RouterOptions;
  readonly #log: Log;
  readonly #releasing = new Set<VmUuid>();
  readonly #onPass: () => void;
  readonly #lastPlaces: LastPlaces;
  /** Since when nothing is plugged where a hold's device was, by hold key. */
  readonly #goneSince = new Map<string, number>();
  #plan = NO_PLAN;
  #verdicts: ReadonlyMap<string, Verdict> = new Map();
  #state: 'new' | 'priming' | 'running' | 'closed' = 'new';
  #pass: NodeJS.Immediate | undefined;
  #cancelSweep = () => {};
  #cancelWake = () => {};

  /** `onPass` is called after each pass, and when there will be none any more. */
  constructor(options: RouterOptions, onPass: () => void) {
    const { clock = systemClock, log = silentLog, lookTimeoutMs: timeoutMs = 5_000 } = options;
    this.#options = options;
    this.#lastPlaces = new LastPlaces(options.places);
    this.#onPass = onPass;
    this.clock = clock;
    this.#log = log;
    this.attacher = new Attacher({
      ...options.attacher,
      executors: options.executors,
      clock,
      onEnd: (step, result) => this.#onStepEnd(step, result),
    });
    this.observer = new Observer({
      ...options,
      clock,
      log,
      timeoutMs,
      markLook: () => this.attacher.ends,
      onVm: (vm, mark, hasTurned) => {
        this.attacher.confirm(vm, mark);
        if (hasTurned) this.attacher.forgive(vm); // A new domain is a new chance.
      },
      onDevices: (plugged, unplugged) => this.#tell(() => options.onDevices?.(plugged, unplugged)),
      onChange: () => this.schedule(),
    });
  }

  /** Looks at everything and begins to route; resolves when the first plan is made. Legal once. */
  async start(): Promise<void> {
    this.#state = 'priming';
    this.observer.watch();
    const { primeMs = 1_000 } = this.#options;
    await new Promise<void>((resolve) => {
      const cancel = this.clock.after(primeMs, resolve);
      void this.observer.lookAtEverything().then(() => {
        cancel();
        resolve();
      });
    });
    if (this.#state !== 'priming') return;
    this.#state = 'running';
    this.#sweepLater();
    this.#runPass();
  }

  /** Says that something may have changed. Cheap: the look and the pass come by themselves. */
  hint(hint: RouterHint): void {
    if (hint === 'wishes') this.schedule();
    else if (hint === 'everything') void this.observer.lookAtEverything();
    else if ('vm' in hint) void this.observer.lookAtVm(hint.vm);
    else void this.observer.lookAtBackend(hint.backend);
  }

  /** Asks for a pass: with the next ones, if there are any. */
  schedule(): void {
    if (this.#state === 'running') this.#pass ??= setImmediate(() => this.#runPass());
  }

  /** The newest plan. */
  get plan(): Plan {
    return this.#plan;
  }

  /** Gives the newest verdict on a device, by `backend:busid`. */
  verdictOf(device: string): Verdict | undefined {
    return this.#verdicts.get(device);
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Gives what a plan would be made from now: devices, VMs, wishes, memory. For views and explanations. */
  planInput(): PlanInput {
    const observed = this.observer.observed;
    const vms =
      this.#releasing.size === 0
        ? observed.vms
        : observed.vms.map((vm) => (this.#releasing.has(vm.uuid) ? { ...vm, isReleasing: true } : vm));
    return {
      observed: { ...observed, vms },
      desired: this.#options.wishes(),
      ...(this.#options.namesOf === undefined ? {} : { namesOf: this.#options.namesOf }),
      memory: this.attacher.memory,
      lastPlaces: this.#lastPlaces.all,
      goneSince: this.#goneSince,
      now: this.clock.monotonic(),
      wallNow: this.clock.now(),
    };
  }

  /** Has every device leave the VM, and none enter it, until `reopen`. */
  closeForRelease(vm: VmUuid): void {
    this.#releasing.add(vm);
  }

  /** Lets devices in again; fine when it was not closed. */
  reopen(vm: VmUuid): void {
    this.#releasing.delete(vm);
    void this.observer.lookAtVm(vm);
  }

  /** Stops routing; steps under way are aborted and waited for. Devices stay where they are. */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.observer.close();
    this.#cancelSweep();
    this.#cancelWake();
    clearImmediate(this.#pass);
    this.#onPass();
    await this.attacher.close();
  }

  #onStepEnd(step: Step, result: StepResult): void {
    if ('vm' in step) void this.observer.lookAtVm(step.vm);
    else this.schedule();
    this.#tell(() => this.#options.onStep?.(step, result));
  }

  #runPass(): void {
    this.#pass = undefined;
    try {
      const input = this.planInput();
      this.#noteGone(input);
      this.#plan = plan(input);
      const verdicts = new Map<string, Verdict>();
      for (const verdict of this.#plan.verdicts) verdicts.set(verdict.device, verdict);
      this.#verdicts = verdicts;
      if (this.attacher.memory.size > 0) this.attacher.keepOnly(this.#subjectsOf(input));
      this.#tell(() => this.#lastPlaces.note(input, this.#plan));
      this.attacher.submit(this.#plan.steps);
      this.#wakeLater(this.#plan.wakeAt);
      this.#tell(() => this.#options.onPlan?.(this.#plan));
    } catch (error) {
      this.#log.error('Planning failed; the next sweep tries again', { error });
    }
    this.#onPass();
  }

  /** The keys of all that a step may be about. */
  #subjectsOf({ observed, desired }: PlanInput): ReadonlySet<string> {
    const subjects = new Set(this.#verdicts.keys());
    for (const { uuid, domain } of observed.vms)
      if (domain?.canAddController === true) subjects.add(controllerKey(uuid));
    for (const hold of desired.holds) subjects.add(holdKey(hold));
    for (const about of [observed.devices, desired.questions].flat()) subjects.add(questionKey(about));
    return subjects;
  }

  /** A listener or a store that throws stops no routing. */
  #tell(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#log.error('A listener or a store of the router failed', { error });
    }
  }

  #sweepLater(): void {
    this.#cancelSweep = this.clock.after(this.#options.sweepMs ?? 30_000, () => {
      this.#sweepLater();
      void this.observer.lookAtEverything();
    });
  }

  #wakeLater(at: number | undefined): void {
    this.#cancelWake();
    if (at === undefined) return;
    this.#cancelWake = this.clock.after(at - this.clock.monotonic(), () => this.schedule());
  }

  #noteGone({ observed: { backends, devices }, desired, now }: PlanInput): void {
    const plugged = new Set(devices.map(deviceKey));
    const gone = desired.holds.filter((hold) => backends.has(hold.backend) && !plugged.has(deviceKey(hold)));
    const keys = new Set(gone.map(holdKey));
    for (const key of this.#goneSince.keys()) if (!keys.has(key)) this.#goneSince.delete(key);
    for (const key of keys) if (!this.#goneSince.has(key)) this.#goneSince.set(key, now);
  }
}
