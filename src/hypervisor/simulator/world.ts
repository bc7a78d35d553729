/**
 * The simulated world: a host with devices, domains with guests, a clock, and troubles on demand. What a hypervisor is to
 * a real driver; it outlives its clients. Its methods are the reference semantics of driver.ts, all of them immediate:
 * who calls, waits, fails and is cut off is in world-session.ts.
 */
import { type Clock, systemClock } from '../../lib/clock.ts';
import { Fault } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { Attachment, UsbDevice, UsbSlot } from '../../model/usb.ts';
import type { Trigger, VmConfig } from '../../model/vm.ts';
import type { Controller, DeathReason, Domain, DomainDescription } from '../driver.ts';
import { Disturbances } from './disturbances.ts';
import { SimulatedDomain } from './simulated-domain.ts';
import { SimulatedUsb } from './simulated-usb.ts';
import type {
  GuestAction,
  GuestMemory,
  GuestState,
  JournalEntry,
  ParamsOf,
  PlugOptions,
  WorldHint,
  WorldMethod,
  WorldPort,
} from './world-port.ts';
import { WorldSession } from './world-session.ts';

export interface WorldOptions {
  readonly clock?: Clock | undefined;
  /** How long each call takes, by method; the others take no time at all. */
  readonly latencyMs?: Partial<Record<WorldMethod, number>> | undefined;
  /** How long a guest boots before it listens. Default 0. */
  readonly bootMs?: number | undefined;
  /** How long a guest takes from hearing the power button to its halt. Default 0. */
  readonly shutdownMs?: number | undefined;
  /** As many controllers a domain can have, with those that are added. Default 0: none is added. */
  readonly maxControllers?: number | undefined;
}

const JOURNAL_ROWS = 10_000;

export class World {
  readonly clock: Clock;
  readonly latencyMs: Partial<Record<WorldMethod, number>>;
  readonly disturbances = new Disturbances();
  readonly #bootMs: number;
  readonly #shutdownMs: number;
  readonly #maxControllers: number;
  readonly #usb = new SimulatedUsb();
  readonly #domains = new Map<VmUuid, SimulatedDomain>();
  readonly #sessions = new Set<WorldSession>();
  readonly #journal: JournalEntry[] = [];
  #lastHandle = 0;

  constructor(options: WorldOptions = {}) {
    const { clock = systemClock, latencyMs = {}, bootMs = 0, shutdownMs = 0, maxControllers = 0 } = options;
    this.clock = clock;
    this.latencyMs = { ...latencyMs };
    this.#bootMs = bootMs;
    this.#shutdownMs = shutdownMs;
    this.#maxControllers = maxControllers;
  }

