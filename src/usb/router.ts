/**
 * The reconciler, as the rest of Usher uses it: it says where to look, asks for something, and waits until devices have
 * come to rest. What is done is decided and started by the passes (passes.ts).
 */
import type { Clock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import { Fault, isFault } from '../lib/fault.ts';
import type { VmUuid } from '../model/ids.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import type { Attacher } from './attacher.ts';
import { sayUnderWay } from './explain.ts';
import type { Observer } from './observer.ts';
import { Passes, type RouterHint, type RouterOptions } from './passes.ts';
import { controllerKey, stepKey } from './plan.ts';
import type { PlanInput, Verdict } from './plan-types.ts';

/** A timeout names as many devices. */
const MAX_NAMED = 3;

/** INVARIANTS: what is waited for is asked after each pass, from the first on that began after the question. */
export class Router {
  readonly #passes: Passes;
  readonly #attacher: Attacher;
  readonly #observer: Observer;
  readonly #clock: Clock;
  readonly #waiters = new Set<() => void>();

  constructor(options: RouterOptions) {
    this.#passes = new Passes(options, () => {
      for (const check of this.#waiters) check();
    });
    this.#attacher = this.#passes.attacher;
    this.#observer = this.#passes.observer;
    this.#clock = this.#passes.clock;
  }

  /** Looks at everything and begins to route; resolves when the first plan is made. Legal once. */
  start(): Promise<void> {
    return this.#passes.start();
  }

  /** Says that something may have changed. Cheap: the look and the pass come by themselves. */
  hint(hint: RouterHint): void {
    this.#passes.hint(hint);
  }

  /** The newest verdicts, sorted by device. */
  get verdicts(): readonly Verdict[] {
    return this.#passes.plan.verdicts;
  }

  /** Gives the newest verdict on a device, by `backend:busid`. */
  verdictOf(device: string): Verdict | undefined {
    return this.#passes.verdictOf(device);
  }

  /** The devices that are plugged, of all backends that can be read, guarded ones too. */
  get devices(): readonly UsbDevice[] {
    return this.#observer.observed.devices;
  }

  /** Gives what a plan would be made from now: devices, VMs, wishes, memory. For views and explanations. */
  planInput(): PlanInput {
    return this.#passes.planInput();
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
      await this.#until(() => this.#passes.plan.steps.length === 0 && !this.#isBusy(), inner);
    });
    await bring.catch((error: unknown) => this.#rethrow(error, this.#passes.plan.verdicts));
    return this.#passes.plan.verdicts;
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
   * way for the device, or its end cannot be observed; gives its verdict, if it is plugged or attached. `into`: the VM
   * that it is to go to, for which one more controller is tried at once, too. @throws `timeout`, `aborted`
   */
  async settleDevice(
    device: string,
    signal?: AbortSignal,
    timeoutMs = 30_000,
    into?: VmUuid,
  ): Promise<Verdict | undefined> {
    this.#attacher.forgiveOne(device);
    if (into !== undefined) this.#attacher.forgiveOne(controllerKey(into));
    const move = withDeadline({ what: `Moving ${device}`, timeoutMs, signal, clock: this.#clock }, async (inner) => {
      await this.#observer.lookAtBackend(device.slice(0, device.indexOf(':')));
      await this.#until(() => !this.#isMoving(device), inner);
    });
    await move.catch((error: unknown) => this.#rethrow(error, [this.#passes.verdictOf(device)]));
    return this.#passes.verdictOf(device);
  }

  /** Looks at every backend again; resolves when what was plugged before this call is among the devices. @throws `aborted` */
  async lookAtDevices(signal?: AbortSignal): Promise<void> {
    const looks = this.#observer.observed.backends;
    await Promise.all([...looks].map((backend) => this.#observer.lookAtBackend(backend)));
    signal?.throwIfAborted();
  }

  /**
   * Takes every device out of a VM and keeps it closed until {@link reopen}: before it is suspended or shut down. When it
   * fails, the VM is open again. @throws `usb.detach_failed`, `hypervisor.lost` when the VM cannot be observed, `timeout`,
   * `aborted`
   */
  async release(vm: VmUuid, signal?: AbortSignal, timeoutMs = 30_000): Promise<void> {
    this.#passes.closeForRelease(vm);
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
    this.#passes.reopen(vm);
  }

  /** Stops routing; steps under way are aborted and waited for. Devices stay where they are. */
  close(): Promise<void> {
    return this.#passes.close();
  }

  /** Resolves when `isDone` says so after a pass, of which one is asked for. @throws `daemon.stopping` */
  #until(isDone: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        const isClosed = this.#passes.isClosed;
        if (!signal.aborted && !isClosed && !isDone()) return;
        this.#waiters.delete(check);
        if (isClosed) reject(new Fault('daemon.stopping'));
        else resolve();
      };
      this.#waiters.add(check);
      signal.addEventListener('abort', check, { once: true });
      if (this.#passes.isClosed) check();
      else this.#passes.schedule();
    });
  }

  /** Steps whose VM cannot be observed count as waiting: their end is not seen before the VM is. */
  #isBusy(vm?: VmUuid): boolean {
    return this.#attacher.isBusy(vm, (other) => this.#observer.isOutOfSight(other));
  }

  #isConcerned(vm: VmUuid): boolean {
    const isPlanned = this.#passes.plan.steps.some((step) => 'vm' in step && step.vm === vm);
    return isPlanned || this.#isBusy(vm);
  }

  #isMoving(device: string): boolean {
    const { inFlight } = this.#attacher.memory.get(device) ?? {};
    if (inFlight !== undefined) return !('vm' in inFlight) || !this.#observer.isOutOfSight(inFlight.vm);
    const outcome = this.#passes.verdictOf(device)?.outcome;
    if (outcome?.is === 'attaching' && outcome.needs !== undefined) return true;
    return this.#passes.plan.steps.some((step) => stepKey(step) === device);
  }

  #verdictsIn(vm: VmUuid): Verdict[] {
    return this.#passes.plan.verdicts.filter(({ outcome }) => 'vm' in outcome && outcome.vm === vm);
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
