/** The composition root: builds the engine out of settings and places, and takes it apart again. */
import { readdir } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { RpcConnection } from '../api/rpc.ts';
import { type Places, vmLockPath } from '../config/places.ts';
import type { Settings } from '../config/settings.ts';
import { withDebugLog } from '../hypervisor/debug-log.ts';
import type { DeviceSource, Driver } from '../hypervisor/driver.ts';
import { withEncryptedDisks } from '../hypervisor/encrypted-disks.ts';
import type { SimulatorDriver } from '../hypervisor/simulator/driver.ts';
import type { WorldPort } from '../hypervisor/simulator/world-port.ts';
import { Inventory } from '../inventory/inventory.ts';
import type { Accounts } from '../lib/accounts.ts';
import { bootId } from '../lib/boot-id.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import type { Entrants } from '../lib/entrants.ts';
import type { Log } from '../lib/log.ts';
import { isFileLocked } from '../lib/native.ts';
import { tellSystemLog } from '../lib/syslog.ts';
import type { Actor } from '../model/audit.ts';
import { HOST_BACKEND, type VmUuid } from '../model/ids.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import type { DriverName } from '../model/vm.ts';
import { DEFAULT_TIMING, type MonitorTiming } from '../monitor/vm-context.ts';
import { HostGuards } from '../usb/host-guards.ts';
import { UsbNames } from '../usb/names.ts';
import { Router } from '../usb/router.ts';
import { SysfsSource } from '../usb/sysfs.ts';
import { VirtualPorts } from '../usb/virtual.ts';
import { Access } from './access.ts';
import { Anchors } from './anchors.ts';
import { AuditLog } from './audit.ts';
import { AuditGroups } from './audit-groups.ts';
import { Denials } from './denials.ts';
import { type Call, Dispatcher } from './dispatch.ts';
import { type DriverMakers, Drivers } from './drivers.ts';
import type { Engine } from './engine.ts';
import { EventLog } from './events.ts';
import { Fleet } from './fleet.ts';
import { GivenBack } from './given-back.ts';
import { driverOfHost } from './host-driver.ts';
import { MonitorSockets } from './monitor-sockets.ts';
import { NotifySockets } from './notify-sockets.ts';
import { Observations, whyObserving } from './observing.ts';
import { policyHandlers } from './operations/policy.ts';
import { systemHandlers } from './operations/system.ts';
import { usbHandlers } from './operations/usb.ts';
import { vmHandlers } from './operations/vms.ts';
import { PolicyKeeper } from './policy-keeper.ts';
import { closeOpenIntents } from './recovery.ts';
import { stepExecutors } from './steps.ts';
import { stateTeller, subjectsOf } from './subjects.ts';
import { Trials } from './trials.ts';

export interface CompositionOptions {
  readonly version: string;
  readonly places: Places;
  readonly settings: Settings;
  readonly log: Log;
  readonly clock?: Clock;
  /** Who may connect to the sockets besides us. */
  readonly entrants?: Entrants | undefined;
  /** Whether members of the host's groups may do what these say: not with a daemon that somebody runs for himself. */
  readonly hasGroups?: boolean;
  /** Default: the host's. */
  readonly accounts?: Accounts;
  /** Where the system log listens. Default: `/dev/log`. */
  readonly systemLog?: string | undefined;
  /**
   * The one VM that this is for: other domains of its folders are others', and so are the devices of this host.
   */
  readonly only?: VmUuid | undefined;
  /** Called when a monitor was told to quit, and its socket is gone. */
  readonly onQuit?: ((vm: VmUuid) => void) | undefined;
  /**
   * A simulated world, by its socket or by ways into one in this process: it takes the place of this host's USB, and VMs may
   * have the driver `simulator`.
   */
  readonly simulatorWorld?: string | (() => WorldPort) | undefined;
}

