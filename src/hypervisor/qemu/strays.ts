/**
 * The QEMUs of this home whose folders may be gone: somebody cleared the runtime folder while they ran. Finds them by
 * their command lines; what is done with them is the driver's business.
 */
import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { DomainPaths } from './paths.ts';
import { type FoundProcess, findProcesses, isAlive, isGoneWithin } from './process.ts';

/** A QEMU that was killed an instant ago may take so long to give its memory back. */
const DYING_MS = 1_000;

/**
 * INVARIANTS: all processes are looked through once, for nobody but the driver starts any; and again when asked to, which
 * is before each start. What was found then counts as long as that process lives.
 */
export class Strays {
  readonly #pathsOf: (uuid: VmUuid) => DomainPaths;
  readonly #log: Log;
  readonly #clock: Clock;
  #found: Promise<ReadonlyMap<VmUuid, FoundProcess>> | undefined;

  constructor(pathsOf: (uuid: VmUuid) => DomainPaths, log: Log, clock: Clock) {
    this.#pathsOf = pathsOf;
    this.#log = log;
    this.#clock = clock;
  }

  /** Gives the domains that ran when the processes were looked through, with a folder or without. */
  async uuids(): Promise<VmUuid[]> {
    return [...(await this.#look()).keys()];
  }

  /** Gives the process of a domain that has no folder, if it lives; looking again, one that is dying is waited for. */
  async find(uuid: VmUuid, how: 'as seen' | 'look again'): Promise<FoundProcess | undefined> {
    if (how === 'look again') this.#found = undefined;
    const found = (await this.#look()).get(uuid);
    if (found === undefined || !isAlive(found.identity)) return undefined;
    if (how === 'look again' && (await isGoneWithin(found.identity, DYING_MS, this.#clock))) return undefined;
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
