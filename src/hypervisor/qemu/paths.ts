/** Where a domain keeps its sockets and files: one private folder a domain, named by its uuid. */
import { join } from 'node:path';
import { checkSocketPath } from '../../lib/unix-server.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { ConsolePaths } from '../driver.ts';

export interface DomainPaths {
  readonly folder: string;
  readonly qmpSocket: string;
  readonly consoleSocket: string;
  /** The number of QEMU's process; proves nothing by itself, see process.ts. */
  readonly pidFile: string;
  /** What QEMU notes about its run states: tells a halt from a reboot afterwards. */
  readonly traceFile: string;
  /** What the domain was started with: see origin.ts. */
  readonly originFile: string;
  /** Where a save or restore streams through. */
  readonly migrateSocket: string;
  /** Where the guest's screen is, when it is on no port. */
  readonly vncSocket: string;
  /** Where tables of the host's firmware lie, numbered files. */
  readonly firmwareFolder: string;
  /** The save that is under way. */
  readonly saveNote: string;
  /** Kept when the domain is gone. */
  readonly consoleLog: string;
  /** What QEMU itself complained about; kept when the domain is gone, until the next start. */
  readonly qemuLog: string;
}

/** Gives the paths of a domain. Nothing is made. */
export function domainPaths(runtimeDir: string, stateDir: string, uuid: VmUuid): DomainPaths {
  const folder = join(runtimeDir, uuid);
  return {
    folder,
    qmpSocket: join(folder, 'qmp.sock'),
    consoleSocket: join(folder, 'console.sock'),
    pidFile: join(folder, 'pid'),
    traceFile: join(folder, 'trace.log'),
    originFile: join(folder, 'origin.json'),
    migrateSocket: join(folder, 'migrate.sock'),
    vncSocket: join(folder, 'vnc.sock'),
    firmwareFolder: join(folder, 'firmware'),
    saveNote: join(folder, 'save.json'),
    consoleLog: join(stateDir, `${uuid}.console.log`),
    qemuLog: join(stateDir, `${uuid}.qemu.log`),
  };
}

/** Gives the part of the paths that users of the console need. */
export function consolePaths(paths: DomainPaths): ConsolePaths {
  return { socket: paths.consoleSocket, log: paths.consoleLog };
}

/** Refuses a folder that is too deep for sockets. @throws Fault `socket.path_long` */
export function checkSocketPaths(paths: DomainPaths): void {
  for (const path of [paths.qmpSocket, paths.consoleSocket, paths.migrateSocket, paths.vncSocket])
    checkSocketPath(path);
}
