/** Brings a new QEMU up to the point where its QMP answers, or leaves nothing of it. */
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makePrivateFolder } from '../../lib/atomic-file.ts';
import type { Clock } from '../../lib/clock.ts';
import { errnoOf, Fault, isFault, reasonOf } from '../../lib/fault.ts';
import { printable } from '../../lib/text.ts';
import type { VmConfig } from '../../model/vm.ts';
import type { StartOptions } from '../driver.ts';
import { type HostFirmware, readHostFirmware } from '../host-firmware.ts';
import { topologyOf } from '../topology.ts';
import { checkVmFiles } from '../vm-files.ts';
import { type AcceleratorWish, chooseAccelerator } from './accel.ts';
import { qemuArgv } from './argv.ts';
import { beginWithMemory, getsBalloon } from './balloon.ts';
import { QemuDomain, type QemuDomainOptions } from './domain.ts';
import { withMedia } from './media.ts';
import { joinBridges, lookAtNetwork, planNetwork } from './network.ts';
import { writeOrigin } from './origin.ts';
import { checkSocketPaths, type DomainPaths } from './paths.ts';
import { checkPciDevices } from './pci.ts';
import { killProcess, type Launched, launch, missing } from './process.ts';
import { feedState } from './restore.ts';
import { checkSavedDisks, revertDisks } from './restore-disks.ts';
import { type OpenSaveFile, openSaveFile, type SaveHeader } from './save-file.ts';
import { chooseScope, guestEnvironment, scopeArgv } from './scope.ts';
import { QemuImg } from './snapshots.ts';

export interface StartInput extends Pick<QemuDomainOptions, 'onHint' | 'clock' | 'log'> {
  readonly binary: string;
  readonly acceleratorWish: AcceleratorWish;
  readonly sysfsRoot: string;
  readonly config: VmConfig;
  readonly paths: DomainPaths;
}

/** QEMU itself is up in 50 ms; this is for a machine whose disks and cores are all busy. */
const UP_TIMEOUT_MS = 30_000;
const KILL_TIMEOUT_MS = 10_000;
const COMPLAINT = /^\S*qemu\S*: /;
/** A console log that is larger at a start becomes `….1` in place of the one before. */
const KEEP_LOG_BYTES = 8 * 1024 * 1024;

/**
 * Starts the process, connects to it and, if asked to, loads a saved state. Legal when nothing of the domain is there.
 * When it fails or is aborted, no process and no folder is left.
 * @throws Fault `vm.start_failed`, `vm.save_invalid`, `hypervisor.missing`, `socket.path_long`, `aborted`
 */
export async function startQemu(input: StartInput, options: StartOptions): Promise<QemuDomain> {
  const { config, paths, sysfsRoot } = input;
  await checkPciDevices(config, sysfsRoot);
  checkSocketPaths(paths);
  const { restoreFrom, signal } = options;
  if (restoreFrom === undefined) {
    await checkVmFiles(config);
    return bringUp(input, options, undefined);
  }
  const saved = await openSaveFile(restoreFrom, config, signal);
  try {
    // A saved guest has in its drives what it had then.
    const then = { ...input, config: withMedia(config, saved.header.media ?? []) };
    await checkVmFiles(then.config);
    if (options.disks === 'ignore') return await bringUp(then, options, saved);
    return await bringBack(then, options, saved, restoreFrom);
  } finally {
    await saved.file.close();
  }
}

/** Brings it up on the disks of the save. */
async function bringBack(
  input: StartInput,
  options: StartOptions,
  saved: OpenSaveFile,
  restoreFrom: string,
): Promise<QemuDomain> {
  const { config, binary, log } = input;
  const img = new QemuImg(binary);
  const { disks } = saved.header;
  await checkSavedDisks(restoreFrom, disks, config, img);
  const reverted = await revertDisks(disks, config.disks, img, log).catch((error: unknown) => {
    throw isFault(error, 'exec.failed', 'timeout')
      ? new Fault(
          'vm.start_failed',
          { vm: config.name, what: reasonOf(error, 'exec.failed', 'timeout') },
          { cause: error },
        )
      : error;
  });
  const domain = await bringUp(input, options, saved).catch(async (error: unknown) => {
    await reverted.undo().catch((trouble: unknown) => {
      log.error('a restore failed, and its disks could not be put back', { vm: config.name, error: trouble });
    });
    throw error;
  });
  await reverted.settle(domain);
  return domain;
}

