/** Strangers: domains that run on this host and belong to no VM of the inventory. They are looked at, and left alone. */
import type { Domain } from '../hypervisor/driver.ts';
import type { DriverName } from '../model/vm.ts';
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
