/**
 * All VMs of this daemon: a monitor each, made from the inventory, fed with what the drivers show. It brings the
 * inventory, the drivers and the monitors together, and knows nothing of USB beyond passing on what was seen.
 */
import type { Domain, Driver } from '../hypervisor/driver.ts';
import type { Inventory } from '../inventory/inventory.ts';
import type { Clock } from '../lib/clock.ts';
import { Fault, messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import type { Publish } from '../model/event.ts';
import type { VmUuid } from '../model/ids.ts';
import type { DriverName, VmConfig, VmRecord } from '../model/vm.ts';
import { Monitor } from '../monitor/monitor.ts';
import { isLiving } from '../monitor/states.ts';
import type { MonitorTiming } from '../monitor/vm-context.ts';
import type { ObservedVm } from '../usb/plan-types.ts';
import type { Drivers } from './drivers.ts';
import { Sightings } from './sightings.ts';

export interface FleetOptions {
  readonly inventory: Inventory;
  readonly drivers: Drivers;
  /** Drivers to look for domains with at `open`, though no VM of the inventory has them. */
  readonly suspects: () => Promise<readonly DriverName[]>;
  readonly clock: Clock;
  readonly log: Log;
  readonly bootId: string;
  readonly timing: MonitorTiming;
  readonly publish: Publish;
  /** Told when a VM's state changed, came or went: its devices may have to move. */
  readonly onChanged: (vm: VmUuid) => void;
  /** Told of each config that was read for a start of a VM, or for what is done about its death. */
  readonly onConfig: (config: VmConfig) => void;
}

/** How many warnings of a VM are kept for `vm show`. */
const KEPT_WARNINGS = 5;

/** How long after a driver has failed to list its domains it is asked again. */
const RETRY_MS = 2_000;

interface Member {
  readonly monitor: Monitor;
  readonly driver: DriverName;
  domain: Domain | undefined;
  warnings: string[];
}

/**
 * INVARIANTS: between `open` and `close` each VM of the inventory has one monitor, or is late: its driver has not listed
 * its domains yet, is asked again until it does, and the VM cannot be observed before, so that nobody takes what it may
 * have. A monitor learns of its domain by `observe` only, so that what it believes and what the router plans with come
 * from the same sight.
 */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #members = new Map<VmUuid, Member>();
  readonly #sightings = new Sightings();
  /** VMs whose driver has failed so far. */
  readonly #late = new Map<DriverName, readonly VmRecord[]>();
  readonly #awaited = new Map<DriverName, PromiseWithResolvers<void>>();
  #cancelRetry = () => {};
  #isClosed = false;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /**
   * Makes the monitors and adopts what runs; gives how many domains that is. A driver that fails costs its VMs only, until
   * it answers.
   */
  async open(): Promise<number> {
    const { inventory, log, suspects } = this.#options;
    const records = inventory.listVms();
    const byDriver = Map.groupBy(records, (record) => record.driver);
    for (const name of await suspects()) if (!byDriver.has(name)) byDriver.set(name, []);
    const lists = await Promise.all(
      [...byDriver].map(([name, ofDriver]) =>
        this.#adoptAll(name, () => ofDriver).catch((error: unknown) => this.#beLate(name, ofDriver, error)),
      ),
    );
    const adopted = lists.reduce((sum, count) => sum + count, 0);
    log.info('adopted', { vms: records.length, domains: adopted });
    if (this.#late.size > 0) this.#retryLater();
    return adopted;
  }

  /** Resolves when the VMs of the driver have their monitors: at once, unless the driver has failed so far. */
  whenAdopted(name: DriverName): Promise<void> {
    if (!this.#late.has(name)) return Promise.resolve();
    const awaited = this.#awaited.get(name) ?? Promise.withResolvers<void>();
    this.#awaited.set(name, awaited);
    return awaited.promise;
  }

  /** Takes a new VM of the inventory in. */
  async add(record: VmRecord): Promise<void> {
    const driver = await this.#options.drivers.get(record.driver);
    const member = this.#makeMember(record, driver);
    this.#note(member, await driver.find(record.uuid));
    member.monitor.adopt(member.domain);
    this.#options.onChanged(record.uuid);
  }

  /** Lets a VM go that has left the inventory. */
  async remove(uuid: VmUuid): Promise<void> {
    const member = this.#members.get(uuid);
    this.#members.delete(uuid);
    for (const [name, records] of this.#late)
      this.#late.set(
        name,
        records.filter((record) => record.uuid !== uuid),
      );
    await member?.monitor.close();
    this.#options.onChanged(uuid);
  }

  /** Gives the VM's monitor. @throws Fault `hypervisor.missing` when its driver has not answered yet */
  monitorOf(record: Pick<VmRecord, 'uuid' | 'name' | 'driver'>): Monitor {
    const member = this.#members.get(record.uuid);
    if (member !== undefined) return member.monitor;
    throw driverMissing(record);
  }

  /** Gives the VM's monitor, if it has one. */
  find(uuid: VmUuid): Monitor | undefined {
    return this.#members.get(uuid)?.monitor;
  }

  /** The domain as it was seen last, if it lives. */
  domainOf(uuid: VmUuid): Domain | undefined {
    const domain = this.#members.get(uuid)?.domain;
    return isLiving(domain) ? domain : undefined;
  }

  warningsOf(uuid: VmUuid): readonly string[] {
    return this.#members.get(uuid)?.warnings ?? [];
  }

  async driverOf(uuid: VmUuid): Promise<Driver> {
    const { driver } = this.#members.get(uuid) ?? this.#lateOne(uuid) ?? {};
    if (driver === undefined) throw new Fault('vm.not_found', { vm: uuid });
    return await this.#options.drivers.get(driver);
  }

  /** The VM's name, or its uuid when it has left. */
  nameOf(uuid: VmUuid): string {
    return this.#members.get(uuid)?.monitor.name ?? this.#lateOne(uuid)?.name ?? uuid;
  }

  /** Lists all VMs, late ones too. */
  list(): { readonly uuid: VmUuid; readonly name: string }[] {
    const members = [...this.#members.values()].map(({ monitor }) => monitor);
    return [...members, ...[...this.#late.values()].flat()].map(({ uuid, name }) => ({ uuid, name }));
  }

  /**
   * Looks at a VM's domain, tells its monitor, and gives the VM as the planner sees it. @throws Fault of the driver,
   * `hypervisor.missing` when the VM is late
   */
  async observe(uuid: VmUuid): Promise<ObservedVm | undefined> {
    const late = this.#lateOne(uuid);
    if (late !== undefined) throw driverMissing(late);
    const member = this.#members.get(uuid);
    if (member === undefined) return undefined;
    const { monitor } = member;
    this.#note(member, await this.#sightings.observe(await this.#options.drivers.get(member.driver), uuid));
    monitor.observe(member.domain);
    const { name, state: power, isOpen } = monitor;
    return isLiving(member.domain)
      ? { uuid, name, power, isOpen, domain: member.domain }
      : { uuid, name, power, isOpen };
  }

  /** Gives up what goes on; domains go on. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry();
    await Promise.all([...this.#members.values()].map(({ monitor }) => monitor.close()));
  }

  #lateOne(uuid: VmUuid): VmRecord | undefined {
    for (const records of this.#late.values()) {
      const record = records.find((other) => other.uuid === uuid);
      if (record !== undefined) return record;
    }
    return undefined;
  }

  #beLate(name: DriverName, records: readonly VmRecord[], error: unknown): 0 {
    const { log, publish } = this.#options;
    log.error('a driver does not answer; its VMs wait for it', { driver: name, error });
    for (const { uuid, name: vm } of records) publish('vm.warning', { vm: uuid, name: vm, message: messageOf(error) });
    this.#late.set(name, records);
    return 0;
  }

  #retryLater(): void {
    this.#cancelRetry = this.#options.clock.after(RETRY_MS, () => void this.#retry());
  }

  async #retry(): Promise<void> {
    const { log, onChanged } = this.#options;
    for (const name of [...this.#late.keys()]) {
      let records: readonly VmRecord[] = [];
      const takeRecords = () => (records = this.#late.get(name) ?? []);
      try {
        const domains = await this.#adoptAll(name, takeRecords);
        log.info('a driver answers at last', { driver: name, vms: records.length, domains });
      } catch {
        continue; // That it fails has been told.
      }
      for (const { uuid } of records) onChanged(uuid);
      this.#awaited.get(name)?.resolve();
      this.#awaited.delete(name);
    }
    if (this.#late.size > 0 && !this.#isClosed) this.#retryLater();
  }

  /** Makes the monitors of a driver's VMs; gives how many have a living domain. @throws Fault of the driver */
  async #adoptAll(name: DriverName, takeRecords: () => readonly VmRecord[]): Promise<number> {
    const { drivers, log } = this.#options;
    const driver = await drivers.get(name);
    const domains = new Map((await driver.list()).map((domain) => [domain.uuid, domain]));
    const records = this.#isClosed ? [] : takeRecords(); // As of now: one may have been removed meanwhile.
    this.#late.delete(name);
    for (const record of records) {
      const member = this.#makeMember(record, driver);
      this.#note(member, domains.get(record.uuid));
      domains.delete(record.uuid);
      member.monitor.adopt(member.domain);
    }
    for (const { uuid, name: stranger } of domains.values()) {
      log.info('a domain runs that the inventory does not know; it is left alone', { vm: stranger, uuid });
    }
    return records.filter((record) => isLiving(this.#members.get(record.uuid)?.domain)).length;
  }

  /** Keeps what was seen, and tells when its USB begins or ceases to be in trouble. */
  #note(member: Member, domain: Domain | undefined): void {
    const [before, now] = [troubleOf(member.domain), troubleOf(domain)];
    member.domain = domain;
    if ((before === undefined) === (now === undefined)) return;
    const { uuid: vm, name } = member.monitor;
    const isOver = now === undefined;
    const message = now ?? (isLiving(domain) ? 'it has a device model again' : 'its domain has ended');
    this.#options.log[isOver ? 'info' : 'warn'](isOver ? 'USB trouble is over' : 'USB trouble', { vm: name, message });
    this.#options.publish('vm.usb_trouble', { vm, name, isOver, message });
  }

  #makeMember(record: VmRecord, driver: Driver): Member {
    const { uuid, name } = record;
    const { inventory, clock, log, bootId, timing, publish, onChanged, onConfig } = this.#options;
    const warn = (message: string) => {
      log.warn(message, { vm: name });
      member.warnings = [...member.warnings.filter((other) => other !== message), message].slice(-KEPT_WARNINGS);
      publish('vm.warning', { vm: uuid, name, message });
    };
    const monitor = new Monitor({
      uuid,
      name,
      driver,
      clock,
      bootId,
      timing,
      log,
      loadConfig: async () => {
        const loaded = await inventory.configs.load(uuid);
        for (const warning of loaded.warnings) warn(warning);
        onConfig(loaded.config);
        return loaded;
      },
      record: inventory.powerRecordOf(uuid),
      onState: ({ from, to, why }) => {
        publish('vm.state', { vm: uuid, name, from, to, why });
        onChanged(uuid);
      },
      onDeath: ({ reason, action, detail }) => {
        publish('vm.death', { vm: uuid, name, reason, action, ...(detail === undefined ? {} : { detail }) });
      },
      onWarning: warn,
    });
    const member: Member = { monitor, driver: record.driver, domain: undefined, warnings: [] };
    this.#members.set(uuid, member);
    return member;
  }
}

function driverMissing({ name, driver }: Pick<VmRecord, 'name' | 'driver'>): Fault {
  const what = `the driver "${driver}" of VM ${name} does not answer`;
  return new Fault('hypervisor.missing', { what }, { hint: 'See: usher doctor' });
}

function troubleOf(domain: Domain | undefined): string | undefined {
  return isLiving(domain) ? domain.usbTrouble : undefined;
}
