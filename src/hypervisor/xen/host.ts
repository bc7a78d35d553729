/** What the parts of the driver work on while it is connected, and the acts that each of them needs. */
import { rm } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import { Fault } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import { printable } from '../../lib/text.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { DomainDescription, Waiting } from '../driver.ts';
import { describeFromList } from './describe.ts';
import type { DomainPaths } from './paths.ts';
import type { LivingDomain, Roster } from './roster.ts';
import type { XenUsb } from './usb.ts';
import type { Xl } from './xl.ts';
import { isBuildFrom, isSaveOf, killXl } from './xl-processes.ts';

export interface XenHost {
  readonly xl: Xl;
  readonly store: XenstoreClient;
  readonly roster: Roster;
  readonly usb: XenUsb;
  readonly clock: Clock;
  readonly log: Log;
  readonly pathsOf: (uuid: VmUuid) => DomainPaths;
}

/** libxl waits 10 s for a device that does not let go; with several of them, each in its turn. */
const DESTROY_TIMEOUT_MS = 90_000;
/** libxl gives a guest 60 s to suspend itself; one that is suspended already lets that time pass. */
const HEAL_TIMEOUT_MS = 180_000;
/** Pauses are counted: a domain that others paused too goes on after as many unpauses. */
const MAX_PAUSES = 8;

/** Gives the domain as it is now, if it is there and not dead. @throws Fault `vm.no_domain`; as `Roster.find` does */
export async function findAlive({ roster }: XenHost, uuid: VmUuid, waiting: Waiting = {}): Promise<LivingDomain> {
  const domain = await roster.findNow(uuid, waiting);
  if (domain === undefined || domain.run === 'shutdown') throw new Fault('vm.no_domain', { vm: domain?.name ?? uuid });
  return domain;
}

/** Pauses the domain, if it is not. @throws Fault `vm.no_domain`, `hypervisor.failed` */
export async function pauseDomain(host: XenHost, uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
  const domain = await findAlive(host, uuid, waiting);
  if (domain.run === 'paused') return;
  await host.roster.prove(domain, waiting);
  await host.xl.run(['pause', String(domain.domid)], {
    ...waiting,
    what: `The pause of VM ${domain.name}`,
    isStrict: true,
  });
  host.roster.touch();
}

/** Lets the domain run, however often it was paused. @throws Fault `vm.no_domain`, `hypervisor.failed` */
export async function unpauseDomain(host: XenHost, uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
  for (let left = MAX_PAUSES; ; left--) {
    const domain = await findAlive(host, uuid, waiting);
    if (domain.run === 'running') return;
    if (left === 0) throw new Fault('hypervisor.failed', { what: `VM ${domain.name} stays paused` });
    await host.roster.prove(domain, waiting);
    // It may run by now, which xl calls an error: the next look tells.
    await host.xl.run(['unpause', String(domain.domid)], { ...waiting, what: `The unpause of VM ${domain.name}` });
  }
}

/**
 * Ends a domain, alive or dead, with what it leaves in xenstore and at its devices. One that is gone is fine.
 * @throws Fault `hypervisor.failed`, `timeout`, `aborted`
 */
export async function endDomain(host: XenHost, domain: LivingDomain, waiting: Waiting = {}): Promise<void> {
  const { xl, roster, usb } = host;
  const { domid, uuid, name } = domain;
  const what = `The end of VM ${name}`;
  try {
    await roster.prove(domain, waiting);
    await xl.run(['destroy', String(domid)], { ...waiting, what, timeoutMs: DESTROY_TIMEOUT_MS });
  } catch (error) {
    const isThere = (await roster.remainsOf(uuid, waiting)).some((other) => other.domid === domid);
    if (isThere) throw error;
  }
  roster.touch();
  await usb.release({ domid, uuid, name });
}

/**
 * Ends everything that has the uuid, xl processes that still work on it too, and removes its folder.
 * @throws as `endDomain` does
 */
export async function clearAway(host: XenHost, uuid: VmUuid, waiting: Waiting = {}): Promise<void> {
  const { cfgFile } = host.pathsOf(uuid);
  // One that builds goes first: what it was about to make is seen then.
  await killXl((process) => isBuildFrom(process, cfgFile), host.clock);
  const remains = await host.roster.remainsOf(uuid, waiting);
  await killXl((process) => remains.some((domain) => isSaveOf(process, domain)), host.clock);
  for (const domain of remains) await endDomain(host, domain, waiting);
  await rm(host.pathsOf(uuid).folder, { recursive: true, force: true });
}

/**
 * Tells what a domain is made of, by libxl's own record of it; a domid that was given anew is not mistaken, for the record
 * has the uuid. @throws Fault `hypervisor.failed` when there is no record, `timeout`, `aborted`
 */
export async function describeDomain(
  { xl }: XenHost,
  { domid, uuid, name }: LivingDomain,
  waiting: Waiting = {},
): Promise<DomainDescription> {
  const untrustedList = await xl.run(['list', '-l', String(domid)], { ...waiting, what: `The config of VM ${name}` });
  const description = describeFromList(untrustedList, uuid);
  if (description !== undefined) return description;
  throw new Fault('hypervisor.failed', { what: `xl does not tell what domain ${printable(name, 70)} is made of` });
}

/**
 * Brings a guest back that lies suspended because its xl was killed in a save: xl can resume a domain only at the end of a
 * save, so it saves it once more, into nothing. Leaves it paused. Takes a minute: libxl first asks a guest that cannot
 * hear. @throws Fault `hypervisor.failed`, `timeout`
 */
export async function revive(host: XenHost, { domid, name }: LivingDomain): Promise<void> {
  const what = `Bringing VM ${name} back after a save that was cut off`;
  host.log.warn('a guest lies suspended after a save that was cut off; it is brought back', { vm: name, domid });
  await host.xl.run(['save', '-p', String(domid), '/dev/null'], { what, timeoutMs: HEAL_TIMEOUT_MS });
  host.roster.touch();
}
