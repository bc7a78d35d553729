/** The composition root: builds the engine out of settings and places, and takes it apart again. */
import { readdir } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { RpcConnection } from '../api/rpc.ts';
import type { Places } from '../config/places.ts';
import type { Settings } from '../config/settings.ts';
import type { DeviceSource } from '../hypervisor/driver.ts';
import type { SimulatorDriver } from '../hypervisor/simulator/driver.ts';
import { Inventory } from '../inventory/inventory.ts';
import { bootId } from '../lib/boot-id.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { Actor } from '../model/audit.ts';
import { HOST_BACKEND } from '../model/ids.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import type { DriverName } from '../model/vm.ts';
import { DEFAULT_TIMING, type MonitorTiming } from '../monitor/vm-context.ts';
import { UsbNames } from '../usb/names.ts';
import { Router } from '../usb/router.ts';
import { SysfsSource } from '../usb/sysfs.ts';
import { VirtualPorts } from '../usb/virtual.ts';
import { AuditLog } from './audit.ts';
import { type Call, Dispatcher } from './dispatch.ts';
import { type DriverMakers, Drivers } from './drivers.ts';
import type { Engine } from './engine.ts';
import { EventLog } from './events.ts';
import { Fleet } from './fleet.ts';
import { driverOfHost } from './host-driver.ts';
import { MonitorSockets } from './monitor-sockets.ts';
import { systemHandlers } from './operations/system.ts';
import { usbHandlers } from './operations/usb.ts';
import { vmHandlers } from './operations/vms.ts';
import { closeOpenIntents } from './recovery.ts';
import { stepExecutors } from './steps.ts';

export interface CompositionOptions {
  readonly version: string;
  readonly places: Places;
  readonly settings: Settings;
  readonly log: Log;
  readonly clock?: Clock;
  /** Group that may use the sockets. */
  readonly groupId?: number | undefined;
  /** Socket of a simulated world: it takes the place of this host's USB, and VMs may have the driver `simulator`. */
  readonly simulatorWorld?: string | undefined;
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
  const { version, places, settings, log, clock = systemClock, groupId } = options;
  const defaultDriver = settings.defaultDriver === 'auto' ? await driverOfHost() : settings.defaultDriver;
  const inventory = new Inventory(places.databaseFile, { defaultDriver });
  const audit = new AuditLog(places.auditFile, { clock });
  const events = new EventLog(join(places.stateFolder, 'events.db'), { clock, log });
  const publish = events.publish.bind(events);

  const drivers: Drivers = new Drivers(driverMakers(options), (hint) => {
    router.hint(hint.about === 'everything' ? 'everything' : { vm: hint.uuid });
  });
  const fleet: Fleet = new Fleet({
    inventory,
    drivers,
    suspects: () => suspectsOf(places, defaultDriver),
    clock,
    log,
    bootId: bootId(),
    timing: timingOf(settings),
    publish,
    onChanged: (vm) => router.hint({ vm }),
  });
  const names = new UsbNames();
  const virtualPorts = new VirtualPorts(inventory.softwareDevices);
  const sources = await deviceSources(options, virtualPorts);
  const router: Router = new Router({
    listVms: () => fleet.list(),
    observeVm: (vm) => fleet.observe(vm),
    sources,
    wishes: () => inventory.wishes(),
    executors: stepExecutors({
      audit,
      publish,
      driverOf: (vm) => fleet.driverOf(vm),
      nameOf: (vm) => fleet.nameOf(vm),
      dropHold: (hold) => inventory.dropHold(hold),
    }),
    clock,
    log,
    sweepMs: settings.sweepSeconds * 1000,
    onDevices(plugged, unplugged) {
      for (const device of plugged) publish('usb.plugged', { ...named(device), product: names.describe(device) });
      for (const device of unplugged) publish('usb.unplugged', named(device));
    },
    onStep(step, result) {
      if (result.is !== 'failed' || step.kind === 'dropHold') return;
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

  const sockets: MonitorSockets = new MonitorSockets({
    folder: places.vmSocketFolder,
    groupId,
    clock,
    log,
    perform: (operation, params, peer) => dispatcher.perform(operation, params, callOf(peer)),
    serveRpc,
    stateOf: (vm) => fleet.find(vm)?.state ?? 'halted',
  });
  const engine: Engine = {
    ...{ version, places, defaultDriver, clock, log, inventory, audit, events },
    ...{ drivers, fleet, router, virtualPorts, names, sockets },
  };
  const handlers = { ...vmHandlers(engine), ...usbHandlers(engine), ...systemHandlers(engine) };
  const dispatcher = new Dispatcher({ handlers, audit, log });

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
      const adopted = await fleet.open();
      closeOpenIntents(engine); // Before the first step of ours, which is open too while it goes on.
      await router.start();
      publish('daemon.started', { version, adopted });
    },
    async close() {
      publish('daemon.stopping', { version });
      await sockets.closeAll();
      await router.close();
      await fleet.close();
      await drivers.close();
      events.close();
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
function driverMakers({ places, settings, log, simulatorWorld }: CompositionOptions): DriverMakers {
  const makers: DriverMakers = {
    async qemu() {
      const { QemuDriver } = await import('../hypervisor/qemu/driver.ts');
      const runtimeDir = qemuFolder(places);
      return new QemuDriver({ runtimeDir, stateDir: places.logsFolder, acceleratorWish: settings.accelerator, log });
    },
    async xen() {
      const { XenDriver } = await import('../hypervisor/xen/driver.ts');
      return new XenDriver({ runtimeDir: xenFolder(places), stateDir: places.logsFolder, log });
    },
  };
  if (simulatorWorld === undefined) return makers;
  return { ...makers, simulator: () => simulatorOf(simulatorWorld, places) };
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

async function simulatorOf(world: string, places: Places): Promise<SimulatorDriver> {
  const { SimulatorDriver } = await import('../hypervisor/simulator/driver.ts');
  const { WorldClient } = await import('../hypervisor/simulator/world-client.ts');
  return new SimulatorDriver({ port: new WorldClient(world), folder: places.logsFolder });
}

/** Software devices, and the devices of this host or of the simulated one. */
async function deviceSources(
  options: CompositionOptions,
  virtualPorts: VirtualPorts,
): Promise<readonly DeviceSource[]> {
  const { places, simulatorWorld } = options;
  if (simulatorWorld === undefined) return [virtualPorts, new SysfsSource()];
  return [virtualPorts, (await simulatorOf(simulatorWorld, places)).sourceOf(HOST_BACKEND)];
}
