/** Where a domain of ours keeps its sockets and files: one private folder a domain, named by its uuid. */
import { join } from 'node:path';
import { checkSocketPath } from '../../lib/unix-server.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { ConsolePaths } from '../driver.ts';

export interface DomainPaths {
  readonly folder: string;
  /** What xl was told; a reset is told the same. */
  readonly cfgFile: string;
  /** The device model's QMP socket that is ours alone. */
  readonly qmpSocket: string;
  readonly consoleSocket: string;
  /** Tables of the host's firmware, in the forms of xl.cfg(5). */
  readonly smbiosFile: string;
  readonly acpiFile: string;
  /** The domain is being built: see build-note.ts. */
  readonly buildNote: string;
  /** The save that is under way: see save-note.ts. */
  readonly saveNote: string;
  /** Kept when the domain is gone. */
  readonly consoleLog: string;
}

/** Gives the paths of a domain. Nothing is made. */
export function domainPaths(runtimeDir: string, stateDir: string, uuid: VmUuid): DomainPaths {
  const folder = join(runtimeDir, uuid);
  return {
    folder,
    cfgFile: join(folder, 'xl.cfg'),
    qmpSocket: join(folder, 'qmp'),
    consoleSocket: join(folder, 'console.sock'),
    smbiosFile: join(folder, 'smbios'),
    acpiFile: join(folder, 'acpi'),
    buildNote: join(folder, 'build.json'),
    saveNote: join(folder, 'save.json'),
    consoleLog: join(stateDir, `${uuid}.console.log`),
  };
}

/** Gives the part of the paths that users of the console need. */
export function consolePaths({ consoleSocket, consoleLog }: DomainPaths): ConsolePaths {
  return { socket: consoleSocket, log: consoleLog };
}

/** Refuses a folder that is too deep for sockets. @throws Fault `socket.path_long` */
export function checkSocketPaths({ qmpSocket, consoleSocket }: DomainPaths): void {
  for (const path of [qmpSocket, consoleSocket]) checkSocketPath(path);
}
