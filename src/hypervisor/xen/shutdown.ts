/** Asks a guest to power off, and waits until it has taken note. That it does power off is awaited elsewhere. */
import { Fault, isFault } from '../../lib/fault.ts';
import type { Waiting } from '../driver.ts';
import type { XenHost } from './host.ts';
import type { LivingDomain } from './roster.ts';

/** libxl itself would wait 60 s. A guest that lives answers at once, or when it has booted that far. */
const ACK_MS = 20_000;

/**
 * Has xl write the request where PV drivers look for it (`control/shutdown`), or press the ACPI power button in a guest
 * that has none (`-F`), and returns when the guest has acknowledged it. A request that is not answered is withdrawn: a guest
 * that wakes up much later must not stop then. @throws Fault `timeout`, `aborted`, `hypervisor.failed`
 */
export async function requestShutdown(host: XenHost, domain: LivingDomain, waiting: Waiting): Promise<void> {
  const { domid, name } = domain;
  const what = `The answer of VM ${name} to the request to power off`;
  await host.roster.prove(domain, waiting);
  try {
    await host.xl.run(['shutdown', '-F', String(domid)], { ...waiting, what, timeoutMs: ACK_MS });
  } catch (error) {
    await withdraw(host, domain).catch((trouble: unknown) =>
      host.log.warn('a request to power off could not be withdrawn', { vm: name, error: trouble }),
    );
    if (!isFault(error, 'timeout')) throw error;
    const hint = 'Its system hangs, has not booted yet, or does not listen for it. Destroy it to end it at once.';
    throw new Fault('timeout', { what, seconds: ACK_MS / 1000 }, { hint, cause: error });
  } finally {
    host.roster.touch();
  }
}

/** Takes the request back, if it still stands there. */
async function withdraw({ store }: XenHost, { domid, uuid }: LivingDomain): Promise<void> {
  await store.transaction(async (transaction) => {
    const [vm, request] = await Promise.all([
      transaction.read(`/local/domain/${domid}/vm`),
      transaction.read(`/local/domain/${domid}/control/shutdown`),
    ]);
    if (vm === `/vm/${uuid}` && request === 'poweroff')
      await transaction.write(`/local/domain/${domid}/control/shutdown`, '');
  });
}
