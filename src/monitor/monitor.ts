/**
 * One VM's life: verbs in turn, deaths, adoption. It knows power and nothing else; what belongs to USB is done by the
 * flows of app around and inside its verbs.
 */
import type { Domain, Driver } from '../hypervisor/driver.ts';
import type { Clock } from '../lib/clock.ts';
import { Fault, isFault, messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import type { VmUuid } from '../model/ids.ts';
import type { PowerState } from '../model/vm.ts';
import { judgeAdoption } from './adoption.ts';
import { Bell } from './bell.ts';
import { handleDeath } from './death.ts';
import { RestartMeter } from './restart-meter.ts';
import { isAgreed, isAlive, isLiving, isPassing, passageOf, stateOf, type Verb } from './states.ts';
import { type Turn, Turns } from './turns.ts';
import { CHECKS, EXECUTORS, type VerbArgs, type VerbTurn } from './verbs.ts';
import {
  type DeathNotice,
  type LoadedConfig,
  type MonitorTiming,
  note,
  type PowerMemory,
  type PowerRecord,
  reachOf,
  type VmContext,
} from './vm-context.ts';

export interface StateChange {
  readonly from: PowerState;
  readonly to: PowerState;
  /** A verb, `adopted`, `observed`, or a death and its policy: `crash, onCrash=restart`. */
  readonly why: string;
}

export interface MonitorOptions {
  readonly uuid: VmUuid;
  readonly name: string;
  readonly driver: Driver;
  readonly clock: Clock;
  readonly log: Log;
  /** Reads the VM's config as it is now. */
  readonly loadConfig: () => Promise<LoadedConfig>;
  /** The inventory's memory of this VM. */
  readonly record: PowerRecord;
  /** The host's boot id: tells what was wanted before the host rebooted. */
  readonly bootId: string;
  readonly timing: MonitorTiming;
  readonly onState: (change: StateChange) => void;
  readonly onDeath: (notice: DeathNotice) => void;
  readonly onWarning: (message: string) => void;
}

export interface PerformOptions {
  /** Gives the verb up, also while it waits for its turn. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number, ofBytes: number | undefined) => void) | undefined;
  /** Runs in the VM's turn, when the verb is found legal and before the driver is told. What it throws fails the verb. */
  readonly before?: ((signal: AbortSignal) => Promise<void>) | undefined;
  /** Runs in the VM's turn, when the verb has succeeded. What it throws becomes a warning: the verb is done. */
  readonly after?: ((signal: AbortSignal) => Promise<void>) | undefined;
}

export interface PerformResult {
  readonly state: PowerState;
  readonly warnings: readonly string[];
  /** The save file, and the bytes that the driver told of last. */
  readonly file?: string;
  readonly bytes?: number;
  /** How long the guest stood still for its save, in milliseconds. */
  readonly pausedMs?: number;
}

/** What is done in a turn: it acts through `vm` only, so that it has no say when it is left behind. */
type TurnJob<T> = (vm: VmContext, turn: Turn) => Promise<T>;

/**
 * INVARIANTS:
 * - Everything that acts runs in a turn, one after the other; the state changes only in a turn, or in `adopt`.
 * - A verb owns what happens to the domain in its turn; what it does not own is judged after it.
 * - An observation is a hint that may be old: when it disagrees with the state, the domain is looked at again in a turn,
 *   and only that is believed.
 * - A turn that does not give up when destroy or close interrupts it is left behind: it reaches nothing any more. Until its
 *   last call has ended, no verb but destroy begins; a domain that it makes after all is destroyed, if none is wanted.
 * - Outside a turn the state is one of rest (or `suspending`, when a save of a former daemon still goes on).
 */
export class Monitor {
  readonly uuid: VmUuid;
  readonly name: string;
  readonly #options: MonitorOptions;
  readonly #vm: VmContext;
  readonly #turns: Turns;
  /** What was left behind and has not ended. */
  readonly #left = new Set<{ readonly verb: string }>();
  #state: PowerState = 'halted';
  #verb: Verb | undefined;
  /** What was observed while a turn went on, last. */
  #seen: { readonly domain: Domain | undefined } | undefined;
  #isLookDue = false;
  /** What was left behind may have made a domain since the last look. */
  #isHaunted = false;

  constructor(options: MonitorOptions) {
    const { uuid, name, driver, clock, timing, record, bootId, loadConfig, onDeath, onWarning } = options;
    this.uuid = uuid;
    this.name = name;
    this.#options = options;
    this.#turns = new Turns({ clock, graceMs: timing.giveUpMs, onLeft: (ended) => this.#leave(ended) });
    const meter = new RestartMeter(clock, timing);
    const enter = (state: PowerState, why: string) => this.#enter(state, why);
    const rest = { bell: new Bell(), meter, enter, warn: onWarning, onDeath };
    this.#vm = { uuid, name, driver, clock, timing, record, bootId, loadConfig, ...rest };
  }

  get state(): PowerState {
    return this.#state;
  }

  /** The verb that goes on now, if any. */
  get verb(): Verb | undefined {
    return this.#verb;
  }

  /** Tells whether devices may move now: the VM runs or is paused, and is not being saved, stopped or restored. */
  get isOpen(): boolean {
    return (this.#state === 'running' || this.#state === 'paused') && this.#verb !== 'checkpoint';
  }

  /**
   * Performs a verb in its turn. `destroy` overtakes: what goes on or waits is given up, then it runs.
   * @throws Fault `vm.state` when the state refuses it in its turn, `vm.busy` when what was given up hangs, `vm.died`, `vm.shutdown_timeout`, `aborted`, the
   * driver's own.
   */
  perform(verb: Verb, args: VerbArgs = {}, options: PerformOptions = {}): Promise<PerformResult> {
    const what = `"${verb}" of VM ${this.name}`;
    const overtakes = verb === 'destroy' ? 'The VM was destroyed meanwhile.' : undefined;
    return this.#take({ what, signal: options.signal, overtakes }, (vm, turn) =>
      this.#run(vm, verb, args, options, turn),
    );
  }

  /** Takes note of what the driver says about the domain now; returns at once, and acts in a turn if it must. */
  observe(domain: Domain | undefined): void {
    this.#seen = { domain };
    this.#vm.bell.ring();
    if (!this.#turns.isTaken) this.#compare();
  }

  /** Takes the VM over from a former daemon: call it once, before anything else. Consequences come in a turn. */
  adopt(domain: Domain | undefined): void {
    const { state, todo, leaving, wanted, warning } = judgeAdoption(domain, this.#vm.record.read(), this.#vm.bootId);
    this.#enter(state, 'adopted');
    if (wanted !== undefined) this.#correct(wanted, leaving ?? state);
    if (warning !== undefined) this.#vm.warn(warning);
    if (todo === 'handle-death') this.#background((vm, { signal }) => handleDeath(vm, domain, signal));
    if (todo === 'clear-remains' && leaving !== undefined) {
      this.#background(async (vm, { signal }) => {
        await vm.driver.destroy(this.uuid, { signal });
        vm.enter(leaving, 'adopted');
      });
    }
  }

  /** Resolves when nothing goes on or waits. */
  idle(): Promise<void> {
    return this.#turns.idle();
  }

  /** Gives up what goes on and refuses what comes; the domain stays as it is. What hangs is left behind. */
  close(): Promise<void> {
    return this.#turns.close();
  }

  async #run(vm: VmContext, verb: Verb, args: VerbArgs, options: PerformOptions, taken: Turn): Promise<PerformResult> {
    const { signal } = taken;
    if (verb !== 'destroy') this.#refuseIfBusy();
    const passage = passageOf(verb, this.#state, this.name);
    let bytes: number | undefined;
    const onProgress = (done: number, ofBytes: number | undefined) => {
      bytes = done;
      options.onProgress?.(done, ofBytes);
    };
    const turn: VerbTurn = { verb, args, signal, onProgress, warnings: [], base: this.#base() };
    this.#verb = verb;
    vm.enter(passage.during, verb);
    try {
      await CHECKS[verb]?.(vm, turn);
      await options.before?.(signal);
      signal.throwIfAborted();
      await EXECUTORS[verb](vm, turn);
    } catch (error) {
      throw await this.#recover(vm, turn, error);
    } finally {
      if (!taken.isLeft) this.#verb = undefined;
    }
    vm.enter(passage.to === 'running' && args.isPaused ? 'paused' : passage.to, verb);
    await options.after?.(signal).catch((error: unknown) => turn.warnings.push(messageOf(error)));
    const result = { state: this.#state, warnings: turn.warnings };
    if (turn.file === undefined) return result;
    const { file, pausedMs } = turn;
    return {
      ...{ ...result, file },
      ...(bytes === undefined ? {} : { bytes }),
      ...(pausedMs === undefined ? {} : { pausedMs }),
    };
  }

  #refuseIfBusy(): void {
    const [left] = this.#left;
    if (left === undefined) return;
    const hint = 'It was given up, but a call of it hangs, perhaps at a file. If it never ends, restart the daemon.';
    throw new Fault('vm.busy', { vm: this.name, verb: left.verb }, { hint });
  }

  /** The state of rest that a verb which fails goes back to; not one of rest itself when a turn was left behind in it. */
  #base(): PowerState {
    if (isPassing(this.#state)) return this.#vm.record.read().suspendFile === undefined ? 'halted' : 'suspended';
    return this.#state;
  }

  /** Comes to rest after a verb that failed: back to where it was, as far as the domain agrees. Gives what to throw. */
  async #recover(vm: VmContext, turn: VerbTurn, error: unknown): Promise<unknown> {
    const domain = await vm.driver.find(this.uuid).catch(() => 'unknown' as const);
    if (domain === 'unknown') {
      vm.enter(turn.base, `${turn.verb} failed`);
      return error;
    }
    const isBack = isAlive(turn.base) && isLiving(domain) && domain.run !== 'saving';
    vm.enter(isBack ? stateOf(domain) : turn.base, `${turn.verb} failed`);
    if (!isAgreed(this.#state, domain)) this.#lookSoon();
    if (!isAlive(turn.base) || isLiving(domain)) return error;
    const what = domain?.death?.detail ?? domain?.death?.reason ?? 'its domain is gone';
    return new Fault('vm.died', { vm: this.name, verb: turn.verb, what }, { cause: error });
  }

  /** Compares the last observation with the state, outside of turns or at the end of one. */
  #compare(): void {
    const seen = this.#seen;
    this.#seen = undefined;
    if (seen !== undefined && !isAgreed(this.#state, seen.domain)) this.#lookSoon();
  }

  #lookSoon(): void {
    if (this.#isLookDue) return;
    this.#isLookDue = true;
    this.#background(async (vm, { signal }) => {
      this.#isLookDue = false;
      const hasAllEnded = this.#left.size === 0;
      await this.#believe(vm, await vm.driver.find(this.uuid, { signal }), signal);
      if (hasAllEnded) this.#isHaunted = false;
    });
  }

  async #believe(vm: VmContext, domain: Domain | undefined, signal: AbortSignal): Promise<void> {
    const isEndWanted = vm.record.read().wanted === 'halted';
    if (isLiving(domain) && this.#isHaunted && isEndWanted) {
      await vm.driver.destroy(this.uuid, { signal });
      vm.warn(`What was given up of VM ${this.name} made a domain after all; it was destroyed.`);
      vm.enter('halted', 'observed');
    } else if (isLiving(domain)) {
      const wasAlive = isAlive(this.#state);
      vm.enter(stateOf(domain), 'observed');
      if (!wasAlive) this.#correct('running', this.#state);
    } else if (isAlive(this.#state) && isEndWanted) {
      // A destroy that took too long has come to its end.
      await vm.driver.destroy(this.uuid, { signal });
      vm.enter('halted', 'observed');
    } else if (isAlive(this.#state)) await handleDeath(vm, domain, signal);
    else if (domain !== undefined && this.#state === 'suspended') await vm.driver.destroy(this.uuid, { signal });
  }

  /** Notes that a turn is left behind, and looks again when its last call has ended. */
  #leave(ended: Promise<void>): void {
    const left = { verb: this.#verb ?? 'its care' };
    this.#left.add(left);
    this.#isHaunted = true;
    this.#verb = undefined;
    this.#vm.warn(`"${left.verb}" of VM ${this.name} was given up and does not end: it is left behind.`);
    void ended.then(() => {
      this.#left.delete(left);
      this.#lookSoon();
    });
  }

  /** Has the memory say what was found; a save file is kept only by a VM that is suspended. */
  #correct(wanted: PowerMemory['wanted'], state: PowerState): void {
    const { suspendFile } = this.#vm.record.read();
    note(this.#vm, wanted, state === 'suspended' ? suspendFile : undefined);
  }

  #take<T>(request: Parameters<Turns['take']>[0], job: TurnJob<T>): Promise<T> {
    return this.#turns.take(request, async (turn) => {
      try {
        return await job(reachOf(this.#vm, turn), turn);
      } finally {
        if (!turn.isLeft) this.#compare();
      }
    });
  }

  /** Runs a turn that nobody waits for. Being given up is no news; a fault is a warning; anything else is a bug. */
  #background(job: TurnJob<void>): void {
    this.#take({ what: `The care for VM ${this.name}` }, job).catch((error: unknown) => {
      this.#isLookDue = false; // It may have been given up before it began.
      if (isFault(error, 'aborted', 'daemon.stopping')) return;
      if (isFault(error)) this.#vm.warn(error.message);
      else this.#options.log.error('the care for a VM failed', { vm: this.name, error });
    });
  }

  #enter(to: PowerState, why: string): void {
    const from = this.#state;
    if (from === to) return;
    this.#state = to;
    this.#options.onState({ from, to, why });
  }
}
