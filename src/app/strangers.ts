/** Strangers: domains that run on this host and belong to no VM of the inventory. They are looked at, and left alone. */
import type { Domain } from '../hypervisor/driver.ts';
import { printable } from '../lib/text.ts';
import { deviceKey } from '../model/usb.ts';
import type { DriverName } from '../model/vm.ts';
import type { Explanation } from '../usb/explain.ts';
import type { Engine } from './engine.ts';

export interface Stranger {
  readonly driver: DriverName;
  readonly domain: Domain;
}

/** Asks every driver for them; a driver that fails has none. */
export async function listStrangers({ drivers, fleet }: Pick<Engine, 'drivers' | 'fleet'>): Promise<Stranger[]> {
  const lists = drivers.names.map(async (driver): Promise<Stranger[]> => {
    try {
      return (await (await drivers.get(driver)).list()).map((domain) => ({ driver, domain }));
    } catch {
      return []; // A host without that hypervisor has no strangers on it.
    }
  });
  const found = (await Promise.all(lists)).flat();
  const known = new Set(fleet.list().map(({ uuid }) => uuid)); // As of now: one may have been taken in meanwhile.
  return found.filter(({ domain }) => !known.has(domain.uuid));
}

/** Gives the stranger that has the device, `backend:busid`: no plan knows of it, for plans are about VMs of the inventory. */
export async function strangerWith(
  engine: Pick<Engine, 'drivers' | 'fleet'>,
  device: string,
): Promise<Stranger | undefined> {
  const strangers = await listStrangers(engine);
  return strangers.find(({ domain }) => domain.attachments.some((attachment) => deviceKey(attachment) === device));
}

/** Says that a stranger has the device, and offers nothing that would be refused for that. */
export function inStranger(explanation: Explanation, { domain }: Stranger): Explanation {
  const name = printable(domain.name, 70);
  const says = `Others attached it to the domain ${name}, which is no VM of Usher: nothing takes it away from there. To have it there as one of your VMs: usher vm adopt ${name}`;
  const changes = explanation.changes.filter(({ gives }) => gives.vm === undefined);
  return { ...explanation, because: [`${says}.`, ...explanation.because], changes };
}
