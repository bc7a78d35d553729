/** What is told of a domain: xl's list, xenstore and the device model put together. Acts on nothing. */
import { isFault } from '../../lib/fault.ts';
import type { Domain, Waiting } from '../driver.ts';
import { deathOf } from './death.ts';
import type { XenHost } from './host.ts';
import { isSuspended, type LivingDomain } from './roster.ts';
import { isSaveOf, listCommands } from './xl-processes.ts';

/** What this process itself does to the domain, or has done. */
export interface OwnDeeds {
  readonly isSaving: boolean;
  /** Its whole state is in this file, and it only has to go. */
  readonly savedTo: string | undefined;
}

/** As `Waiting`; `isOneOfMany` as `XenUsb.observe` has it. */
export interface Looking extends Waiting {
  readonly isOneOfMany?: boolean;
}

/** Observes a domain; `undefined` when it is gone by now. @throws as reading xenstore does */
export async function observeDomain(
  host: XenHost,
  living: LivingDomain,
  deeds: OwnDeeds,
  { isOneOfMany = false, ...waiting }: Looking,
): Promise<Domain | undefined> {
  const { domid, uuid, name } = living;
  try {
    const [usb, stubdom, power] = await Promise.all([
      host.usb.observe(living, waiting, { isOneOfMany }),
      host.store.read(`/local/domain/${domid}/image/device-model-domid`, waiting),
      powerOf(host, living, deeds, waiting),
    ]);
    const stubdomDomid = /^\d{1,5}$/.test(stubdom ?? '') ? Number(stubdom) : -1;
    return { uuid, name, handle: domid, ...power, ...usb, stubdomDomid };
  } catch (error) {
    if (isFault(error, 'vm.no_domain')) return undefined;
    throw error;
  }
}

type Power = Pick<Domain, 'run' | 'death'>;

async function powerOf(
  host: XenHost,
  living: LivingDomain,
  { isSaving, savedTo }: OwnDeeds,
  waiting: Waiting,
): Promise<Power> {
  if (savedTo !== undefined) {
    return { run: 'dead', death: { reason: 'suspend', detail: `its state is saved in ${savedTo}`, savedTo } };
  }
  if (isSaving) return { run: 'saving' };
  if (!isSuspended(living)) return plainPower(living);
  if (await isBeingSaved(living)) return { run: 'saving' };
  // The xl that saved it may have ended since it was seen, and a checkpoint lets it go on.
  const now = await host.roster.findNow(living.uuid, waiting);
  return plainPower(now?.domid === living.domid ? now : living);
}

function plainPower({ run, reason }: LivingDomain): Power {
  if (run !== 'shutdown' || reason === undefined) return { run: run === 'paused' ? 'paused' : 'running' };
  return { run: 'dead', death: deathOf(reason) };
}

async function isBeingSaved(domain: LivingDomain): Promise<boolean> {
  return (await listCommands('xl')).some((process) => isSaveOf(process, domain));
}
