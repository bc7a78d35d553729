/**
 * The reconciler: plans from what was last observed whenever something of it or of the wishes changed, and hands the
 * steps to the attacher. Events only say where to look; what is done, the planner decides.
 */
import type { DeviceSource } from '../hypervisor/driver.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import { Fault, isFault } from '../lib/fault.ts';
import { type Log, silentLog } from '../lib/log.ts';
import type { VmUuid } from '../model/ids.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import { Attacher, type AttacherOptions, type StepResult } from './attacher.ts';
import { sayUnderWay } from './explain.ts';
import { Observer } from './observer.ts';
import { holdKey, plan, stepKey } from './plan.ts';
import type { Desired, LastPlace, ObservedVm, Plan, PlanInput, Step, StepExecutors, Verdict } from './plan-types.ts';

/** Where something may have changed. `wishes`: assignments or holds. */
export type RouterHint = { readonly vm: VmUuid } | { readonly backend: string } | 'wishes' | 'everything';

export interface RouterOptions {
  /** All VMs there are, running or not; asked at each sweep. */
  readonly listVms: () => Iterable<{ readonly uuid: VmUuid; readonly name: string }>;
  /** Observes one VM; `undefined` when there is no such VM any more. */
  readonly observeVm: (vm: VmUuid, signal: AbortSignal) => Promise<ObservedVm | undefined>;
  readonly sources: readonly DeviceSource[];
  /** Reads the assignments and holds; asked at each pass. */
  readonly wishes: () => Desired;
  readonly executors: StepExecutors;
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

/** A timeout names as many devices. */
const MAX_NAMED = 3;
const NO_PLAN: Plan = { steps: [], verdicts: [] };

/**
 * INVARIANTS: a plan is made from the newest sight of everything and waits for none that is still to come; hints that
 * come before a pass share it, what changes after it leads to one more; a step that ended counts as under way until its
 * VM has been observed from after its end (see Attacher); a released VM is opened by `reopen`, never by an observation.
 */
export class Router {
  readonly #options: RouterOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #attacher: Attacher;
  readonly #observer: Observer;
  readonly #releasing = new Set<VmUuid>();
  readonly #waiters = new Set<() => void>();
  readonly #lastPlaces = new Map<string, LastPlace>();
  #plan = NO_PLAN;
  #verdicts: ReadonlyMap<string, Verdict> = new Map();
  #state: 'new' | 'priming' | 'running' | 'closed' = 'new';
  #pass: NodeJS.Immediate | undefined;
  #cancelSweep = () => {};
  #cancelWake = () => {};

