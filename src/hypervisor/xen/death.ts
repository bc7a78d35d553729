/** What a shutdown reason of Xen means to us. Pure. */
import type { Death } from '../driver.ts';
import { SHUTDOWN_REASON } from './xl-list.ts';

const DEATHS: Readonly<Record<number, Death>> = {
  [SHUTDOWN_REASON.powerOff]: { reason: 'halt', detail: 'the guest powered off' },
  [SHUTDOWN_REASON.reboot]: { reason: 'reboot', detail: 'the guest asked for a reboot' },
  [SHUTDOWN_REASON.suspend]: { reason: 'suspend', detail: 'somebody saved it' },
  [SHUTDOWN_REASON.crash]: { reason: 'crash', detail: 'the guest crashed' },
  [SHUTDOWN_REASON.watchdog]: { reason: 'crash', detail: "the guest's watchdog fired" },
  // The guest wants to go on without Xen knowing its past (kexec), which nobody but xl could do for it.
  [SHUTDOWN_REASON.softReset]: { reason: 'reboot', detail: 'the guest asked for a soft reset' },
};

/** Gives the death that a reason stands for; one that Xen does not name counts as a crash. */
export function deathOf(reason: number): Death {
  return DEATHS[reason] ?? { reason: 'crash', detail: `the guest ended for the reason ${reason}, which is not known` };
}
