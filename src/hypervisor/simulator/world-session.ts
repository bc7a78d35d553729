/**
 * One client's port into a world in this process: gives each call its latency and its troubles, and undoes what a client
 * leaves half done. The socket server gives each connection one of these.
 */
import { sleep } from '../../lib/clock.ts';
import { asFault, Fault, type FaultDetails } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import { deviceKey, parseDeviceRef } from '../../model/usb.ts';
import type { World } from './world.ts';
import type { ParamsOf, ResultOf, Trouble, WorldHint, WorldMethod, WorldPort } from './world-port.ts';

type Handlers = {
  readonly [M in WorldMethod]: (world: World, params: ParamsOf<M>) => ResultOf<M>;
};

const HANDLERS: Handlers = {
  list: (world) => world.list(),
  find: (world, { uuid }) => world.find(uuid),
  start: (world, params) => world.start(params),
  pause: (world, { uuid }) => done(world.pause(uuid)),
  unpause: (world, { uuid }) => done(world.unpause(uuid)),
  requestShutdown: (world, { uuid }) => done(world.requestShutdown(uuid)),
  reset: (world, { uuid }) => done(world.reset(uuid)),
  destroy: (world, { uuid }) => done(world.destroy(uuid)),
  config: (world, { uuid }) => world.config(uuid),
  copyMemory: (world, { uuid, file }) => done(world.copyMemory(uuid, file)),
  beginSave: (world, { uuid, file }) => world.beginSave(uuid, file),
  endSave: (world, { uuid, afterwards }) => done(world.endSave(uuid, afterwards)),
  attachDevice: (world, { uuid, slot, device, isForeign }) => world.attachDevice(uuid, slot, device, isForeign),
  detachDevice: (world, { uuid, attachment }) => done(world.detachDevice(uuid, attachment)),
  addController: (world, { uuid }) => world.addController(uuid),
  describe: (world, { uuid }) => world.describe(uuid),
  changeMedium: (world, { uuid, target, file }) => done(world.changeMedium(uuid, target, file)),
  setMemoryTarget: (world, { uuid, memoryMiB }) => done(world.setMemoryTarget(uuid, memoryMiB)),
  trigger: (world, { uuid, trigger }) => done(world.trigger(uuid, trigger)),
  backends: (world) => world.backends(),
  devices: (world, { backend }) => world.devices(backend),
  guest: (world, { uuid, action }) => world.guest(uuid, action),
  deviceModel: (world, { uuid, isGone }) => done(world.setDeviceModel(uuid, isGone)),
  plug: (world, options) => world.plug(options),
  unplug: (world, place) => done(world.unplug(place)),
  removeBackend: (world, { backend }) => done(world.removeBackend(backend)),
  disturb: (world, disturbance) => done(world.disturbances.add(disturbance)),
  disturbHints: (world, trouble) => done(world.disturbances.setHints(trouble)),
  calm: (world) => done(world.disturbances.calm()),
  journal: (world) => world.journal(),
};

/** Calls that change nothing in the domains, or come from outside: not worth a row in the journal. */
const UNNOTED: ReadonlySet<WorldMethod> = new Set<WorldMethod>([
  ...([
    'list',
    'find',
    'describe',
    'config',
    'copyMemory',
    'backends',
    'devices',
    'guest',
    'deviceModel',
    'plug',
    'unplug',
    'removeBackend',
  ] as const),
  ...(['disturb', 'disturbHints', 'calm', 'journal'] as const),
]);

/** Tells whether the world has such a call. */
export function isWorldMethod(untrustedMethod: unknown): untrustedMethod is WorldMethod {
  return typeof untrustedMethod === 'string' && Object.hasOwn(HANDLERS, untrustedMethod);
}

/**
 * INVARIANTS: a call whose signal is aborted before its effect has none; a start that fails after its effect is undone,
 * unless the client is gone; saves that the client began and did not end are undone when it goes.
 */
export class WorldSession implements WorldPort {
  readonly #world: World;
  readonly #onClose: () => void;
  readonly #gone = new AbortController();
  readonly #listeners = new Set<(hint: WorldHint) => void>();
  readonly #saves = new Set<VmUuid>();

  constructor(world: World, onClose: () => void) {
    this.#world = world;
    this.#onClose = onClose;
  }

