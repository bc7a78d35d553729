/**
 * A whole Usher in this process over a simulated world whose clock is turned by hand, for faults that strike at one exact
 * moment. Its daemons can be killed: what a killed one had begun never goes on, and the next one has the same home.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Composition, compose } from '../../src/app/composition.ts';
import { type Places, placesOf } from '../../src/config/places.ts';
import { DEFAULT_SETTINGS } from '../../src/config/settings.ts';
import { World, type WorldOptions } from '../../src/hypervisor/simulator/world.ts';
import type { PlugOptions, WorldMethod, WorldPort } from '../../src/hypervisor/simulator/world-port.ts';
import { type Clock, ManualClock } from '../../src/lib/clock.ts';
import { silentLog } from '../../src/lib/log.ts';
import type { Actor } from '../../src/model/audit.ts';
import type { VmUuid } from '../../src/model/ids.ts';
import { deviceKey, type UsbDevice } from '../../src/model/usb.ts';
import type { Moment } from './moments.ts';

/** How long an attach and a detach take in this world: long enough for something to happen meanwhile. */
export const STEP_MS = 100;
const PERSON: Actor = { uid: process.getuid?.() ?? 0, pid: process.pid, user: 'person' };
/** In memory where there is such a place: the trail is flushed at each row, and there are thousands of them. */
const SCRATCH = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
/** No wait of a test is longer, in simulated time. */
const PATIENCE_MS = 120_000;

/** One daemon's life. */
interface Daemon {
  readonly composition: Composition;
  readonly sessions: readonly WorldPort[];
  isDead: boolean;
}

export interface StageOptions extends Omit<WorldOptions, 'clock'> {
  /** Where the home is; a folder of its own otherwise. */
  readonly home?: string | undefined;
}

export class FaultStage {
  readonly clock = new ManualClock();
  readonly world: World;
  readonly places: Places;
  /** What the wall clock says differs by so much from the time that has gone by. */
  wallAheadMs = 0;
  #daemon: Daemon | undefined;
  readonly #dead: Daemon[] = [];
  readonly #vms = new Map<string, VmUuid>();
  readonly #ownHome: string | undefined;
  #failure: { readonly error: unknown } | undefined;
  readonly #asides: Promise<unknown>[] = [];
  #armed: { readonly moment: Moment; readonly device: string; readonly strike: () => void } | undefined;

