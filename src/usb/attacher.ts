/**
 * The attacher: executes the planner's steps, each device by itself, and remembers for the planner what is under way and
 * what failed. It decides nothing; who observes the results is the router.
 */
import { type Clock, sleep } from '../lib/clock.ts';
import { type BackoffOptions, backoffMs, withDeadline } from '../lib/deadline.ts';
import { asFault, type Fault, reasonOf } from '../lib/fault.ts';
import { KeyedQueue } from '../lib/keyed-queue.ts';
import type { VmUuid } from '../model/ids.ts';
import { stepKey } from './plan.ts';
import type { AttacherState, DeviceMemory, Memory, Step, StepExecutors, StepKind } from './plan-types.ts';

/** How a step ended: it did, or it failed and is tried again in `retryMs`. */
export type StepResult =
  | { readonly is: 'done' }
  | { readonly is: 'failed'; readonly fault: Fault; readonly retryMs: number };

export interface AttacherOptions {
  readonly executors: StepExecutors;
  readonly clock: Clock;
  /** Called when a step has ended, failed or not. Must not throw. */
  readonly onEnd: (step: Step, result: StepResult) => void;
  /** How long a device is left in peace before it is attached. Default 0. */
  readonly settleMs?: number | undefined;
  readonly deadlinesMs?: Partial<Readonly<Record<StepKind, number>>> | undefined;
  readonly backoff?: BackoffOptions | undefined;
  readonly random?: (() => number) | undefined;
}

const DEADLINES_MS: Readonly<Record<StepKind, number>> = {
  attach: 30_000,
  detach: 30_000,
  addController: 30_000,
  dropHold: 10_000,
  carryHold: 10_000,
  ask: 10_000,
  endQuestion: 10_000,
};
const BACKOFF: BackoffOptions = { firstMs: 500, capMs: 60_000, jitter: 0.2 };

/** Faults of which only the reason is kept: who tells it names the device and the VM. */
const TOLD_WITH_SUBJECT = ['usb.attach_failed', 'usb.detach_failed', 'usb.controller_failed'] as const;

interface Entry {
  state: AttacherState;
  inFlight?: Step;
  /** The number of the step's end, once it has ended. */
  endedAs?: number;
  failures: number;
  retryAt?: number;
  lastError?: string;
  generation: string;
  vm?: VmUuid;
}

/**
 * INVARIANTS: a device (or a VM's next controller) has at most one step at a time, from `submit` until its end has been observed (`confirm`): a plan
 * made from an older observation cannot repeat it. Executors of one device never overlap, not even with one that was
 * given up at its deadline and goes on; devices never wait for each other.
 */
export class Attacher {
  readonly #options: AttacherOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #queue = new KeyedQueue();
  readonly #closing = new AbortController();
  #ends = 0;

  constructor(options: AttacherOptions) {
    this.#options = options;
  }

  /** What the planner is to know. Live: it changes as steps end. */
  get memory(): Memory {
    return this.#entries as ReadonlyMap<string, DeviceMemory>;
  }

  /** How many steps have ended so far: taken before looking, handed to {@link confirm} after it. */
  get ends(): number {
    return this.#ends;
  }

  /** Tells whether steps (of that VM) are under way, or ended without having been observed; `isLost` VMs do not count. */
  isBusy(vm?: VmUuid, isLost: (vm: VmUuid) => boolean = () => false): boolean {
    for (const { inFlight } of this.#entries.values()) {
      if (inFlight === undefined) continue;
      const about = vmOf(inFlight);
      if ((vm === undefined || about === vm) && (about === undefined || !isLost(about))) return true;
    }
    return false;
  }

