/**
 * Resets a guest in place though QEMU is told to stop at every reset (`-action reboot=shutdown`, by which death.ts knows
 * a guest's own reboot). So that is lifted for a while.
 */
import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';

/**
 * SeaBIOS answers a reset with one of its own, now and then with two (it finds its copy in memory used, puts it right and
 * starts over: `qemu_prep_reset`), some 100 ms of the guest's time later. So resets stay allowed for a while in which a
 * guest runs, not longer: a guest that reboots again and again has to be seen.
 */
const FIRMWARE_MS = 5_000;

/**
 * Resets the guest and returns when it is reset. Gives a function that ends the time for the firmware's own resets
 * without further commands. A death of ours within it leaves QEMU at `reboot=reset`: the next adoption puts it back.
 */
export async function resetQemu(session: QmpSession, clock: Clock, log: Log): Promise<() => void> {
  const putBack = () => session.execute('set-action', { reboot: 'shutdown' });
  await session.execute('set-action', { reboot: 'reset' });
  let cancelTimer: (() => void) | undefined;
  const end = () => {
    stopListening();
    cancelTimer?.();
  };
  const endAndPutBack = () => {
    end();
    putBack().catch((error: unknown) => log.debug('the action on reboot was not put back', { error }));
  };
  const startTimer = () => {
    cancelTimer?.();
    cancelTimer = clock.after(FIRMWARE_MS, endAndPutBack);
  };
  // A guest that is paused has no time: the firmware's resets come when it goes on.
  const stopListening = session.onEvent((event) => {
    if (event.name === 'RESUME') startTimer();
    else if (event.name === 'STOP') cancelTimer?.();
  });
  try {
    await session.executeUntil('system_reset', {}, (event) => event.name === 'RESET' && !event.data.guest);
    const { running } = await session.execute('query-status');
    if (running) startTimer();
  } catch (error) {
    endAndPutBack();
    throw error;
  }
  return end;
}