/** A whole Usher. `open` takes the VMs over and begins to route; `close` lets go, and VMs go on. */
export interface Composition {
  readonly engine: Engine;
  readonly dispatcher: Dispatcher;
  open(): Promise<void>;
  /** Serves RPC on a connection; `head` was read from it already. */
  serveRpc(socket: Socket, head: Buffer | undefined, peer: Actor): void;
  close(): Promise<void>;
}

/** Builds everything; nothing is touched but the databases until `open`. */
export async function compose(options: CompositionOptions): Promise<Composition> {
  const {
    version,
    places,
    settings,
    log,
    clock = systemClock,
    entrants,
    hasGroups = false,
    accounts,
    systemLog,
  } = options;
  const defaultDriver = settings.defaultDriver === 'auto' ? await driverOfHost() : settings.defaultDriver;
  const inventory = new Inventory(places.databaseFile, { defaultDriver });
  const audit = new AuditLog(places.auditFile, { clock, log });
  const events = new EventLog(join(places.stateFolder, 'events.db'), { clock, log });
  const publish = events.publish.bind(events);

  const drivers: Drivers = new Drivers(driverMakers(options), (hint) => {
    router.hint(hint.about === 'everything' ? 'everything' : { vm: hint.uuid });
  });
  const fleet: Fleet = new Fleet({
    inventory,
    drivers,
    // Others' domains are not asked for, and a hypervisor that has none of ours is not even spoken to.
    suspects: async () => (options.only === undefined ? await suspectsOf(places, defaultDriver) : []),
    clock,
    log,
    bootId: bootId(),
    timing: timingOf(settings),
    publish,
    onChanged: (vm) => router.hint({ vm }),
    onConfig: ({ uuid, notify }) => notified.follow(uuid, notify),
  });
  const names = new UsbNames();
  const policy = new PolicyKeeper({
    file: places.policyFile,
    inventory,
    audit,
    log,
    onChange: () => {
      publish('policy.loaded', { rules: policy.policy.rules.length, mode: policy.policy.mode });
      router.hint('wishes');
    },
  });
  const observeReason = await whyObserving(places, settings);
  const isObserving = observeReason !== undefined;
  if (isObserving) log.warn('Usher only observes: assignments and rules move nothing', { why: observeReason });
  const trials = new Trials({
    inventory,
    audit,
    clock,
    log,
    publish,
    goBack: (text) => policy.goBack(text),
    onUndone: () => router.hint('wishes'),
  });
  const observations = new Observations(publish);
  const givenBack = new GivenBack({
    clock,
    log,
    publish,
    isWanted: (device) => {
      const outcome = router.verdictOf(device)?.outcome.is;
      return outcome === 'attached' || outcome === 'attaching';
    },
  });
  const virtualPorts = new VirtualPorts(inventory.softwareDevices);
  const { sources, guards } = await deviceSources(options, virtualPorts);
  const router: Router = new Router({
    listVms: () => fleet.list(),
    observeVm: (vm) => fleet.observe(vm),
    sources,
    wishes: () => ({ ...inventory.wishes(), policy: policy.policy, isObserving }),
    namesOf: names.namesOf,
    places: inventory.places,
    executors: stepExecutors({
      audit: new AuditGroups(audit),
      publish,
      driverOf: (vm) => fleet.driverOf(vm),
      nameOf: (vm) => fleet.nameOf(vm),
      inventory,
      clock,
      askTimeoutMs: settings.askTimeoutSeconds * 1000,
      beforeAttach: async (device, vm) => {
        if (device.backend !== HOST_BACKEND || guards === undefined || guards.isYoung(device)) return;
        await guards.checkStill(device, vm);
        await givenBack.before(device);
      },
      afterDetach: (device) => givenBack.after(device),
    }),
    clock,
    log,
    sweepMs: settings.sweepSeconds * 1000,
    onDevices(plugged, unplugged) {
      for (const device of plugged) publish('usb.plugged', { ...named(device), product: names.describe(device) });
      for (const device of unplugged) publish('usb.unplugged', named(device));
    },
    onPlan: ({ verdicts }) => observations.look(verdicts),
    onStep(step, result) {
      if (result.is !== 'failed' || !('vm' in step)) return;
      const { vm } = step;
      const name = fleet.nameOf(vm);
      const { retryMs, fault } = result;
      const { message } = fault;
      if (step.kind === 'addController') {
        log.warn(message, { vm, retryMs });
        publish('vm.warning', { vm, name, message });
        return;
      }
      const device = deviceKey(step.kind === 'attach' ? step.device : step.attachment);
      log.warn(message, { device, vm, retryMs });
      publish('usb.failed', { device, vm, name, message, retryMs: Math.round(retryMs) });
    },
  });

  const notified = new NotifySockets({ configOf: (vm) => inventory.configs.notifyOf(vm), clock, log });
  const unsubscribe = events.subscribe((event) => notified.take(event));
  const sockets: MonitorSockets = new MonitorSockets({
    notified,
    folder: places.vmSocketFolder,
    entrants,
    clock,
    log,
    admit: (action, vm, peer) => dispatcher.admitApart(action, vm, peer),
    perform: (operation, params, peer, more) => dispatcher.perform(operation, params, { ...callOf(peer), ...more }),
    serveRpc,
    stateOf: (vm) => fleet.find(vm)?.state ?? 'halted',
    onQuit: options.onQuit,
  });
  const anchors = new Anchors({
    head: () => audit.head(),
    home: places.home,
    tell: (text) => tellSystemLog('usherd', text, new Date(clock.now()), systemLog),
    clock,
    log,
    everyMs: settings.auditAnchorSeconds * 1000,
  });
  const engine: Engine = {
    ...{ version, places, defaultDriver, clock, log, inventory, audit, anchors, events },
    ...{ drivers, fleet, router, virtualPorts, names, sockets, policy, trials },
    lookAtHost: async (device) => guards?.lookNow(device),
    ...(observeReason === undefined ? {} : { observeReason }),
  };
  const handlers = {
    ...vmHandlers(engine),
    ...usbHandlers(engine),
    ...policyHandlers(engine),
    ...systemHandlers(engine),
  };
  const access = new Access({ entries: settings.access, subjects: subjectsOf(engine), hasGroups, accounts });
  const denials = new Denials({ audit, clock, log });
  const dispatcher = new Dispatcher({ handlers, access, audit, denials, stateOf: stateTeller(engine), log });

  function serveRpc(socket: Socket, head: Buffer | undefined, actor: Actor): void {
    const connection = new RpcConnection({
      dispatch: (operation, params, context) => dispatcher.perform(operation, params, { actor, ...context }),
      write: (text) => socket.write(text),
      end: () => socket.end(),
    });
    socket.on('data', (chunk: Buffer) => connection.push(chunk));
    socket.on('error', () => connection.close());
    socket.on('close', () => connection.close());
    if (head !== undefined) connection.push(head);
  }

  return {
    engine,
    dispatcher,
    serveRpc,
    async open() {
      anchors.start();
      const adopted = await fleet.open();
      await policy.open();
      await trials.open();
      closeOpenIntents(engine); // Before the first step of ours, which is open too while it goes on.
      await router.start();
      publish('daemon.started', { version, adopted });
    },
    async close() {
      publish('daemon.stopping', { version });
      await sockets.closeAll();
      unsubscribe();
      trials.close();
      await givenBack.close();
      await router.close();
      await fleet.close();
      await drivers.close();
      events.close();
      anchors.close(); // Before the trail: its last rows are on the disk by now.
      audit.close();
      inventory.close();
    },
  };
}

