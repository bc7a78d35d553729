/** What is told of a domain: xl's list, xenstore and the device model put together. Acts on nothing. */
import { isFault } from '../../lib/fault.ts';
import type { Domain, Waiting } from '../driver.ts';
import { deathOf } from './death.ts';
import { isSuspended, type XenHost } from './host.ts';
import type { LivingDomain } from './roster.ts';
import { isSaveOf, listCommands } from './xl-processes.ts';

/** What this process itself does to the domain, or has done. */
export interface OwnDeeds {
  readonly isSaving: boolean;
  /** Its whole state is in this file, and it only has to go. */
  readonly savedTo: string | undefined;
}

/** Observes a domain; `undefined` when it is gone by now. @throws as reading xenstore does */
export async function observeDomain(
  host: XenHost,
  living: LivingDomain,
  deeds: OwnDeeds,
  waiting: Waiting,
): Promise<Domain | undefined> {
  const { domid, uuid, name } = living;
  try {
    const [usb, stubdom, power] = await Promise.all([
      host.usb.observe(living, waiting),
      host.store.read(`/local/domain/${domid}/image/device-model-domid`, waiting),
      powerOf(living, deeds),
    ]);
    const stubdomDomid = /^\d{1,5}$/.test(stubdom ?? '') ? Number(stubdom) : -1;
    return { uuid, name, handle: domid, ...power, ...usb, stubdomDomid };
  } catch (error) {
    if (isFault(error, 'vm.no_domain')) return undefined;
    throw error;
  }
}

async function powerOf(living: LivingDomain, { isSaving, savedTo }: OwnDeeds): Promise<Pick<Domain, 'run' | 'death'>> {
  const { domid, run, reason } = living;
  if (savedTo !== undefined) {
    return { run: 'dead', death: { reason: 'suspend', detail: `its state is saved in ${savedTo}`, savedTo } };
  }
  if (isSaving) return { run: 'saving' };
  if (run !== 'shutdown' || reason === undefined) return { run: run === 'paused' ? 'paused' : 'running' };
  const isBeingSaved = isSuspended(living) && (await listCommands('xl')).some((process) => isSaveOf(process, domid));
  return isBeingSaved ? { run: 'saving' } : { run: 'dead', death: deathOf(reason) };
}
