/**
 * The note that a domain is being built, in its folder from before xl begins until it has ended well: lets a daemon that
 * comes up tell a whole domain from one whose xl was killed, or goes on with nobody waiting.
 */
import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import type { VmUuid } from '../../model/ids.ts';
import { clearAway, type XenHost } from './host.ts';
import type { DomainPaths } from './paths.ts';
import { isBuildFrom, killXl } from './xl-processes.ts';

/** Notes it. The folder is there. */
export async function writeBuildNote({ buildNote }: DomainPaths): Promise<void> {
  await writeFile(buildNote, '', { mode: 0o600 });
}

/** Takes the note back: the domain is whole. */
export async function removeBuildNote({ buildNote }: DomainPaths): Promise<void> {
  await rm(buildNote, { force: true });
}

/**
 * Ends what a former daemon was building. xl lets a domain run as its last act, so one that has run is whole and stays; of
 * any other nothing is left, for its guest has not begun and a restore can be done again. @throws as `clearAway` does
 */
export async function settleBuild(host: XenHost, uuid: VmUuid): Promise<void> {
  const paths = host.pathsOf(uuid);
  if (!existsSync(paths.buildNote)) return;
  await killXl((process) => isBuildFrom(process, paths.cfgFile), host.clock);
  const remains = await host.roster.remainsOf(uuid);
  const isWhole = remains.length > 0 && remains.every(({ run, hasRun }) => run !== 'paused' || hasRun);
  if (isWhole) return removeBuildNote(paths);
  host.log.warn('a domain whose start was cut off is ended', { uuid, domids: remains.map(({ domid }) => domid) });
  await clearAway(host, uuid);
}