  /** Opens a port for a client in this process. */
  open(): WorldPort {
    const session = new WorldSession(this, () => this.#sessions.delete(session));
    this.#sessions.add(session);
    return session;
  }

  /** Cuts all clients off at once, as `kill -9` of a daemon does: what they asked for and is not done yet never will be. */
  async dropClients(): Promise<void> {
    for (const session of [...this.#sessions]) await session.close();
  }

  list(): Domain[] {
    return [...this.#domains.values()].map((domain) => domain.view());
  }

  find(uuid: VmUuid): Domain | null {
    return this.#domains.get(uuid)?.view() ?? null;
  }

  start({ config, isPaused, memory }: ParamsOf<'start'>): Domain {
    const { uuid, name } = config;
    if (this.#domains.has(uuid)) throw new Fault('vm.exists', { key: 'uuid', value: uuid });
    if (memory !== undefined && memory.uuid !== uuid) {
      throw new Fault('vm.start_failed', { vm: name, what: 'the memory is that of another VM' });
    }
    const domain = new SimulatedDomain(config, {
      handle: ++this.#lastHandle,
      clock: this.clock,
      bootMs: this.#bootMs,
      maxControllers: this.#maxControllers,
      memory,
    });
    domain.setRun(isPaused ? 'paused' : 'running');
    this.#domains.set(uuid, domain);
    this.hint({ about: 'power', uuid });
    return domain.view();
  }

  pause(uuid: VmUuid): void {
    this.#living(uuid).setRun('paused');
    this.hint({ about: 'power', uuid });
  }

  unpause(uuid: VmUuid): void {
    const domain = this.#living(uuid);
    domain.setRun('running');
    this.hint({ about: 'power', uuid });
    this.#pressPowerButton(domain);
  }

  /** A guest that still boots, or hangs, never hears of it; one that stands still does when it runs again. */
  requestShutdown(uuid: VmUuid): void {
    const domain = this.#living(uuid);
    domain.isShutdownAsked = domain.run !== 'running' || domain.guest.isReady;
    this.#pressPowerButton(domain);
  }

  reset(uuid: VmUuid): void {
    const domain = this.#living(uuid);
    domain.isShutdownAsked = false;
    domain.guest.reboot();
  }

  destroy(uuid: VmUuid): void {
    const domain = this.#domains.get(uuid);
    if (domain === undefined) return;
    this.#domains.delete(uuid);
    this.#usb.letGo(domain);
    this.hint({ about: 'power', uuid });
  }

  config(uuid: VmUuid): VmConfig {
    return this.#living(uuid).config;
  }

  copyMemory(uuid: VmUuid, file: string): void {
    checkUnattached(this.#living(uuid), file);
  }

  beginSave(uuid: VmUuid, file: string): GuestMemory {
    const domain = this.#living(uuid);
    if (domain.run === 'saving')
      throw new Fault('vm.save_failed', { vm: domain.name, file, what: 'another save is going on' });
    checkUnattached(domain, file);
    domain.beginSave();
    this.hint({ about: 'power', uuid });
    return domain.guest.memory();
  }

  /** Ends a save; one that is over, or whose domain died meanwhile, is fine. */
  endSave(uuid: VmUuid, afterwards: ParamsOf<'endSave'>['afterwards']): void {
    const domain = this.#domains.get(uuid);
    if (domain?.run !== 'saving') return;
    if (afterwards === 'stopped') this.#die(domain, 'suspend', 'the guest was saved');
    else {
      domain.resumeFromSave();
      this.hint({ about: 'power', uuid });
      this.#pressPowerButton(domain);
    }
  }

  /** `isForeign`: as if others than the daemon had done it. */
  attachDevice(uuid: VmUuid, slot: UsbSlot, device: UsbDevice, isForeign = false): Attachment {
    const attachment = this.#usb.attach(this.#living(uuid), slot, device, isForeign);
    this.hint({ about: 'usb', uuid });
    return attachment;
  }

  detachDevice(uuid: VmUuid, attachment: Attachment): void {
    const domain = this.#domains.get(uuid);
    if (domain !== undefined && this.#usb.detach(domain, attachment)) this.hint({ about: 'usb', uuid });
  }

  addController(uuid: VmUuid): Controller {
    const controller = this.#usb.addController(this.#living(uuid));
    this.hint({ about: 'usb', uuid });
    return controller;
  }

  describe(uuid: VmUuid): DomainDescription {
    return this.#living(uuid).describe();
  }

  changeMedium(uuid: VmUuid, target: string, file: string | undefined): void {
    this.#living(uuid).changeMedium(target, file);
  }

  setMemoryTarget(uuid: VmUuid, memoryMiB: number): void {
    this.#living(uuid).setMemoryTarget(memoryMiB);
  }

  trigger(uuid: VmUuid, trigger: Trigger): void {
    const domain = this.#living(uuid);
    if (trigger === 'power') this.requestShutdown(uuid);
    else if (trigger === 'sleep') {
      throw new Fault('vm.unsupported', {
        verb: 'trigger sleep',
        vm: domain.name,
        what: 'a simulated guest never sleeps',
      });
    }
  }

  setDeviceModel(uuid: VmUuid, isGone: boolean): void {
    this.#usb.setDeviceModel(this.#living(uuid), isGone);
    this.hint({ about: 'usb', uuid });
  }

  backends(): readonly string[] {
    return this.#usb.devices.backends();
  }

  devices(backend: string): readonly UsbDevice[] {
    return this.#usb.devices.list(backend);
  }

  plug(options: PlugOptions): UsbDevice {
    const device = this.#usb.devices.plug(options);
    this.hint({ about: 'devices', backend: device.backend });
    return device;
  }

  /** Pulls a device. Where it is attached, the attachment stays until it is detached: the guest only sees it leave. */
  unplug(place: { readonly backend: string; readonly busid: string }): void {
    const device = this.#usb.devices.unplug(place);
    this.hint({ about: 'devices', backend: device.backend });
    const owner = this.#usb.ownerOf(device);
    if (owner !== undefined) this.hint({ about: 'usb', uuid: owner.uuid });
  }

  removeBackend(backend: string): void {
    this.#usb.devices.removeBackend(backend);
    this.hint({ about: 'devices', backend });
  }

  /** Has a guest do something, or does something to it, and tells what it would say then; `null` when it is gone. */
  guest(uuid: VmUuid, action: GuestAction): GuestState | null {
    const domain = this.#living(uuid);
    const isAwake = domain.run === 'running' && !domain.guest.isFrozen;
    if (action === 'kill') this.destroy(uuid);
    else if (action === 'freeze' || action === 'thaw') domain.guest.setFrozen(action === 'freeze');
    else if (isAwake && action === 'powerOff') this.#die(domain, 'halt', 'the guest powered off');
    else if (isAwake && action === 'reboot') this.#die(domain, 'reboot', 'the guest asked for a reboot');
    else if (isAwake && action === 'panic') this.#die(domain, 'crash', 'the guest panicked');
    if (!this.#domains.has(uuid)) return null;
    const { isReady, bootId, ticks } = domain.guest;
    return { isReady, bootId, ticks, usb: isReady ? this.#usb.seenBy(domain) : [] };
  }

  /** Notes a call for `journal`; the oldest rows are dropped. */
  note(entry: Omit<JournalEntry, 'at'>): void {
    if (this.#journal.length >= JOURNAL_ROWS) this.#journal.splice(0, JOURNAL_ROWS / 10);
    this.#journal.push({ at: this.clock.now(), ...entry });
  }

  /** Gives the calls that change something, oldest first. */
  journal(): readonly JournalEntry[] {
    return [...this.#journal];
  }

  hint(hint: WorldHint): void {
    this.disturbances.deliverHint(this.clock, () => {
      for (const session of this.#sessions) session.deliver(hint);
    });
  }

  #pressPowerButton(domain: SimulatedDomain): void {
    if (!domain.isShutdownAsked || domain.run !== 'running') return;
    domain.isShutdownAsked = false;
    const halt = () => {
      const isStill = this.#domains.get(domain.uuid) === domain && domain.run === 'running';
      if (isStill && !domain.guest.isFrozen) this.#die(domain, 'halt', 'the guest shut down');
    };
    if (this.#shutdownMs > 0) this.clock.after(this.#shutdownMs, halt);
    else halt();
  }

  #die(domain: SimulatedDomain, reason: DeathReason, detail: string): void {
    domain.die(reason, detail);
    this.hint({ about: 'power', uuid: domain.uuid });
  }

  #living(uuid: VmUuid): SimulatedDomain {
    const domain = this.#domains.get(uuid);
    if (domain === undefined || domain.run === 'dead') throw new Fault('vm.no_domain', { vm: domain?.name ?? uuid });
    return domain;
  }
}

function checkUnattached({ name: vm, attachmentCount }: SimulatedDomain, file: string): void {
  if (attachmentCount === 0) return;
  const what = 'a device is attached, and the state could not be restored without it';
  throw new Fault('vm.save_failed', { vm, file, what });
}
