/**
 * The QEMUs of this home whose folders may be gone: somebody cleared the runtime folder while they ran. Finds them by
 * their command lines; what is done with them is the driver's business.
 */
import type { Log } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { DomainPaths } from './paths.ts';
import { type FoundProcess, findProcesses, isAlive } from './process.ts';

/**
 * INVARIANTS: all processes are looked through once, for nobody but the driver starts any; and again when asked to, which
 * is before each start. What was found then counts as long as that process lives.
 */
export class Strays {
  readonly #pathsOf: (uuid: VmUuid) => DomainPaths;
  readonly #log: Log;
  #found: Promise<ReadonlyMap<VmUuid, FoundProcess>> | undefined;

  constructor(pathsOf: (uuid: VmUuid) => DomainPaths, log: Log) {
    this.#pathsOf = pathsOf;
    this.#log = log;
  }

  /** Gives the domains that ran when the processes were looked through, with a folder or without. */
  async uuids(): Promise<VmUuid[]> {
    return [...(await this.#look()).keys()];
  }

  /** Gives the process of a domain that has no folder, if it lives. */
  async find(uuid: VmUuid, how: 'as seen' | 'look again'): Promise<FoundProcess | undefined> {
    if (how === 'look again') this.#found = undefined;
    const found = (await this.#look()).get(uuid);
    if (found === undefined || !isAlive(found.identity)) return undefined;
    this.#log.warn('a QEMU runs whose folder is gone', { vm: found.name, uuid, pid: found.identity.pid });
    return found;
  }

  #look(): Promise<ReadonlyMap<VmUuid, FoundProcess>> {
    this.#found ??= findProcesses(this.#pathsOf).catch((error: unknown) => {
      this.#found = undefined;
      throw error;
    });
    return this.#found;
  }
}
