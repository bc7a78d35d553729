/** Operations on what a running VM has besides its power and its USB: CD drives, balloon, buttons, display. */
import type { PowerResult } from '../../api/views.ts';
import type { Driver, Waiting } from '../../hypervisor/driver.ts';
import { Fault } from '../../lib/fault.ts';
import { listWords } from '../../lib/text.ts';
import type { PowerState, VmRecord } from '../../model/vm.ts';
import { STANDING } from '../../monitor/states.ts';
import type { Handlers } from '../dispatch.ts';
import type { Engine } from '../engine.ts';

export type BoardOperation = 'vm.insert' | 'vm.eject' | 'vm.memory' | 'vm.trigger' | 'vm.vnc';

/** The states in which each is legal. */
export const BOARD_STATES: { readonly [O in BoardOperation]: readonly PowerState[] } = {
  'vm.insert': STANDING,
  'vm.eject': STANDING,
  'vm.memory': ['running'],
  'vm.trigger': ['running'],
  'vm.vnc': STANDING,
};

/** Gives the VM, when it is in a state in which the operation is legal. @throws Fault `vm.not_found`, `vm.state` */
export function demandBoard({ inventory, fleet }: Engine, operation: BoardOperation, ref: string): VmRecord {
  const record = inventory.findVm(ref);
  const { state } = fleet.monitorOf(record);
  const legal = BOARD_STATES[operation];
  if (legal.includes(state)) return record;
  const verb = operation.slice('vm.'.length);
  throw new Fault(
    'vm.state',
    { verb, vm: record.name, state, expected: listWords(legal) },
    { hint: 'Start it first.' },
  );
}

/** Gives the handlers. */
export function boardHandlers(engine: Engine): Pick<Handlers, BoardOperation> {
  const act = async (
    operation: BoardOperation,
    ref: string,
    signal: AbortSignal,
    work: (driver: Driver, uuid: VmRecord['uuid'], waiting: Waiting) => Promise<void>,
  ): Promise<PowerResult> => {
    const record = demandBoard(engine, operation, ref);
    await work(await engine.fleet.driverOf(record.uuid), record.uuid, { signal });
    const { state } = engine.fleet.monitorOf(record);
    return { name: record.name, uuid: record.uuid, state, warnings: [] };
  };
  return {
    'vm.insert': ({ vm, target, file }, { signal }) =>
      act('vm.insert', vm, signal, (driver, uuid, waiting) => driver.changeMedium(uuid, target, file, waiting)),
    'vm.eject': ({ vm, target }, { signal }) =>
      act('vm.eject', vm, signal, (driver, uuid, waiting) => driver.changeMedium(uuid, target, undefined, waiting)),
    'vm.memory': ({ vm, memoryMiB }, { signal }) =>
      act('vm.memory', vm, signal, (driver, uuid, waiting) => driver.setMemoryTarget(uuid, memoryMiB, waiting)),
    'vm.trigger': ({ vm, trigger }, { signal }) =>
      act('vm.trigger', vm, signal, (driver, uuid, waiting) => driver.trigger(uuid, trigger, waiting)),
    async 'vm.vnc'({ vm }, { signal }) {
      const { uuid } = demandBoard(engine, 'vm.vnc', vm);
      return (await (await engine.fleet.driverOf(uuid)).findVnc(uuid, { signal })) ?? {};
    },
  };
}
