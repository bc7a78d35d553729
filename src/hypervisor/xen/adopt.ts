/** Takes over what a former daemon left of a VM: a start or a save that was under way, a folder, a console. */
import { rm } from 'node:fs/promises';
import type { VmUuid } from '../../model/ids.ts';
import { settleBuild } from './build-note.ts';
import { type Connection, serveConsole } from './connection.ts';
import { settleSave } from './save-note.ts';

/** A domain whose whole state is in a file, and that only has to go. */
export interface SavedDomain {
  readonly domid: number;
  readonly path: string;
}

/**
 * Settles what is left of a VM; nothing else may be done to it meanwhile. Gives the domain if it is but the remains of a
 * suspend. @throws as `settleBuild` and `settleSave` do; it can be tried again then
 */
export async function adoptVm(host: Connection, uuid: VmUuid): Promise<SavedDomain | undefined> {
  try {
    await settleBuild(host, uuid);
    const savedTo = await settleSave(host, uuid);
    const domain = await host.roster.find(uuid);
    if (domain === undefined) {
      await rm(host.pathsOf(uuid).folder, { recursive: true, force: true });
      return undefined;
    }
    await serveConsole(host, uuid);
    return savedTo === undefined ? undefined : { domid: domain.domid, path: savedTo };
  } catch (error) {
    host.log.error('what a former daemon left of a VM cannot be settled', { uuid, error });
    throw error;
  }
}