/** What a request is that came as text: nobody hears its progress. */
function callOf(actor: Actor): Call {
  return { actor, notify() {}, signal: new AbortController().signal };
}

function named(device: UsbDevice): { device: string; deviceId: string } {
  return { device: deviceKey(device), deviceId: device.deviceId };
}

function timingOf(settings: Settings): MonitorTiming {
  return {
    ...DEFAULT_TIMING,
    shutdownTimeoutMs: settings.shutdownTimeoutSeconds * 1000,
    minRestartIntervalMs: settings.restartIntervalSeconds * 1000,
    maxRestarts: settings.maxRestarts,
    restartWindowMs: settings.restartWindowSeconds * 1000,
  };
}

/** The drivers of this version; the simulator only where its world is named. */
function driverMakers(options: CompositionOptions): DriverMakers {
  const { places, settings, clock = systemClock, log, only } = options;
  const debugged = (driver: Driver) => withDebugLog(driver, { folder: places.logsFolder, clock, log });
  const isApart = (uuid: VmUuid) => only === undefined && isFileLocked(vmLockPath(places, uuid));
  /** Logged as it was asked for: with the disks as the config names them. */
  const whole = (driver: Driver) =>
    debugged(
      withEncryptedDisks(driver, {
        folder: join(places.runtimeFolder, 'disks', driver.name),
        only,
        isApart,
        clock,
        log,
      }),
    );
  const makers: DriverMakers = {
    async qemu() {
      const { QemuDriver } = await import('../hypervisor/qemu/driver.ts');
      const runtimeDir = qemuFolder(places);
      const stateDir = places.logsFolder;
      return whole(new QemuDriver({ runtimeDir, stateDir, acceleratorWish: settings.accelerator, only, log }));
    },
    async xen() {
      const { XenDriver } = await import('../hypervisor/xen/driver.ts');
      return whole(new XenDriver({ runtimeDir: xenFolder(places), stateDir: places.logsFolder, only, isApart, log }));
    },
  };
  if (options.simulatorWorld === undefined) return makers;
  return { ...makers, simulator: async () => debugged(await simulatorOf(options)) };
}

