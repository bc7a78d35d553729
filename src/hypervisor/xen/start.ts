/** Has xl build a domain, new or from a save, or leaves nothing of it. */
import { lstat, mkdir, readFile, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makePrivateFolder, writeFileAtomic } from '../../lib/atomic-file.ts';
import { errnoOf, Fault, isFault, reasonOf } from '../../lib/fault.ts';
import { type VmConfig, virtModeOf } from '../../model/vm.ts';
import type { StartOptions } from '../driver.ts';
import { type HostFirmware, readHostFirmware } from '../host-firmware.ts';
import { CHANGED_HINT, whyDiskChanged } from '../saved-disks.ts';
import { checkVmFiles } from '../vm-files.ts';
import { removeBuildNote, writeBuildNote } from './build-note.ts';
import { makeCfg } from './cfg.ts';
import { parseControllerArgs, writeControllerNodes } from './emulated-controllers.ts';
import { clearAway, findAlive, unpauseDomain, type XenHost } from './host.ts';
import { checkSocketPaths, type DomainPaths } from './paths.ts';
import { isIncomingName } from './roster.ts';
import { type OpenSaveFile, openSaveFile } from './save-file.ts';

/** Dom0 may have to give memory back first, and disks may have scripts. */
const CREATE_TIMEOUT_MS = 180_000;
/** And a disk this slow is to be borne: bytes per second. */
const SLOWEST_READ = 5 * 1024 * 1024;
/** A console log of ours that is larger at a start becomes `….1` in place of the one before. */
const KEEP_LOG_BYTES = 8 * 1024 * 1024;
/** Where xenconsoled writes what PV and PVH guests say (`xenconsoled --log=guest`). */
const XENCONSOLED_LOGS = '/var/log/xen/console';
const FIRMWARE = '/sys/firmware';
const NO_TABLES: HostFirmware = { smbios: [], acpi: [], warnings: [] };
const DEVICE_MODEL_LOGS = '/var/log/xen';

/**
 * Creates the domain, or restores it, and returns when it runs, or is paused. Legal when nothing has its uuid. When it
 * fails or is aborted, no domain and no folder is left.
 * @throws Fault `vm.start_failed`, `vm.save_invalid`, `hypervisor.missing`, `socket.path_long`, `aborted`
 */
export async function startXen(host: XenHost, config: VmConfig, options: StartOptions): Promise<void> {
  const { restoreFrom, signal } = options;
  await checkVmFiles(config);
  checkSocketPaths(host.pathsOf(config.uuid));
  await checkName(host, config, options);
  if (restoreFrom === undefined) return build(host, config, options, undefined);
  const saved = await openSaveFile(restoreFrom, config, signal);
  try {
    await checkDisks(restoreFrom, saved, config, options);
    if (saved.trailer === undefined) options.onWarning?.(`The save ${restoreFrom} has no checksum: xl made it alone.`);
    // The guest goes on with the controllers that it had, whatever its config has become.
    await build(host, { ...config, usbControllers: saved.saved.controllers }, options, saved);
  } finally {
    await saved.file.close();
  }
}

/** Refuses a guest whose disks have changed since its save. @throws Fault `vm.save_invalid` */
async function checkDisks(
  file: string,
  { trailer }: OpenSaveFile,
  { disks }: VmConfig,
  options: StartOptions,
): Promise<void> {
  if (trailer === undefined || options.disks === 'ignore') return;
  const what = await whyDiskChanged(trailer.disks, disks);
  if (what !== undefined) throw new Fault('vm.save_invalid', { file, what }, { hint: CHANGED_HINT });
}

/**
 * Builds a domain anew from the cfg that is kept of it. Legal when nothing has its uuid. When it fails, nothing is left.
 * @throws Fault `vm.start_failed`, `aborted`
 */
export async function startAgain(host: XenHost, config: Named, options: StartOptions): Promise<void> {
  const paths = host.pathsOf(config.uuid);
  try {
    await writeBuildNote(paths);
    await runXl(host, config, options, undefined);
    await noteControllers(host, config, options);
    await removeBuildNote(paths);
  } catch (error) {
    throw await leaveNothing(host, config, startFault(error, config, options));
  }
}

type Named = Pick<VmConfig, 'uuid' | 'name'>;

async function build(
  host: XenHost,
  config: VmConfig,
  options: StartOptions,
  saved: OpenSaveFile | undefined,
): Promise<void> {
  const { uuid, name } = config;
  const paths = host.pathsOf(uuid);
  const isHvm = virtModeOf(config) === 'hvm';
  const tables = isHvm ? await readHostFirmware(config, FIRMWARE) : NO_TABLES;
  const firmware = {
    smbios: tables.smbios.length === 0 ? undefined : paths.smbiosFile,
    acpi: tables.acpi.length === 0 ? undefined : paths.acpiFile,
  };
  const { text, notes } = makeCfg(config, paths, saved?.emulated, firmware);
  for (const note of [...notes, ...tables.warnings]) options.onWarning?.(note);
  try {
    await prepareFolders(paths);
    await writeTables(paths, tables);
    await writeFileAtomic(paths.cfgFile, text);
    await writeBuildNote(paths);
    await prepareLog(paths, config);
    await runXl(host, config, options, saved);
    await noteControllers(host, config, options);
    await removeBuildNote(paths);
    if (saved !== undefined && !options.isPaused) await unpauseDomain(host, uuid, options);
    host.log.info('a domain was started', { vm: name, uuid, isRestored: saved !== undefined });
  } catch (error) {
    throw await leaveNothing(host, config, startFault(error, config, options));
  }
}