  /** Starts the steps; one whose device has a step under way is passed over, the next plan will bring it again. */
  submit(steps: readonly Step[]): void {
    for (const step of steps) {
      const key = stepKey(step);
      const before = this.#entries.get(key);
      if (before?.inFlight !== undefined || this.#closing.signal.aborted) continue;
      const generation = generationOf(step);
      const vm = vmOf(step);
      const isSame = before?.generation === generation && before.vm === vm;
      const failures = isSame ? before.failures : 0;
      const entry: Entry = {
        state: 'queued',
        inFlight: step,
        failures,
        generation,
        ...(vm === undefined ? {} : { vm }),
      };
      this.#entries.set(key, entry);
      void this.#queue.run(key, () => this.#perform(step, entry));
    }
  }

  /** Takes note that the VM was observed from a moment on when `ends` steps had ended: those of them are settled now. */
  confirm(vm: VmUuid, ends: number): void {
    for (const [key, entry] of this.#entries) {
      if (entry.inFlight === undefined || vmOf(entry.inFlight) !== vm) continue;
      if (entry.endedAs !== undefined && entry.endedAs <= ends) this.#settle(key, entry);
    }
  }

  /** Forgets the failures of everything, or of one VM: the next plan tries again at once. */
  forgive(vm?: VmUuid): void {
    for (const [key, entry] of this.#entries) {
      if (entry.inFlight === undefined && (vm === undefined || entry.vm === vm)) this.#entries.delete(key);
    }
  }

  /** Forgets the failures of one step key: a device, `backend:busid`, or a VM's next controller. */
  forgiveOne(key: string): void {
    if (this.#entries.get(key)?.inFlight === undefined) this.#entries.delete(key);
  }

  /** Forgets what failed of devices that are no longer about. */
  keepOnly(keys: ReadonlySet<string>): void {
    for (const [key, entry] of this.#entries) {
      if (entry.inFlight === undefined && !keys.has(key)) this.#entries.delete(key);
    }
  }

  /** Aborts what is under way, takes no more steps, and resolves when the executors have returned. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#queue.idle();
  }

  /** Resolves when the executor has truly returned, so that the device's next step cannot overlap it. */
  async #perform(step: Step, entry: Entry): Promise<void> {
    const { clock, deadlinesMs, settleMs = 0 } = this.#options;
    const timeoutMs = settleMs + (deadlinesMs?.[step.kind] ?? DEADLINES_MS[step.kind]);
    const what = step.kind === 'addController' ? 'Adding a USB controller' : `Step ${step.kind} of ${stepKey(step)}`;
    const limits = { what, timeoutMs, signal: this.#closing.signal, clock };
    let executing: Promise<void> = Promise.resolve();
    let fault: Fault | undefined;
    try {
      await withDeadline(limits, (signal) => {
        executing = this.#execute(step, entry, signal);
        return executing;
      });
    } catch (error) {
      fault = asFault(error);
    }
    this.#end(step, entry, fault);
    await executing.catch(ignore);
  }

  async #execute(step: Step, entry: Entry, signal: AbortSignal): Promise<void> {
    const { executors, clock, settleMs = 0 } = this.#options;
    switch (step.kind) {
      case 'attach':
        if (settleMs > 0) {
          entry.state = 'settling';
          await sleep(clock, settleMs, signal);
        }
        entry.state = 'attaching';
        return executors.attach(step, signal);
      case 'detach':
        entry.state = 'detaching';
        return executors.detach(step, signal);
      case 'addController':
        return executors.addController(step, signal);
      case 'dropHold':
        return executors.dropHold(step, signal);
      case 'carryHold':
        return executors.carryHold(step, signal);
      case 'ask':
        return executors.ask(step, signal);
      case 'endQuestion':
        return executors.endQuestion(step, signal);
    }
  }

  #end(step: Step, entry: Entry, fault: Fault | undefined): void {
    this.#ends += 1;
    entry.endedAs = this.#ends;
    if (fault === undefined) {
      entry.failures = 0;
      delete entry.lastError;
      if (step.kind === 'attach') entry.state = 'attached';
    } else {
      entry.state = 'failed';
      entry.failures += 1;
      entry.lastError = reasonOf(fault, ...TOLD_WITH_SUBJECT);
    }
    const retryMs = backoffMs(entry.failures, this.#options.backoff ?? BACKOFF, this.#options.random);
    if (fault !== undefined) entry.retryAt = this.#options.clock.monotonic() + retryMs;
    if (vmOf(step) === undefined) this.#settle(stepKey(step), entry); // Its effect is not in a VM: nothing to observe.
    this.#options.onEnd(step, fault === undefined ? { is: 'done' } : { is: 'failed', fault, retryMs });
  }

  #settle(key: string, entry: Entry): void {
    if (entry.state === 'failed') {
      delete entry.inFlight;
      delete entry.endedAs;
    } else this.#entries.delete(key);
  }
}

function vmOf(step: Step): VmUuid | undefined {
  return 'vm' in step ? step.vm : undefined;
}

function generationOf(step: Step): string {
  switch (step.kind) {
    case 'attach':
      return step.device.generation;
    case 'detach':
      return step.attachment.generation;
    case 'addController':
      return '';
    case 'dropHold':
    case 'carryHold':
      return step.hold.generation;
    case 'ask':
      return step.device.generation;
    case 'endQuestion':
      return step.question.generation;
  }
}

function ignore(): void {}
