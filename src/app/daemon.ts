/** The daemon as a process: one for each home, its socket, its signals, autostart, its end. */
import { setFlagsFromString } from 'node:v8';
import type { Places } from '../config/places.ts';
import { loadSettings } from '../config/settings.ts';
import { removeLeftovers } from '../lib/atomic-file.ts';
import { bootId } from '../lib/boot-id.ts';
import { Fault, messageOf } from '../lib/fault.ts';
import { type Log, type LogLevel, openLog } from '../lib/log.ts';
import { lockFile } from '../lib/native.ts';
import { listenUnix } from '../lib/unix-server.ts';
import type { VmRecord } from '../model/vm.ts';
import { type Composition, compose } from './composition.ts';
import { bringUp, startupOf } from './flows/bring-up.ts';
import { peerOf } from './peer.ts';
import { catchBugs, makeFolders, openPremises, partsOfEnvironment } from './premises.ts';
import { USHER } from './steps.ts';

/** How long the end may take before the process goes anyway. */
const CLOSE_TIMEOUT_MS = 10_000;

export interface DaemonOptions {
  readonly version: string;
  readonly places: Places;
  /** In the place of the settings' own. */
  readonly logLevel?: LogLevel;
  /** Whether the VMs that are marked so are started when the host has just booted. Default true. */
  readonly isAutostarting?: boolean;
}

/** Runs the daemon until it is told to end (SIGTERM, SIGINT). @throws Fault as `openDaemon` */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { log, close } = await openDaemon(options);
  const why = await endSignal();
  log.info('stopping', { why });
  // process.exit would wait for threads that are stuck in a file system.
  const giveUp = setTimeout(() => process.kill(process.pid, 'SIGKILL'), CLOSE_TIMEOUT_MS);
  await close();
  clearTimeout(giveUp);
}

/**
 * Has this process serve its home, until `close`; VMs go on after that. @throws Fault `daemon.running` when another serves
 * this home, `config.invalid` for the settings, `socket.path_long`
 */
export async function openDaemon(options: DaemonOptions): Promise<{ log: Log; close(): Promise<void> }> {
  const { version, places, logLevel, isAutostarting = true } = options;
  process.umask(0o077);
  await makeFolders(places);
  const lock = lockFile(places.lockFile);
  if ('heldBy' in lock) throw new Fault('daemon.running', { pid: lock.heldBy, home: places.home });
  const { settings, warnings } = await loadSettings(places.settingsFile);
  const log = openLog({ level: logLevel ?? settings.logLevel });
  for (const warning of warnings) log.warn(warning);
  const premises = openPremises(places, settings, log);
  await removeLeftovers(places.savesFolder);
  const composition = await compose({
    ...{ version, places, settings, log, ...premises, ...partsOfEnvironment() },
  });
  catchBugs(log);

  await composition.open();
  keepHeapSmall();
  const server = await listenUnix(places.socket, (socket) => composition.serveRpc(socket, undefined, peerOf(socket)), {
    entrants: premises.entrants,
    onError: (error) => log.warn('a connection could not be accepted', { error }),
  });
  await composition.engine.sockets.openAll(composition.engine.inventory.listVms());
  log.info('ready', { version, pid: process.pid, home: places.home, socket: places.socket });
  if (isAutostarting) void autostart(composition, log);
  return {
    log,
    async close() {
      await server.close();
      await composition.close();
      lock.release();
    },
  };
}

/**
 * Starts the VMs that are marked so, once for each boot of the host, those of a driver one after the other: when the host
 * has just booted, a driver may answer late.
 */
async function autostart({ engine }: Composition, log: Log): Promise<void> {
  const boot = bootId();
  if (engine.inventory.lastBoot() === boot) return;
  engine.inventory.noteBoot(boot);
  const marked = engine.inventory.listVms().filter((vm) => vm.autostart);
  await Promise.all([...Map.groupBy(marked, ({ driver }) => driver)].map(([, records]) => startAll(records)));

  async function startAll(records: readonly VmRecord[]): Promise<void> {
    for (const record of records) {
      await engine.fleet.whenAdopted(record.driver);
      await start(record);
    }
  }

  async function start(record: VmRecord): Promise<void> {
    if (engine.fleet.find(record.uuid)?.state !== 'halted') return;
    const quiet = { notify() {}, signal: new AbortController().signal };
    try {
      if ((await startupOf(engine, record)).do === 'shutdown') return;
      const because = { by: 'autostart', says: 'it is marked to be started with the host' };
      const intent = engine.audit.intend({ actor: USHER, action: 'vm.start', vm: record.name, because });
      try {
        await bringUp(engine, record, undefined, quiet);
        engine.audit.conclude(intent, 'ok');
      } catch (error) {
        engine.audit.conclude(intent, 'failed', { error: messageOf(error) });
        throw error;
      }
    } catch (error) {
      log.error('a VM could not be started with the host', { vm: record.name, what: messageOf(error) });
      engine.events.publish('vm.warning', { vm: record.uuid, name: record.name, message: messageOf(error) });
    }
  }
}

function endSignal(): Promise<string> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve('SIGTERM'));
    process.once('SIGINT', () => resolve('SIGINT'));
  });
}

/**
 * Has V8 collect garbage sooner. By itself it lets the heap grow to several times what is in use before it looks. Not
 * before the VMs were taken over: that is garbage mostly, and collecting it would cost the start some 100 ms.
 */
function keepHeapSmall(): void {
  setFlagsFromString('--optimize-for-size');
}
