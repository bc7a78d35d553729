/**
 * Power verbs with what belongs to USB around them: devices leave before a save, come back after a start or a restore.
 * The one place that crosses from the monitor's room to the router's.
 */
import type { Progress } from '../../api/views.ts';
import type { VmRecord } from '../../model/vm.ts';
import type { PerformResult } from '../../monitor/monitor.ts';
import type { Verb } from '../../monitor/states.ts';
import type { VerbArgs } from '../../monitor/verbs.ts';
import type { Call } from '../dispatch.ts';
import type { Engine } from '../engine.ts';
import { checkRequired } from './required.ts';

/** How long an answer waits for devices to be back; they come on by themselves afterwards. */
const DEVICES_BACK_MS = 10_000;

/** Verbs that save the VM: its devices are detached before, for their state cannot be saved. */
const SAVING: ReadonlySet<Verb> = new Set(['suspend', 'checkpoint']);
/** Verbs after which devices that belong to the VM are attached before the answer is given; so it is after a failed save. */
const BRINGING: ReadonlySet<Verb> = new Set(['start', 'restore', 'restart']);

const SAYS: Partial<Record<Verb, string>> = {
  start: 'Starting',
  restart: 'Restarting',
  shutdown: 'Shutting down',
  suspend: 'Saving',
  checkpoint: 'Saving',
  restore: 'Restoring',
};

/**
 * Performs a verb on a VM. @throws Fault what the monitor throws, `usb.detach_failed` before a save, `usb.required_missing`
 */
export async function performPower(
  engine: Pick<Engine, 'fleet' | 'router' | 'inventory'>,
  record: VmRecord,
  verb: Verb,
  args: VerbArgs,
  call: Pick<Call, 'notify' | 'signal'>,
): Promise<PerformResult> {
  const { fleet, router } = engine;
  const { uuid, name } = record;
  const monitor = fleet.monitorOf(record);
  const says = `${SAYS[verb] ?? verb} ${name}`;
  const tell = (progress: Omit<Progress, 'says'> = {}) => call.notify('progress', { says, ...progress });
  if (SAYS[verb] !== undefined) tell();
  const isSaving = SAVING.has(verb);
  if (BRINGING.has(verb)) await checkRequired(engine, record, call.signal);
  try {
    return await monitor.perform(verb, args, {
      onProgress: (bytes, ofBytes) => tell(ofBytes === undefined ? { bytes } : { bytes, ofBytes }),
      before: isSaving ? (signal) => router.release(uuid, signal) : undefined,
    });
  } finally {
    if (isSaving) router.reopen(uuid);
    if (BRINGING.has(verb) || isSaving) await router.settle(uuid, call.signal, DEVICES_BACK_MS).catch(() => undefined);
  }
}
