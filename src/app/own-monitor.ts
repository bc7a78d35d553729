/**
 * A VM's monitor as a process of its own, without the daemon: the same engine for one VM. It gives the VM no devices of
 * this host, which are the daemon's to give.
 */

import { configFault } from '../config/diagnostics.ts';
import { ownPlaces, type Places } from '../config/places.ts';
import { loadSettings } from '../config/settings.ts';
import { parseVmFile } from '../config/xenvm-file.ts';
import { readVmFile } from '../inventory/vm-file.ts';
import { userName } from '../lib/accounts.ts';
import { Fault, messageOf } from '../lib/fault.ts';
import { type Log, openLog } from '../lib/log.ts';
import type { FileLock } from '../lib/native.ts';
import { newUuid, type VmUuid } from '../model/ids.ts';
import type { VmRecord } from '../model/vm.ts';
import { type Composition, compose } from './composition.ts';
import type { Call } from './dispatch.ts';
import { startupOf } from './flows/bring-up.ts';
import { holdVm } from './own-monitor-lock.ts';
import { catchBugs, makeFolders, openPremises, partsOfEnvironment } from './premises.ts';

export interface OwnMonitorOptions {
  readonly version: string;
  readonly places: Places;
  /** Absolute. */
  readonly file: string;
  /** That of a VM whose file has none. Default: one that is made up. */
  readonly uuid?: VmUuid | undefined;
  /** Takes a key that is not known for an error. */
  readonly isStrict?: boolean | undefined;
  /** Goes on with the domain that a former monitor has left. */
  readonly isAdopting?: boolean | undefined;
  /** Writes its log into its own folder instead of on standard error. */
  readonly hasLogFile?: boolean | undefined;
}

/** A monitor that has its VM. */
export interface OwnMonitor {
  readonly uuid: VmUuid;
  readonly log: Log;
  /** Does what the config says is to be done at the start. @throws Fault as a start does */
  bringUp(): Promise<void>;
  /** Reads the config file again, for the next start. @throws Fault `config.invalid`, `file.unreadable` */
  reread(): Promise<void>;
  /** Resolves when somebody said `quit`. */
  readonly quit: Promise<void>;
  /** Lets go; the VM goes on. */
  close(): Promise<void>;
}

/**
 * Takes a VM for this process. @throws Fault `config.invalid`, `file.unreadable`; `vm.held`, `vm.exists` when others have it;
 * `vm.domain_exists`
 */
export async function openOwnMonitor(options: OwnMonitorOptions): Promise<OwnMonitor> {
  const { places, file } = options;
  process.umask(0o077);
  const uuid = await uuidOf(options);
  await makeFolders(places);
  const lock = holdVm(places, uuid);
  try {
    return await open(options, ownPlaces(places, uuid), uuid, lock);
  } catch (error) {
    lock.release();
    throw error instanceof Error ? error : new Error(`${file}: ${String(error)}`);
  }
}

async function open(options: OwnMonitorOptions, places: Places, uuid: VmUuid, lock: FileLock): Promise<OwnMonitor> {
  const { version, isAdopting = false, hasLogFile = false } = options;
  await makeFolders(places);
  const { settings, warnings } = await loadSettings(places.settingsFile);
  const log = openLog({
    level: settings.logLevel,
    file: hasLogFile ? `${places.logsFolder}/xenvm.log` : undefined,
  });
  for (const warning of warnings) log.warn(warning);
  const quit = Promise.withResolvers<void>();
  const composition = await compose({
    ...{ version, places, settings, log, only: uuid, onQuit: () => quit.resolve() },
    ...openPremises(places, settings, log),
    ...partsOfEnvironment(),
  });
  try {
    const { engine } = composition;
    const record = await takeRecord(composition, options, uuid);
    if (!isAdopting) await demandNoDomain(composition, record);
    catchBugs(log);
    await composition.open();
    await engine.sockets.open(record);
    log.info('ready', { version, pid: process.pid, vm: record.name, uuid, socket: engine.sockets.pathOf(uuid) });
    return {
      ...{ uuid, log, quit: quit.promise },
      async bringUp() {
        const state = engine.fleet.monitorOf(record).state;
        if (state !== 'halted' && state !== 'suspended') return;
        if ((await startupOf(engine, record)).do === 'shutdown') return;
        await composition.dispatcher.perform('vm.start', { vm: uuid }, ownCall());
      },
      async reread() {
        await composition.dispatcher.perform('vm.reread', { vm: uuid }, ownCall());
      },
      async close() {
        await composition.close();
        lock.release();
      },
    };
  } catch (error) {
    await composition.close().catch((trouble: unknown) => log.error(messageOf(trouble)));
    throw error;
  }
}

/** Gives the uuid that the file has, or the one that is asked for, or a new one. @throws Fault `config.invalid`, `file.unreadable`, `usage` */
async function uuidOf({ file, uuid, isStrict = false }: OwnMonitorOptions): Promise<VmUuid> {
  const { settings, errors } = parseVmFile(await readVmFile(file), file, { isStrict });
  if (settings === undefined) throw configFault(errors);
  if (uuid !== undefined && settings.uuid !== undefined && uuid !== settings.uuid) {
    throw new Fault('usage', { what: `--uuid says ${uuid}, and ${file} says ${settings.uuid}` });
  }
  return settings.uuid ?? uuid ?? newUuid();
}

/**
 * Gives the VM in the inventory of this monitor: anew, unless a domain or a save of a former one is gone on with.
 * @throws Fault `config.invalid`, `file.unreadable`
 */
async function takeRecord(
  { engine: { inventory } }: Composition,
  { file, isAdopting = false }: OwnMonitorOptions,
  uuid: VmUuid,
): Promise<VmRecord> {
  const before = inventory.listVms().find((vm) => vm.uuid === uuid);
  if (before !== undefined && (isAdopting || before.suspendFile !== undefined)) {
    await inventory.configs.reread(uuid, file, 'at text alone');
    return inventory.findVm(uuid);
  }
  if (before !== undefined) inventory.removeVm(uuid);
  return (await inventory.createVm({ path: file, uuid })).record;
}

/** @throws Fault `vm.domain_exists` */
async function demandNoDomain({ engine: { drivers } }: Composition, { uuid, driver }: VmRecord): Promise<void> {
  const domain = await (await drivers.get(driver)).find(uuid);
  if (domain === undefined) return;
  const hint = 'If a former xenvm left it, go on with it: xenvm --adopt FILE';
  throw new Fault('vm.domain_exists', { uuid }, { hint });
}

/** What this process asks of itself. */
function ownCall(): Call {
  const uid = process.getuid?.() ?? 0;
  const actor = { uid, pid: process.pid, user: userName(uid) };
  return { actor, notify() {}, signal: new AbortController().signal };
}