/** Writes the tables as xl.cfg(5) says: SMBIOS structures have their size before them, ACPI tables tell it themselves. */
async function writeTables({ smbiosFile, acpiFile }: DomainPaths, { smbios, acpi }: HostFirmware): Promise<void> {
  const sized = smbios.flatMap((structure) => {
    const size = Buffer.alloc(4);
    size.writeUInt32LE(structure.length);
    return [size, structure];
  });
  if (smbios.length > 0) await writeFile(smbiosFile, Buffer.concat(sized), { mode: 0o600 });
  if (acpi.length > 0) await writeFile(acpiFile, Buffer.concat(acpi), { mode: 0o600 });
}

/** Clears what a start in vain has left, and gives the fault to throw. */
async function leaveNothing(host: XenHost, { uuid, name }: Named, fault: unknown): Promise<unknown> {
  try {
    await clearAway(host, uuid);
  } catch (error) {
    host.log.error('a start failed, and what it left cannot be cleared', { vm: name, uuid, error });
  }
  return fault;
}

async function runXl(
  host: XenHost,
  config: Named,
  options: StartOptions,
  saved: OpenSaveFile | undefined,
): Promise<void> {
  const { cfgFile } = host.pathsOf(config.uuid);
  const what = `The start of VM ${config.name}`;
  const { signal } = options;
  if (saved === undefined) {
    const words = ['create', '-e', '-q', ...(options.isPaused ? ['-p'] : []), cfgFile];
    await host.xl.run(words, { what, signal, timeoutMs: CREATE_TIMEOUT_MS });
  } else {
    const timeoutMs = CREATE_TIMEOUT_MS + (saved.bytes / SLOWEST_READ) * 1000;
    // By descriptor: what was checked is what is read, whatever stands at the path by now.
    const words = ['restore', '-e', '-p', cfgFile, '/dev/fd/3'];
    await host.xl.run(words, { what, signal, timeoutMs, files: [saved.file.fd] });
  }
  host.roster.touch();
}

/** Has xenstore know the controllers that are words of the device model, of which xl knows nothing. */
async function noteControllers(host: XenHost, { uuid }: Named, { signal }: StartOptions): Promise<void> {
  const controllers = parseControllerArgs(await readFile(host.pathsOf(uuid).cfgFile, 'utf8'));
  if (controllers.length === 0) return;
  const { domid } = await findAlive(host, uuid, { signal });
  await writeControllerNodes(host.store, domid, controllers);
}

/** Xen's names are unique on a host, over all domains, whoever made them. */
async function checkName({ roster }: XenHost, { uuid, name }: VmConfig, { signal }: StartOptions): Promise<void> {
  if (isIncomingName(name)) {
    const what = `xl would take ${name} for a domain that it is receiving from another host`;
    throw new Fault('vm.start_failed', { vm: name, what }, { hint: 'Give it a name that ends otherwise.' });
  }
  const other = (await roster.all({ signal })).find((domain) => domain.name === name && domain.uuid !== uuid);
  if (other !== undefined) throw nameTaken(name, `the domain ${other.domid}, of uuid ${other.uuid}, has its name`);
}

function nameTaken(vm: string, what: string, cause?: unknown): Fault {
  const hint = `On Xen no two domains share a name. End the other (xl destroy ${vm}) or rename one of them.`;
  return new Fault('vm.start_failed', { vm, what }, { hint, cause });
}

/** Makes the fault of a start that failed. */
function startFault(error: unknown, { name: vm }: Named, { restoreFrom }: StartOptions): unknown {
  if (isFault(error, 'timeout')) {
    return new Fault('vm.start_failed', { vm, what: reasonOf(error) }, { cause: error, hint: error.hint });
  }
  if (!isFault(error, 'hypervisor.failed')) return error;
  const what = reasonOf(error, 'hypervisor.failed');
  if (/^Domain with name .* already exists/.test(what)) return nameTaken(vm, 'another domain has its name', error);
  // All of the file's form was checked before; what xl finds wrong beyond that lies in its content.
  if (restoreFrom !== undefined && /\b(record|stream)\b/i.test(what)) {
    return new Fault('vm.save_invalid', { file: restoreFrom, what }, { cause: error });
  }
  const isModel = /device model/i.test(what);
  const hint = isModel ? `What its device model said is in ${DEVICE_MODEL_LOGS}/qemu-dm-${vm}.log` : undefined;
  return new Fault('vm.start_failed', { vm, what }, { cause: error, hint });
}

async function prepareFolders({ folder, consoleLog }: DomainPaths): Promise<void> {
  await makePrivateFolder(dirname(consoleLog));
  await makePrivateFolder(dirname(folder));
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
}

/** An HVM guest's log is written by its device model; that of another is a link to xenconsoled's. */
async function prepareLog({ consoleLog }: DomainPaths, config: VmConfig): Promise<void> {
  const found = await lstat(consoleLog).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  const isHvm = virtModeOf(config) === 'hvm';
  if (found?.isSymbolicLink()) await unlink(consoleLog);
  else if (found !== undefined && (!isHvm || found.size > KEEP_LOG_BYTES)) await rename(consoleLog, `${consoleLog}.1`);
  if (!isHvm) await symlink(`${XENCONSOLED_LOGS}/guest-${config.name}.log`, consoleLog);
}