async function bringUp(input: StartInput, options: StartOptions, saved: OpenSaveFile | undefined): Promise<QemuDomain> {
  const { binary, config, paths, clock, onHint, log } = input;
  const { uuid, name } = config;
  const { signal, isPaused } = options;
  const { name: accelerator } = await chooseAccelerator({ wish: input.acceleratorWish });
  if (saved !== undefined) checkAccelerator(saved.header, accelerator, options.restoreFrom);
  const scope = chooseScope();
  const restore = saved?.header;
  // A saved guest has the devices that it was saved with.
  const hasBalloon = restore === undefined ? getsBalloon(config) : restore.hasBalloon === true;
  const network = planNetwork(config, await lookAtNetwork(input.sysfsRoot));
  const tables = await readHostFirmware(config, join(input.sysfsRoot, 'firmware'));
  for (const warning of [...network.warnings, ...tables.warnings]) options.onWarning?.(warning);
  const firmware = firmwareFiles(paths, tables);
  const guest = qemuArgv({
    ...{ binary, config, paths, accelerator, network, firmware },
    ...{ isPaused, restore, hasBalloon, now: clock.now() },
  });
  const [first = binary, ...rest] = [...scopeArgv(scope, uuid), ...guest];
  await prepareFolders(paths);
  const media = restore?.media ?? [];
  await writeOrigin(paths, {
    topology: restore?.topology ?? topologyOf(config),
    accelerator,
    disks: config.disks,
    hasBalloon,
    media,
  });
  let launched: Launched | undefined;
  let domain: QemuDomain | undefined;
  try {
    if (signal?.aborted) throw new Fault('aborted', { what: `The start of VM ${name}` }, { cause: signal.reason });
    await writeFirmware(paths, tables);
    const { folder: cwd, pidFile, qemuLog } = paths;
    launched = launch([first, ...rest], { cwd, pidFile, log: qemuLog, env: guestEnvironment(scope) });
    domain = new QemuDomain({ uuid, name, paths, process: launched.identity, onHint, clock, log });
    const session = await domain.session({ signal, timeoutMs: UP_TIMEOUT_MS });
    if (saved === undefined) await beginWithMemory(session, config, { signal });
    await joinBridges(network, name, { signal });
    if (saved !== undefined) await feedState(domain, saved, options, clock);
    log.info('a domain was started', { vm: name, uuid, pid: launched.identity.pid, accelerator });
    return domain;
  } catch (error) {
    domain?.close();
    await clearAway(launched, paths, clock);
    throw await startFault(error, launched, input, options.restoreFrom);
  }
}

/** Names the files in which QEMU finds the tables. */
function firmwareFiles({ firmwareFolder }: DomainPaths, tables: Pick<HostFirmware, 'smbios' | 'acpi'>) {
  const name = (kind: 'smbios' | 'acpi') => tables[kind].map((_, index) => join(firmwareFolder, `${kind}-${index}`));
  return { smbios: name('smbios'), acpi: name('acpi') };
}

async function writeFirmware(paths: DomainPaths, tables: HostFirmware): Promise<void> {
  const files = firmwareFiles(paths, tables);
  if (files.smbios.length + files.acpi.length === 0) return;
  await mkdir(paths.firmwareFolder, { mode: 0o700 });
  for (const kind of ['smbios', 'acpi'] as const) {
    for (const [index, file] of files[kind].entries()) {
      await writeFile(file, tables[kind][index] ?? '', { mode: 0o600 });
    }
  }
}

function checkAccelerator(header: SaveHeader, accelerator: string, file = ''): void {
  if (header.accelerator === accelerator) return;
  const what = `it was saved under ${header.accelerator}, and this host has only ${accelerator}`;
  throw new Fault('vm.save_invalid', { file, what });
}

/** Ends a process that was started in vain, and removes its folder. The logs stay. */
async function clearAway(launched: Launched | undefined, paths: DomainPaths, clock: Clock): Promise<void> {
  if (launched !== undefined) await killProcess(launched.identity, KILL_TIMEOUT_MS, clock);
  await rm(paths.folder, { recursive: true, force: true });
}

/** Makes the fault of a start that failed: QEMU's last words say why, if it had any. */
async function startFault(
  error: unknown,
  launched: Launched | undefined,
  { config, paths, binary }: StartInput,
  restoreFrom: string | undefined,
): Promise<unknown> {
  if (isFault(error, 'aborted')) return error;
  if (launched === undefined) return errnoOf(error) === 'ENOENT' ? missing(binary) : error;
  const words = await lastWords(paths);
  if (restoreFrom !== undefined && words !== undefined && /unsupported machine type/.test(words)) {
    const what = 'it was saved by a newer QEMU than this host has';
    return new Fault('vm.save_invalid', { file: restoreFrom, what }, { cause: error });
  }
  const isLocked = words !== undefined && /Failed to get (shared )?"\w+" lock/.test(words);
  const hint = isLocked ? 'A disk is in use by another VM or program.' : `QEMU's own log is ${paths.qemuLog}`;
  const what = words ?? reasonOf(error);
  return new Fault('vm.start_failed', { vm: config.name, what }, { cause: error, hint });
}

/** Gives the last complaint in QEMU's log, if there is one. Lines without QEMU's name only add to the one before. */
export async function lastWords(paths: DomainPaths): Promise<string | undefined> {
  const text = await readFile(paths.qemuLog, 'utf8').catch(() => '');
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const line = lines.findLast((words) => COMPLAINT.test(words)) ?? lines.at(-1);
  return line === undefined ? undefined : printable(line.replace(COMPLAINT, ''), 400);
}

async function prepareFolders(paths: DomainPaths): Promise<void> {
  const { folder, consoleLog, qemuLog } = paths;
  await makePrivateFolder(dirname(consoleLog));
  await makePrivateFolder(dirname(qemuLog));
  await makePrivateFolder(dirname(folder));
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  const { size } = await stat(consoleLog).catch(() => ({ size: 0 }));
  if (size > KEEP_LOG_BYTES) await rename(consoleLog, `${consoleLog}.1`);
}
