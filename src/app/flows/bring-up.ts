/** Starts a VM as its config's `startup` says: running, paused, or from a save file. */
import type { Startup, VmRecord } from '../../model/vm.ts';
import type { PerformResult } from '../../monitor/monitor.ts';
import type { Call } from '../dispatch.ts';
import type { Engine } from '../engine.ts';
import { performPower } from './power.ts';

type Parts = Pick<Engine, 'fleet' | 'router' | 'inventory'>;

/**
 * Starts a VM. Whether it is left paused is the caller's word, if there is one, else the config's. A config that says
 * `restore FILE` has a halted VM go on from that file, which is kept. @throws Fault what `performPower` throws
 */
export async function bringUp(
  engine: Parts,
  record: VmRecord,
  isPaused: boolean | undefined,
  call: Pick<Call, 'notify' | 'signal'>,
): Promise<PerformResult> {
  const startup = await startupOf(engine, record);
  if (startup.do === 'restore' && isPaused === undefined && engine.fleet.monitorOf(record).state === 'halted') {
    return await performPower(engine, record, 'restore', { file: startup.file, isKept: true }, call);
  }
  return await performPower(engine, record, 'start', { isPaused: isPaused ?? startup.do === 'paused' }, call);
}

/** Gives the config's `startup` as the file says now; a config that cannot be read is the start's business. */
export async function startupOf({ inventory }: Pick<Engine, 'inventory'>, { uuid }: VmRecord): Promise<Startup> {
  return await inventory.configs.load(uuid).then(
    ({ config }) => config.startup,
    () => ({ do: 'started' }),
  );
}
