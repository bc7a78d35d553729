/** The operations `vm.*`. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { OperationName, Params } from '../../api/operations.ts';
import type { PowerResult, SaveResult } from '../../api/views.ts';
import { makePrivateFolder } from '../../lib/atomic-file.ts';
import { Fault, messageOf } from '../../lib/fault.ts';
import { lastLines } from '../../lib/tail.ts';
import { printable } from '../../lib/text.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { VmRecord } from '../../model/vm.ts';
import type { PerformResult } from '../../monitor/monitor.ts';
import { TABLE, type Verb } from '../../monitor/states.ts';
import type { VerbArgs } from '../../monitor/verbs.ts';
import type { Call, Handlers } from '../dispatch.ts';
import type { Engine } from '../engine.ts';
import { adoptStranger, type TakeIn } from '../flows/adopt.ts';
import { bringUp } from '../flows/bring-up.ts';
import { performPower } from '../flows/power.ts';
import { demandUnheld } from '../own-monitor-lock.ts';
import { listStrangers } from '../strangers.ts';
import { strangerView, vmDetails, vmView } from '../views.ts';
import { boardHandlers } from './vm-board.ts';
import { configHandlers } from './vm-config.ts';

type VmHandlers = Pick<Handlers, Extract<OperationName, `vm.${string}`>>;

/** Gives the handlers of `vm.*`. */
export function vmHandlers(engine: Engine): VmHandlers {
  const { inventory, fleet, router, sockets, places, log } = engine;

  const power = async (verb: Verb, params: { vm: string }, args: VerbArgs, call: Call): Promise<PowerResult> => {
    const record = inventory.findVm(params.vm);
    return powerResult(record, await performPower(engine, record, verb, args, call));
  };
  const save = async (
    verb: 'suspend' | 'checkpoint',
    record: VmRecord,
    args: VerbArgs & { readonly file: string },
    call: Call,
  ): Promise<SaveResult> => {
    const result = await performPower(engine, record, verb, args, call);
    const { bytes = 0, pausedMs = 0 } = result;
    return { ...powerResult(record, result), file: args.file, bytes, pausedMs };
  };
  /** Where a VM is saved to when nobody says where. */
  const ownSave = (uuid: VmUuid) => join(places.savesFolder, `${uuid}.save`);
  const timing = (params: { timeoutSeconds?: number }) =>
    params.timeoutSeconds === undefined ? {} : { timeoutMs: params.timeoutSeconds * 1000 };

  const takeIn: TakeIn = async (from) => {
    const { record, warnings } = await inventory.createVm(from);
    try {
      demandUnheld(places, record.uuid);
      await fleet.add(record);
      await sockets.open(record);
    } catch (error) {
      inventory.removeVm(record.uuid);
      await fleet.remove(record.uuid);
      throw error;
    }
    engine.events.publish('vm.created', { vm: record.uuid, name: record.name });
    for (const message of warnings)
      engine.events.publish('vm.warning', { vm: record.uuid, name: record.name, message });
    return record;
  };

  return {
    ...boardHandlers(engine),
    ...configHandlers(engine),
    async 'vm.create'(params) {
      if ((params.path === undefined) === (params.content === undefined)) {
        throw new Fault('params.invalid', { field: 'path', what: 'either a path or a content is expected' });
      }
      return vmView(engine, await takeIn(params));
    },
    async 'vm.adopt'({ domain, name, file }) {
      const { record, warnings } = await adoptStranger(engine, domain, { name, file }, takeIn);
      return { ...vmView(engine, record), warnings };
    },
    async 'vm.list'({ isAll = false }) {
      const vms = inventory.listVms().map((record) => vmView(engine, record));
      return isAll ? [...vms, ...(await listStrangers(engine)).map(strangerView)] : vms;
    },
    async 'vm.show'({ vm }) {
      return await vmDetails(engine, inventory.findVm(vm));
    },
    async 'vm.set'({ vm, autostart }) {
      const { uuid } = inventory.findVm(vm);
      inventory.patchVm(uuid, { autostart });
      return vmView(engine, inventory.findVm(uuid));
    },
    async 'vm.remove'({ vm }) {
      const record = inventory.findVm(vm);
      const monitor = fleet.find(record.uuid);
      const state = monitor?.state ?? 'halted';
      if (state !== 'halted') {
        const gently = TABLE[state].shutdown === undefined ? '' : `usher vm shutdown ${record.name}, or `;
        const hint = `End it first: ${gently}usher vm destroy ${record.name}`;
        throw new Fault('vm.state', { verb: 'remove', vm: record.name, state, expected: 'halted' }, { hint });
      }
      const view = vmView(engine, record);
      // A death that was preserved left a domain, which nobody could reach any more.
      await monitor?.perform('destroy');
      await sockets.close(record.uuid);
      inventory.removeVm(record.uuid);
      await fleet.remove(record.uuid);
      await rm(ownSave(record.uuid), { force: true }).catch((error: unknown) => {
        log.warn('the save of a removed VM stays', { vm: record.name, what: messageOf(error) });
      });
      router.hint('wishes');
      engine.events.publish('vm.removed', { vm: record.uuid, name: record.name });
      return view;
    },
    async 'vm.start'({ vm, isPaused }, call) {
      const record = inventory.findVm(vm);
      return powerResult(record, await bringUp(engine, record, isPaused, call));
    },
    'vm.pause': (params, call) => power('pause', params, {}, call),
    'vm.unpause': (params, call) => power('unpause', params, {}, call),
    'vm.shutdown': (params, call) => power('shutdown', params, timing(params), call),
    'vm.restart': (params, call) => power('restart', params, { ...timing(params), isForced: params.isForced }, call),
    'vm.reset': (params, call) => power('reset', params, {}, call),
    'vm.destroy': (params, call) => power('destroy', params, {}, call),
    async 'vm.suspend'({ vm, file, isLive }, call) {
      const record = inventory.findVm(vm);
      if (file === undefined) await makePrivateFolder(places.savesFolder);
      return await save('suspend', record, { file: file ?? ownSave(record.uuid), isLive }, call);
    },
    'vm.restore': (params, call) => power('restore', params, restoreArgs(params), call),
    'vm.checkpoint': ({ vm, ...args }, call) => save('checkpoint', inventory.findVm(vm), args, call),
    async 'vm.console'({ vm }) {
      const record = inventory.findVm(vm);
      const paths = (await fleet.driverOf(record.uuid)).consoleOf(record.uuid);
      if (fleet.domainOf(record.uuid) === undefined) {
        throw new Fault('vm.no_domain', { vm: record.name }, { hint: `Its last words: usher vm log ${record.name}` });
      }
      return paths;
    },
    async 'vm.log'({ vm, lines = 100 }) {
      const record = inventory.findVm(vm);
      const { log } = (await fleet.driverOf(record.uuid)).consoleOf(record.uuid);
      return { lines: (await lastLines(log, lines)).map((line) => printable(line, 2000)) };
    },
  };
}

function restoreArgs({ vm: _vm, ...args }: Params<'vm.restore'>): VerbArgs {
  return args;
}

function powerResult(record: VmRecord, { state, warnings }: PerformResult): PowerResult {
  return { name: record.name, uuid: record.uuid, state, warnings };
}
