/**
 * Keeps what was last observed of each VM and of each backend's devices, and looks again when told where something may
 * have changed. Decides nothing and acts on nothing.
 */
import type { DeviceSource } from '../hypervisor/driver.ts';
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { VmUuid } from '../model/ids.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import { Looks, type Sight } from './looks.ts';
import type { Observed, ObservedVm } from './plan-types.ts';

export interface ObserverOptions {
  /** All VMs there are, running or not. */
  readonly listVms: () => Iterable<{ readonly uuid: VmUuid; readonly name: string }>;
  /** Observes one VM; `undefined` when there is no such VM any more. */
  readonly observeVm: (vm: VmUuid, signal: AbortSignal) => Promise<ObservedVm | undefined>;
  readonly sources: readonly DeviceSource[];
  readonly clock: Clock;
  readonly log: Log;
  /** How long a look at one VM or backend may take. */
  readonly timeoutMs: number;
  /** Gives a mark when a look at a VM begins, which `onVm` gets back. */
  readonly markLook: () => number;
  /** Called when a VM has been observed from after `mark`; `hasTurned` when it has got, or lost, its domain. */
  readonly onVm: (vm: VmUuid, mark: number, hasTurned: boolean) => void;
  /** Told what came and went at a backend since it was last read; not what was there at the first reading. */
  readonly onDevices: (plugged: readonly UsbDevice[], unplugged: readonly UsbDevice[]) => void;
  /** Called after each look, whether it succeeded or not. */
  readonly onChange: () => void;
}

interface VmSight {
  readonly vm: ObservedVm | undefined;
  readonly mark: number;
}

/**
 * INVARIANTS: a look at one VM or backend holds up no other; a VM that cannot be observed keeps its last sight and is
 * closed, one never observed is unknown; a backend that cannot be read is missing.
 */
export class Observer {
  readonly #options: ObserverOptions;
  readonly #vmLooks: Looks<VmUuid, VmSight>;
  readonly #sourceLooks: Looks<DeviceSource, readonly UsbDevice[]>;
  readonly #vms = new Map<VmUuid, ObservedVm>();
  readonly #devices = new Map<string, readonly UsbDevice[]>();
  readonly #failing = new Set<VmUuid | DeviceSource>();
  #unwatch: (() => void)[] = [];
  #isClosed = false;

  constructor(options: ObserverOptions) {
    const { clock, timeoutMs } = options;
    this.#options = options;
    this.#vmLooks = new Looks({
      what: (vm) => `Observing VM ${this.nameOf(vm)}`,
      look: async (vm, signal) => {
        const mark = options.markLook();
        return { mark, vm: await options.observeVm(vm, signal) };
      },
      timeoutMs,
      clock,
      onSight: (vm, sight) => this.#onVm(vm, sight),
    });
    this.#sourceLooks = new Looks({
      what: ({ backend }) => `Reading the devices of ${backend}`,
      look: (source) => source.list(),
      timeoutMs,
      clock,
      onSight: (source, sight) => this.#onSource(source, sight),
    });
  }

  /** Lets the sources say when to look at them. */
  watch(): void {
    this.#unwatch = this.#options.sources.map((source) => source.watch(() => void this.#lookAtSource(source)));
  }

  /** Gives what was last observed. */
  get observed(): Observed {
    return {
      backends: new Set(this.#devices.keys()),
      devices: [...this.#devices.values()].flat(),
      vms: this.#vmsAsSeen(),
    };
  }

  #vmsAsSeen(): ObservedVm[] {
    const vms = [...this.#vms.values()];
    if (this.#failing.size === 0) return vms;
    return vms.map((vm) => (this.isOutOfSight(vm.uuid) ? { ...vm, isOpen: false, isOutOfSight: true } : vm));
  }

  vm(uuid: VmUuid): ObservedVm | undefined {
    return this.#vms.get(uuid);
  }

  /** Tells whether the last look at the VM failed. */
  isOutOfSight(uuid: VmUuid): boolean {
    return this.#failing.has(uuid);
  }

  /** Gives the VM's name as far as it is known, for people. */
  nameOf(uuid: VmUuid): string {
    return this.#vms.get(uuid)?.name ?? uuid;
  }

  /** Looks at everything; resolves when looks that began after this call are over. */
  async lookAtEverything(): Promise<void> {
    if (this.#isClosed) return;
    const { listVms, sources, log } = this.#options;
    try {
      for (const { uuid, name } of listVms()) {
        if (!this.#vms.has(uuid)) this.#vms.set(uuid, { uuid, name, power: 'halted', isOpen: false, isUnknown: true });
      }
    } catch (error) {
      log.error('The VMs cannot be listed; those known are looked at', { error });
    }
    await Promise.all([
      ...[...this.#vms.keys()].map((vm) => this.lookAtVm(vm)),
      ...sources.map((source) => this.#lookAtSource(source)),
    ]);
  }

  /** Looks at one VM; resolves when a look that began after this call is over. */
  async lookAtVm(vm: VmUuid): Promise<void> {
    if (!this.#isClosed) await this.#vmLooks.request(vm);
  }

  /** Looks at one backend; resolves when a look that began after this call is over. */
  async lookAtBackend(backend: string): Promise<void> {
    const sources = this.#options.sources.filter((source) => source.backend === backend);
    await Promise.all(sources.map((source) => this.#lookAtSource(source)));
  }

  close(): void {
    this.#isClosed = true;
    for (const unwatch of this.#unwatch) unwatch();
    this.#vmLooks.close();
    this.#sourceLooks.close();
  }

  async #lookAtSource(source: DeviceSource): Promise<void> {
    if (!this.#isClosed) await this.#sourceLooks.request(source);
  }

  #onVm(uuid: VmUuid, sight: Sight<VmSight>): void {
    const before = this.#vms.get(uuid);
    this.#note(uuid, `VM ${this.nameOf(uuid)}`, sight);
    if ('value' in sight) {
      const { vm, mark } = sight.value;
      if (vm === undefined) this.#vms.delete(uuid);
      else this.#vms.set(uuid, vm);
      this.#options.onVm(uuid, mark, (before?.domain === undefined) !== (vm?.domain === undefined));
    }
    this.#options.onChange();
  }

  #onSource(source: DeviceSource, sight: Sight<readonly UsbDevice[]>): void {
    const { backend } = source;
    this.#note(source, `The backend ${backend}`, sight);
    const before = this.#devices.get(backend);
    if ('fault' in sight) this.#devices.delete(backend);
    else {
      this.#devices.set(backend, sight.value);
      if (before !== undefined) this.#tellDevices(before, sight.value);
    }
    this.#options.onChange();
  }

  #tellDevices(before: readonly UsbDevice[], after: readonly UsbDevice[]): void {
    const plugOf = (device: UsbDevice) => `${deviceKey(device)} ${device.generation} ${device.deviceId}`;
    const [old, young] = [new Set(before.map(plugOf)), new Set(after.map(plugOf))];
    const plugged = after.filter((device) => !old.has(plugOf(device)));
    const unplugged = before.filter((device) => !young.has(plugOf(device)));
    if (plugged.length + unplugged.length > 0) this.#options.onDevices(plugged, unplugged);
  }

  /** Warns once when a subject begins to fail. */
  #note(subject: VmUuid | DeviceSource, what: string, sight: Sight<unknown>): void {
    if ('value' in sight) this.#failing.delete(subject);
    else if (!this.#failing.has(subject)) {
      this.#failing.add(subject);
      this.#options.log.warn(`${what} cannot be observed`, { error: sight.fault });
    }
  }
}