  async call<M extends WorldMethod>(method: M, params: ParamsOf<M>, signal?: AbortSignal): Promise<ResultOf<M>> {
    signal?.throwIfAborted();
    this.#gone.signal.throwIfAborted();
    const subject = subjectOf(params);
    try {
      const result = await this.#perform(method, params, signal, subject);
      if (!UNNOTED.has(method)) this.#world.note({ method, ...subject });
      return result;
    } catch (error) {
      if (!UNNOTED.has(method)) this.#world.note({ method, ...subject, fault: asFault(error).code });
      throw error;
    }
  }

  onHint(listener: (hint: WorldHint) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  deliver(hint: WorldHint): void {
    for (const listener of this.#listeners) listener(hint);
  }

  close(): Promise<void> {
    this.#onClose();
    this.#listeners.clear();
    this.#gone.abort(new Fault('hypervisor.missing', { what: 'the way into the simulated world is closed' }));
    for (const uuid of this.#saves) this.#world.endSave(uuid, 'as before');
    this.#saves.clear();
    return Promise.resolve();
  }

  async #perform<M extends WorldMethod>(
    method: M,
    params: ParamsOf<M>,
    signal: AbortSignal | undefined,
    subject: Subject,
  ): Promise<ResultOf<M>> {
    const world = this.#world;
    const latencyMs = world.latencyMs[method] ?? 0;
    const troubles = world.disturbances.take(method, subject.uuid, subject.device);
    if (latencyMs === 0 && troubles.length === 0) return this.#effect(method, params);

    const either = signal === undefined ? this.#gone.signal : AbortSignal.any([signal, this.#gone.signal]);
    if (latencyMs > 0) await sleep(world.clock, latencyMs, either);
    for (const trouble of troubles) await this.#befall(trouble, 'before', subject, either);
    const result = this.#effect(method, params);
    try {
      for (const trouble of troubles) await this.#befall(trouble, 'after', subject, either);
    } catch (error) {
      if (method === 'start' && subject.uuid !== undefined && !this.#gone.signal.aborted) world.destroy(subject.uuid);
      throw error;
    }
    return result;
  }

  #effect<M extends WorldMethod>(method: M, params: ParamsOf<M>): ResultOf<M> {
    const result = HANDLERS[method](this.#world, params);
    const uuid = subjectOf(params).uuid;
    if (method === 'beginSave' && uuid !== undefined) this.#saves.add(uuid);
    if (method === 'endSave' && uuid !== undefined) this.#saves.delete(uuid);
    return result;
  }

  async #befall(trouble: Trouble, when: 'before' | 'after', subject: Subject, signal: AbortSignal): Promise<void> {
    const world = this.#world;
    if (trouble.do === 'unplug' || trouble.do === 'kill') {
      if (when === 'after') return;
      if (trouble.do === 'unplug')
        return subject.device === undefined ? undefined : world.unplug(parseDeviceRef(subject.device));
      if (subject.uuid === undefined) return;
      const details = { ...detailsOf(world, subject), verb: 'a call', what: 'the simulator killed it' };
      world.destroy(subject.uuid);
      throw new Fault('vm.died', details);
    }
    if ((trouble.when ?? 'before') !== when) return;
    if (trouble.do === 'delay') await sleep(world.clock, trouble.ms, signal);
    else if (trouble.do === 'hang') await world.disturbances.hang(signal);
    else throw new Fault(trouble.code, { ...detailsOf(world, subject), ...trouble.details });
  }
}

interface Subject {
  readonly uuid?: VmUuid;
  readonly device?: string;
}

/** Finds out of any call's parameters which domain and which device it is about. */
function subjectOf(params: ParamsOf<WorldMethod>): Subject {
  const uuid = 'uuid' in params ? params.uuid : 'config' in params ? params.config.uuid : undefined;
  const device = 'device' in params ? params.device : 'attachment' in params ? params.attachment : undefined;
  return {
    ...(uuid === undefined ? {} : { uuid }),
    ...(device === undefined ? {} : { device: typeof device === 'string' ? device : deviceKey(device) }),
  };
}

/** Fills the sentence of whichever Fault a test asks for. */
function detailsOf(world: World, { uuid = '' as VmUuid, device = 'a device' }: Subject): FaultDetails {
  return { vm: world.find(uuid)?.name ?? uuid, device, file: 'the file', what: 'the simulator was told so' };
}

/** A method that gives nothing answers `null`, which JSON has. */
function done(_nothing: unknown): null {
  return null;
}
