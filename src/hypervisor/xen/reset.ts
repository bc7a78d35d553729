/** Resets a domain as far as that goes on Xen, which can reset none: another one takes its place. */
import { existsSync } from 'node:fs';
import { Fault } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { Waiting } from '../driver.ts';
import { endDomain, findAlive, type XenHost } from './host.ts';
import { startAgain } from './start.ts';

/**
 * Ends the domain and builds it anew from the cfg that is kept of it, paused if it was. Of a building that fails nothing is left.
 * @throws Fault `vm.no_domain`, `vm.start_failed`, `aborted`; `hypervisor.failed` when it is not of Usher's making
 */
export async function resetXen(host: XenHost, uuid: VmUuid, { signal }: Waiting): Promise<void> {
  const domain = await findAlive(host, uuid, { signal });
  if (!existsSync(host.pathsOf(uuid).cfgFile)) {
    const hint = 'Shut it down and start it by Usher; from then on it can be reset.';
    const what = `VM ${domain.name} was not started by Usher, so its cfg is not known`;
    throw new Fault('hypervisor.failed', { what }, { hint });
  }
  await endDomain(host, domain, { signal });
  await startAgain(host, domain, { isPaused: domain.run === 'paused', signal });
}