/** A folder for each QEMU that runs or is dead and not cleared. */
function qemuFolder({ runtimeFolder }: Places): string {
  return join(runtimeFolder, 'qemu');
}

/** The same for Xen's domains of ours. */
function xenFolder({ runtimeFolder }: Places): string {
  return join(runtimeFolder, 'xen');
}

/** Drivers that may have domains of which no VM knows: what a former daemon left, and what others run on a Xen host. */
async function suspectsOf(places: Places, defaultDriver: DriverName): Promise<DriverName[]> {
  const isLeft = async (folder: string) => (await readdir(folder).catch(() => [])).length > 0;
  const [qemu, xen] = await Promise.all([isLeft(qemuFolder(places)), isLeft(xenFolder(places))]);
  return [...(qemu ? ['qemu' as const] : []), ...(xen || defaultDriver === 'xen' ? ['xen' as const] : [])];
}

async function simulatorOf({ simulatorWorld: world, places, clock }: CompositionOptions): Promise<SimulatorDriver> {
  const { SimulatorDriver } = await import('../hypervisor/simulator/driver.ts');
  const { WorldClient } = await import('../hypervisor/simulator/world-client.ts');
  const port = typeof world === 'function' ? world() : new WorldClient(world ?? '');
  return new SimulatorDriver({ port, folder: places.logsFolder, clock });
}

/**
 * Software devices, and the devices of this host; or those of the simulated world: of its host, and of VMs in it that have
 * devices to lend by now.
 */
async function deviceSources(
  options: CompositionOptions,
  virtualPorts: VirtualPorts,
): Promise<{ readonly sources: readonly DeviceSource[]; readonly guards?: HostGuards }> {
  const { settings, only, simulatorWorld, clock, log } = options;
  if (only !== undefined) return { sources: [virtualPorts] };
  if (simulatorWorld !== undefined) {
    const simulator = await simulatorOf(options);
    return {
      sources: [virtualPorts, ...(await simulator.sources().catch(() => [simulator.sourceOf(HOST_BACKEND)]))],
    };
  }
  const { countsAsKeyboard, countsAsPointer, neverCountsAsInput: neverCounts } = settings;
  const guards = new HostGuards({
    source: new SysfsSource(),
    inputs: { countsAsKeyboard, countsAsPointer, neverCounts },
    clock,
    log,
  });
  return { sources: [virtualPorts, guards], guards };
}
