/** What xl does to a running domain besides its life and its USB: media of CD drives, the balloon, buttons, its display. */
import { Fault, isFault } from '../../lib/fault.ts';
import type { Trigger } from '../../model/vm.ts';
import type { VncPlace, Waiting } from '../driver.ts';
import type { XenHost } from './host.ts';
import type { LivingDomain } from './roster.ts';

/** @throws Fault `hypervisor.failed`, `timeout`, `aborted` */
export async function changeMedium(
  host: XenHost,
  domain: LivingDomain,
  target: string,
  file: string | undefined,
  waiting: Waiting,
): Promise<void> {
  const words = file === undefined ? ['cd-eject'] : ['cd-insert'];
  await runOn(host, domain, waiting, `The change of ${target}`, (domid) => [
    ...words,
    domid,
    target,
    ...(file === undefined ? [] : [file]),
  ]);
}

/** @throws Fault `hypervisor.failed`, `timeout`, `aborted` */
export async function setMemoryTarget(
  host: XenHost,
  domain: LivingDomain,
  memoryMiB: number,
  waiting: Waiting,
): Promise<void> {
  await runOn(host, domain, waiting, 'The memory target', (domid) => ['mem-set', domid, `${memoryMiB}m`]);
}

/** @throws Fault `vm.unsupported` for a guest without such a board, `timeout`, `aborted` */
export async function trigger(host: XenHost, domain: LivingDomain, what: Trigger, waiting: Waiting): Promise<void> {
  try {
    await runOn(host, domain, waiting, `The trigger ${what}`, (domid) => ['trigger', domid, what]);
  } catch (error) {
    if (!isFault(error, 'hypervisor.failed')) throw error;
    const details = { verb: `trigger ${what}`, vm: domain.name, what: String(error.details['what'] ?? '') };
    throw new Fault('vm.unsupported', details, { cause: error });
  }
}

/** The port that the device model noted, where `xl vncviewer` looks for it; the guest may read that node, not write it. */
export async function findVnc({ store }: XenHost, { domid }: LivingDomain): Promise<VncPlace | undefined> {
  const text = await store.read(`/local/domain/${domid}/console/vnc-port`);
  const port = /^\d{1,5}$/.test(text ?? '') ? Number(text) : 0;
  return port > 0 ? { host: '127.0.0.1', port } : undefined;
}

/** Proves that the domid still is that domain's, and has xl act on it. What xl says without a status counts, too. */
async function runOn(
  { roster, xl }: XenHost,
  domain: LivingDomain,
  waiting: Waiting,
  what: string,
  words: (domid: string) => readonly string[],
): Promise<void> {
  await roster.prove(domain, waiting);
  await xl.run(words(String(domain.domid)), { ...waiting, what: `${what} of VM ${domain.name}`, isStrict: true });
}
