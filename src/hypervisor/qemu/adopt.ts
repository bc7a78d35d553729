/** Brings a QEMU in order that was found running: proves that it is ours, ends what a dead daemon left half done. */
import type { Clock } from '../../lib/clock.ts';
import { Fault } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import { sweepBackings } from './backing.ts';
import type { QemuDomain } from './domain.ts';
import { parseDeviceQomId } from './ids.ts';
import { killProcess } from './process.ts';
import { settleSave } from './save-note.ts';

const KILL_TIMEOUT_MS = 10_000;

/**
 * Adopts a domain; runs once, before anything else is asked of it. @throws Fault `hypervisor.lost` when another QEMU
 * sits behind its socket, `vm.no_domain` when it was being restored (its source died with the daemon: it is ended)
 */
export async function adoptQemu(session: QmpSession, domain: QemuDomain, clock: Clock, log: Log): Promise<void> {
  const { uuid, name: vm } = domain;
  const { UUID } = await session.execute('query-uuid');
  if (UUID !== uuid) {
    throw new Fault('hypervisor.lost', { vm, what: `behind ${domain.paths.qmpSocket} is the QEMU of ${UUID}` });
  }
  const { status } = await session.execute('query-status');
  if (status === 'inmigrate') {
    log.warn('a domain whose restore was cut off is ended', { vm, uuid });
    await killProcess(domain.process, KILL_TIMEOUT_MS, clock);
    throw new Fault('vm.no_domain', { vm });
  }
  // A reset that was cut off may have left it at `reset`; see reset.ts.
  await session.execute('set-action', { reboot: 'shutdown' });
  const children = await session.execute('qom-list', { path: '/machine/peripheral' });
  const taken = children.flatMap(({ name }) => parseDeviceQomId(uuid, name) ?? []);
  await sweepBackings(session, clock, taken);
  await settleSave(session, domain, clock, log);
  log.info('a running domain was adopted', { vm, uuid, pid: domain.process.pid });
}