  constructor(options: RouterOptions) {
    const { clock = systemClock, log = silentLog, lookTimeoutMs: timeoutMs = 5_000 } = options;
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    this.#attacher = new Attacher({
      ...options.attacher,
      executors: options.executors,
      clock,
      onEnd: (step, result) => this.#onStepEnd(step, result),
    });
    this.#observer = new Observer({
      ...options,
      clock,
      log,
      timeoutMs,
      markLook: () => this.#attacher.ends,
      onVm: (vm, mark, hasTurned) => {
        this.#attacher.confirm(vm, mark);
        if (hasTurned) this.#attacher.forgive(vm); // A new domain is a new chance.
      },
      onDevices: (plugged, unplugged) => this.#tell(() => options.onDevices?.(plugged, unplugged)),
      onChange: () => this.#schedule(),
    });
  }

  /** Looks at everything and begins to route; resolves when the first plan is made. Legal once. */
  async start(): Promise<void> {
    this.#state = 'priming';
    this.#observer.watch();
    const { primeMs = 1_000 } = this.#options;
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(primeMs, resolve);
      void this.#observer.lookAtEverything().then(() => {
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
    if (hint === 'wishes') this.#schedule();
    else if (hint === 'everything') void this.#observer.lookAtEverything();
    else if ('vm' in hint) void this.#observer.lookAtVm(hint.vm);
    else void this.#observer.lookAtBackend(hint.backend);
  }

  /** The newest verdicts, sorted by device. */
  get verdicts(): readonly Verdict[] {
    return this.#plan.verdicts;
  }

  /** Gives the newest verdict on a device, by `backend:busid`. */
  verdictOf(device: string): Verdict | undefined {
    return this.#verdicts.get(device);
  }

  /** The devices that are plugged, of all backends that can be read, guarded ones too. */
  get devices(): readonly UsbDevice[] {
    return this.#observer.observed.devices;
  }

  /** Gives what a plan would be made from now: devices, VMs, wishes, memory. For views and explanations. */
  planInput(): PlanInput {
    const observed = this.#observer.observed;
    const vms = observed.vms.map((vm) => (this.#releasing.has(vm.uuid) ? { ...vm, isReleasing: true } : vm));
    return {
      observed: { ...observed, vms },
      desired: this.#options.wishes(),
      memory: this.#attacher.memory,
      lastPlaces: this.#lastPlaces,
      now: this.#clock.monotonic(),
    };
  }

  /**
   * Observes everything again, tries at once what failed before, and resolves when no step is planned or under way. What
   * waits (for a VM, a port, the next try, a VM that cannot be observed) is not waited for. @throws `timeout`, `aborted`
   */
  async reconcile(signal?: AbortSignal, timeoutMs = 120_000): Promise<readonly Verdict[]> {
    this.#attacher.forgive();
    const limits = { what: 'Bringing devices where they belong', timeoutMs, signal, clock: this.#clock };
    const bring = withDeadline(limits, async (inner) => {
      await this.#observer.lookAtEverything();
      await this.#until(() => this.#plan.steps.length === 0 && !this.#isBusy(), inner);
    });
    await bring.catch((error: unknown) => this.#rethrow(error, this.#plan.verdicts));
    return this.#plan.verdicts;
  }

  /**
   * Observes one VM again and resolves when no step is planned or under way that concerns it: after it started or was
   * restored, its devices are back. @throws `timeout`, `aborted`
   */
  async settle(vm: VmUuid, signal?: AbortSignal, timeoutMs = 30_000): Promise<void> {
    const what = `Attaching the devices of VM ${this.#observer.nameOf(vm)}`;
    const bring = withDeadline({ what, timeoutMs, signal, clock: this.#clock }, async (inner) => {
      await this.#observer.lookAtVm(vm);
      await this.#until(() => !this.#isConcerned(vm), inner);
    });
    await bring.catch((error: unknown) => this.#rethrow(error, this.#verdictsIn(vm)));
  }

  /**
   * Looks at a device's backend again, tries at once what failed before, and resolves when no step is planned or under
   * way for the device, or its end cannot be observed; gives its verdict, if it is plugged or attached.
   * @throws `timeout`, `aborted`
   */
  async settleDevice(device: string, signal?: AbortSignal, timeoutMs = 30_000): Promise<Verdict | undefined> {
    this.#attacher.forgiveDevice(device);
    const move = withDeadline({ what: `Moving ${device}`, timeoutMs, signal, clock: this.#clock }, async (inner) => {
      await this.#observer.lookAtBackend(device.slice(0, device.indexOf(':')));
      await this.#until(() => !this.#isMoving(device), inner);
    });
    await move.catch((error: unknown) => this.#rethrow(error, [this.#verdicts.get(device)]));
    return this.#verdicts.get(device);
  }

  /**
   * Takes every device out of a VM and keeps it closed until {@link reopen}: before it is suspended or shut down. When it
   * fails, the VM is open again. @throws `usb.detach_failed`, `hypervisor.lost` when the VM cannot be observed, `timeout`,
   * `aborted`
   */
  async release(vm: VmUuid, signal?: AbortSignal, timeoutMs = 30_000): Promise<void> {
    this.#releasing.add(vm);
    const what = `Detaching the devices of VM ${this.#observer.nameOf(vm)}`;
    try {
      await withDeadline({ what, timeoutMs, signal, clock: this.#clock }, async (inner) => {
        await this.#observer.lookAtVm(vm);
        const isReleased = () => !this.#isConcerned(vm) && this.#isEmpty(vm);
        await this.#until(() => this.#observer.isOutOfSight(vm) || isReleased(), inner);
      });
      if (this.#observer.isOutOfSight(vm)) {
        throw new Fault('hypervisor.lost', { vm: this.#observer.nameOf(vm), what: 'it cannot be observed' });
      }
    } catch (error) {
      const stuck = isFault(error, 'timeout') ? this.#whyStuck(vm) : undefined;
      const verdicts = this.#verdictsIn(vm);
      this.reopen(vm);
      if (stuck !== undefined) throw stuck;
      this.#rethrow(error, verdicts);
    }
  }

  /** Lets devices into a VM again that was released; fine when it was not. */
  reopen(vm: VmUuid): void {
    this.#releasing.delete(vm);
    void this.#observer.lookAtVm(vm);
  }

  /** Stops routing; steps under way are aborted and waited for. Devices stay where they are. */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.#observer.close();
    this.#cancelSweep();
    this.#cancelWake();
    clearImmediate(this.#pass);
    for (const check of this.#waiters) check();
    await this.#attacher.close();
  }

  #onStepEnd(step: Step, result: StepResult): void {
    if (step.kind === 'dropHold') this.#schedule();
    else void this.#observer.lookAtVm(step.vm);
    this.#tell(() => this.#options.onStep?.(step, result));
  }

  #schedule(): void {
    if (this.#state === 'running') this.#pass ??= setImmediate(() => this.#runPass());
  }

  #runPass(): void {
    this.#pass = undefined;
    try {
      const input = this.planInput();
      this.#plan = plan(input);
      this.#verdicts = new Map(this.#plan.verdicts.map((verdict) => [verdict.device, verdict]));
      this.#attacher.keepOnly(new Set([...this.#verdicts.keys(), ...input.desired.holds.map(holdKey)]));
      this.#rememberPlaces(input);
      this.#attacher.submit(this.#plan.steps);
      this.#wakeLater(this.#plan.wakeAt);
      this.#tell(() => this.#options.onPlan?.(this.#plan));
    } catch (error) {
      this.#log.error('Planning failed; the next sweep tries again', { error });
    }
    for (const check of this.#waiters) check();
  }

  /** A listener that throws stops no routing. */
  #tell(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#log.error('A listener of the router failed', { error });
    }
  }

  #sweepLater(): void {
    this.#cancelSweep = this.#clock.after(this.#options.sweepMs ?? 30_000, () => {
      this.#sweepLater();
      void this.#observer.lookAtEverything();
    });
  }

  #wakeLater(at: number | undefined): void {
    this.#cancelWake();
    if (at === undefined) return;
    this.#cancelWake = this.#clock.after(at - this.#clock.monotonic(), () => this.#schedule());
  }

  /** Resolves when `isDone` says so after a pass, of which one is asked for. @throws `daemon.stopping` */
  #until(isDone: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        const isClosed = this.#state === 'closed';
        if (!signal.aborted && !isClosed && !isDone()) return;
        this.#waiters.delete(check);
        if (isClosed) reject(new Fault('daemon.stopping'));
        else resolve();
      };
      this.#waiters.add(check);
      signal.addEventListener('abort', check, { once: true });
      if (this.#state === 'closed') check();
      else this.#schedule();
    });
  }

  /** Where each device was is remembered for as long as it is about: at the next start of its VM it is there again. */
  #rememberPlaces({ observed }: PlanInput): void {
    for (const { uuid: vm, domain } of observed.vms) {
      for (const attachment of domain?.attachments ?? []) {
        const { generation, controller, port } = attachment;
        this.#lastPlaces.set(deviceKey(attachment), { vm, generation, controller, port });
      }
    }
    for (const key of this.#lastPlaces.keys()) if (!this.#verdicts.has(key)) this.#lastPlaces.delete(key);
  }

  /** Steps whose VM cannot be observed count as waiting: their end is not seen before the VM is. */
  #isBusy(vm?: VmUuid): boolean {
    return this.#attacher.isBusy(vm, (other) => this.#observer.isOutOfSight(other));
  }

  #isConcerned(vm: VmUuid): boolean {
    const isPlanned = this.#plan.steps.some((step) => step.kind !== 'dropHold' && step.vm === vm);
    return isPlanned || this.#isBusy(vm);
  }

  #isMoving(device: string): boolean {
    const { inFlight } = this.#attacher.memory.get(device) ?? {};
    if (inFlight === undefined) return this.#plan.steps.some((step) => stepKey(step) === device);
    return inFlight.kind === 'dropHold' || !this.#observer.isOutOfSight(inFlight.vm);
  }

  #verdictsIn(vm: VmUuid): Verdict[] {
    return this.#plan.verdicts.filter(({ outcome }) => 'vm' in outcome && outcome.vm === vm);
  }

  /** Throws the error; a timeout says what was still under way, and why. */
  #rethrow(error: unknown, verdicts: readonly (Verdict | undefined)[]): never {
    if (!isFault(error, 'timeout')) throw error;
    const nameOf = (vm: VmUuid) => this.#observer.nameOf(vm);
    const says = verdicts.flatMap((verdict) => (verdict && sayUnderWay(verdict, nameOf)) ?? []);
    if (says.length === 0) throw error;
    const more = says.length > MAX_NAMED ? [`${says.length - MAX_NAMED} more`] : [];
    const what = `${error.details['what']} (${[...says.slice(0, MAX_NAMED), ...more].join('; ')})`;
    throw new Fault('timeout', { ...error.details, what }, { cause: error });
  }

  #isEmpty(vm: VmUuid): boolean {
    return (this.#observer.vm(vm)?.domain?.attachments.length ?? 0) === 0;
  }

  #whyStuck(vm: VmUuid): Fault | undefined {
    for (const attachment of this.#observer.vm(vm)?.domain?.attachments ?? []) {
      const device = deviceKey(attachment);
      const what = this.#attacher.memory.get(device)?.lastError;
      if (what !== undefined) return new Fault('usb.detach_failed', { device, vm: this.#observer.nameOf(vm), what });
    }
    return undefined;
  }
}