  constructor({ home, ...options }: StageOptions = {}) {
    this.#ownHome = home === undefined ? mkdtempSync(join(SCRATCH, 'usher-faults-')) : undefined;
    this.places = placesOf({ USHER_HOME: home ?? this.#ownHome ?? '' });
    for (const folder of [this.places.stateFolder, this.places.vmSocketFolder]) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    }
    const latencyMs = { attachDevice: STEP_MS, detachDevice: STEP_MS };
    this.world = new World({ ...options, clock: this.clock, latencyMs: { ...latencyMs, ...options.latencyMs } });
  }

  get engine(): Composition['engine'] {
    return this.#living.composition.engine;
  }

  /** Opens a daemon on the home; the one before is dead or closed. */
  async openDaemon(): Promise<void> {
    const sessions: WorldPort[] = [];
    const life = { isDead: false };
    const clock: Clock = {
      now: () => Math.round(this.clock.now()) + this.wallAheadMs,
      monotonic: () => this.clock.monotonic(),
      after: (ms, fire) => this.clock.after(ms, () => life.isDead || fire()),
    };
    const composing = compose({
      version: 'faults',
      places: this.places,
      settings: { ...DEFAULT_SETTINGS, defaultDriver: 'simulator', maxRestarts: 1000 },
      log: silentLog,
      clock,
      systemLog: join(this.places.runtimeFolder, 'no-log'),
      simulatorWorld: () => {
        const session = this.world.open();
        sessions.push(session);
        return this.#watched(session, life);
      },
    });
    const composition = await this.finish(composing);
    this.#daemon = Object.assign(life, { composition, sessions });
    composition.engine.audit.onRow((row) => {
      const step = row.action === 'step.attach' ? 'attach' : row.action === 'step.detach' ? 'detach' : undefined;
      if (step === undefined || row.device === undefined) return;
      this.#reach(`${step} ${row.kind === 'intent' ? 'intended' : 'concluded'}`, row.device);
    });
    await this.finish(composition.open());
  }

  /** Kills the daemon as SIGKILL does: nothing that it began goes on, not even to fail. */
  killDaemon(): void {
    const daemon = this.#living;
    daemon.isDead = true;
    for (const session of daemon.sessions) void session.close();
    this.#dead.push(daemon);
    this.#asides.length = 0;
    this.#daemon = undefined;
  }

  /** Ends everything. */
  async clear(): Promise<void> {
    this.world.disturbances.calm();
    if (this.#daemon !== undefined) await this.finish(this.#daemon.composition.close());
    for (const { composition } of this.#dead) {
      const { audit, inventory, events, sockets } = composition.engine;
      await this.finish(sockets.closeAll());
      for (const store of [audit, inventory, events]) store.close();
    }
    if (this.#ownHome !== undefined) rmSync(this.#ownHome, { recursive: true });
  }

  /** Asks for an operation, as a person at the socket does. */
  ask(operation: string, params: unknown): Promise<unknown> {
    const call = { actor: PERSON, notify() {}, signal: new AbortController().signal };
    return this.#living.composition.dispatcher.perform(operation, params, call);
  }

  /** Asks for an operation and lets time go on until it is done. */
  async do(operation: string, params: unknown): Promise<unknown> {
    return await this.finish(this.ask(operation, params));
  }

  /** Asks for an operation, and waits for it at the next {@link quiet}; a daemon that is killed never answers. */
  askAside(operation: string, params: unknown): void {
    if (this.#daemon === undefined) return;
    const asked = this.ask(operation, params);
    asked.catch(() => {}); // Whether it may be refused, the fault decides; what came of it is looked at in the end.
    this.#asides.push(asked);
  }

  /** Lets time go on until all that was asked for aside has been answered, in whatever way. */
  async quiet(): Promise<void> {
    await this.finish(Promise.allSettled(this.#asides.splice(0)));
  }

  /** Makes a VM with the lines of its config and starts it. */
  async makeVm(name: string, lines: readonly string[] = ['usbctrl = version=3,ports=8']): Promise<VmUuid> {
    const content = [`name = ${name}`, 'driver = simulator', 'memory = 64', ...lines, ''].join('\n');
    const { uuid } = (await this.do('vm.create', { content })) as { uuid: VmUuid };
    this.#vms.set(name, uuid);
    await this.do('vm.start', { vm: name });
    return uuid;
  }

  uuidOf(name: string): VmUuid {
    const uuid = this.#vms.get(name);
    assert.ok(uuid !== undefined, `there is no VM ${name}`);
    return uuid;
  }

  get vmNames(): readonly string[] {
    return [...this.#vms.keys()];
  }

  plug(busid: string, serial: string, more: Partial<PlugOptions> = {}): UsbDevice {
    return this.world.plug({ busid, serial, ...more });
  }

  unplug(busid: string, backend = 'dom0'): void {
    this.world.unplug({ backend, busid });
  }

  /** Has `strike` called when the device comes to the moment for the first time. */
  arm(moment: Moment, device: string, strike: () => void): void {
    this.#armed = { moment, device, strike };
  }

  /** Says that the device is at rest, which is a moment too. */
  rest(device: string): void {
    this.#reach('attached', device);
  }

  /** The VM's power state, as its monitor has it. */
  stateOf(name: string): string | undefined {
    return this.engine.fleet.find(this.uuidOf(name))?.state;
  }

  /** Tells whether nothing is under way or planned for the device. */
  isSettled(device: string): boolean {
    const outcome = this.engine.router.verdictOf(device)?.outcome.is;
    return outcome !== 'attaching' && outcome !== 'detaching';
  }

  /** Lets time go on. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Lets time go on until the promise has settled: slowly, for there may be real files to wait for. */
  async finish<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settled = () => {
      isSettled = true;
    };
    promise.then(settled, settled);
    const end = this.clock.monotonic() + PATIENCE_MS;
    for (let turn = 0; ; turn++) {
      await this.clock.advance(turn < 20 ? 0 : 20);
      if (isSettled) return await promise;
      if (turn >= 20) await new Promise((resolve) => setTimeout(resolve, 1));
      assert.ok(this.clock.monotonic() < end, 'what was asked for has not come to an end');
    }
  }

  get #living(): Daemon {
    assert.ok(this.#daemon !== undefined, 'no daemon runs');
    return this.#daemon;
  }

  /** Waits until what was armed has struck. @throws what it threw */
  async struck(): Promise<void> {
    await this.until('The moment of the fault', () => this.#armed === undefined);
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.error;
  }

  /** Waits until something is so, in simulated time. */
  async until(what: string, isSo: () => boolean): Promise<void> {
    const end = this.clock.monotonic() + PATIENCE_MS;
    while (!isSo()) {
      assert.ok(this.clock.monotonic() < end, `${what}: not within ${PATIENCE_MS} ms`);
      await this.pass(10);
    }
  }

  #reach(moment: Moment, device: string): void {
    const armed = this.#armed;
    if (armed?.moment !== moment || armed.device !== device) return;
    this.#armed = undefined;
    try {
      armed.strike();
    } catch (error) {
      this.#failure = { error }; // Who tells of the moment may not be interrupted; the test is.
    }
  }

  /** A way into the world that tells at which moment its daemon is, and leaves a dead one without an answer for ever. */
  #watched(session: WorldPort, life: { readonly isDead: boolean }): WorldPort {
    const never = new Promise<never>(() => {});
    const before: WorldPort['call'] = (method, params, signal) => {
      const device = moved(method, params);
      const moment = method === 'attachDevice' ? 'attaching' : 'detaching';
      if (device !== undefined) this.clock.after(STEP_MS / 2, () => life.isDead || this.#reach(moment, device));
      return session.call(method, params, signal);
    };
    return {
      call: async (method, params, signal) => {
        if (life.isDead) return await never;
        try {
          const result = await before(method, params, signal);
          const device = moved(method, params);
          if (device !== undefined) this.#reach(method === 'attachDevice' ? 'in the VM' : 'out of the VM', device);
          if (method === 'devices') for (const one of result as UsbDevice[]) this.#reach('seen', deviceKey(one));
          return life.isDead ? await never : result;
        } catch (error) {
          return life.isDead ? await never : await Promise.reject(error);
        }
      },
      onHint: (listener) => session.onHint((hint) => life.isDead || listener(hint)),
      close: () => session.close(),
    };
  }
}

/** Which device a call brings into a VM, or out of one. */
function moved(method: WorldMethod, params: unknown): string | undefined {
  if (method === 'attachDevice') return deviceKey((params as { device: UsbDevice }).device);
  if (method === 'detachDevice') return deviceKey((params as { attachment: UsbDevice }).attachment);
  return undefined;
}
