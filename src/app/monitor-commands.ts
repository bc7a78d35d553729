/** What each command of a monitor's own dialects is among the operations, and how its answer is told in lines. */
import type { ApartAction } from '../api/access.ts';
import type { OperationName, Params, Results } from '../api/operations.ts';
import type { Notify } from '../api/rpc.ts';
import { isFault } from '../lib/fault.ts';
import type { UsherEvent } from '../model/event.ts';
import type { VmUuid } from '../model/ids.ts';
import type { PowerState } from '../model/vm.ts';
import type { CommandName, CommandParams, MonitorCommand } from '../monitor/commands.ts';
import { diskLines, nicLines, pciLines } from '../monitor/device-lists.ts';
import { notificationOf } from '../monitor/notifications.ts';
import type { Caller } from '../monitor/session-options.ts';
import { STATE_WORDS } from '../monitor/state-words.ts';

/** What a command is performed with, in the name of its peer. */
export interface CommandContext {
  readonly vm: VmUuid;
  readonly caller: Caller;
  /** Refuses what is no operation to whom may not ask for it. @throws Fault `denied`, `audit.unwritable` */
  readonly admit: (action: ApartAction) => void;
  /** Asks for an operation; `notify` hears what it tells on its way. */
  readonly ask: (
    operation: OperationName,
    params: object,
    more?: { readonly notify: Notify; readonly signal: AbortSignal },
  ) => Promise<unknown>;
  readonly state: () => PowerState;
}

type Lines = readonly string[];
type Performer = (context: CommandContext, params: CommandParams) => Promise<Lines>;

/** Those that have no number say so as the original does. */
const NONE = '-1';

/** One for each command: a missing one does not compile. `help` is answered by whoever speaks the dialect. */
const PERFORMERS: { readonly [C in Exclude<CommandName, 'help'>]: Performer } = {
  async status({ admit, state }) {
    admit('monitor.status');
    return [STATE_WORDS[state()]];
  },
  async 'get-domid'(context) {
    return [String((await ask(context, 'vm.show', {})).handle ?? NONE)];
  },
  async 'get-stubdomid'(context) {
    return [String((await ask(context, 'vm.show', {})).stubdomDomid ?? NONE)];
  },
  async 'get-vnc'(context) {
    try {
      const { port } = await ask(context, 'vm.vnc', {});
      return port === undefined ? [] : [String(port)];
    } catch (error) {
      return noneWithoutDomain(error);
    }
  },
  start: power('vm.start'),
  pause: power('vm.pause'),
  unpause: power('vm.unpause'),
  shutdown: (context, { isForced, ...params }) =>
    isForced === true ? power('vm.destroy')(context, {}) : power('vm.shutdown')(context, params),
  restart: power('vm.restart'),
  reset: power('vm.reset'),
  destroy: power('vm.destroy'),
  suspend: power('vm.suspend'),
  restore: power('vm.restore'),
  checkpoint: power('vm.checkpoint'),
  async get(context, params) {
    return (await ask(context, 'vm.config', params)).settings.map(({ value }) => value);
  },
  set: configure,
  'disk-list': listing('disk', diskLines),
  'disk-add': configure,
  'nic-list': listing('nic', nicLines),
  'nic-add': configure,
  'pci-list': listing('pci', pciLines),
  'pci-add': configure,
  'cd-insert': power('vm.insert'),
  'cd-eject': power('vm.eject'),
  'set-mem-target': power('vm.memory'),
  trigger: power('vm.trigger'),
  async 'read-config'(context, params) {
    return warningLines((await ask(context, 'vm.reread', params)).warnings);
  },
  async subscribe({ caller, vm, ask: asking }) {
    const notify: Notify = (_method, notice) => {
      const { event } = notice as { readonly event: UsherEvent };
      const notification = notificationOf(event);
      if (notification !== undefined) caller.notify(notification);
    };
    await asking('events.follow', { vm }, { notify, signal: caller.signal });
    return [];
  },
  async quit({ admit }) {
    admit('monitor.quit');
    return [];
  },
};

/** Performs a command for a peer. @throws Fault what the operation throws */
export async function performCommand(context: CommandContext, { name, params }: MonitorCommand): Promise<Lines> {
  return name === 'help' ? [] : await PERFORMERS[name](context, params);
}

async function ask<O extends OperationName>(
  { ask: asking, vm }: CommandContext,
  operation: O,
  params: CommandParams,
): Promise<Results[O]> {
  return (await asking(operation, { vm, ...params } satisfies { vm: string } | Params<O>)) as Results[O];
}

type Warned = { [O in OperationName]: Results[O] extends { readonly warnings: Lines } ? O : never }[OperationName];

/** An operation whose answer has nothing to tell but warnings, and for how long a guest stood still. */
function power(operation: Warned): Performer {
  return async (context, params) => {
    const answer: { readonly warnings: Lines; readonly pausedMs?: number } = await ask(context, operation, params);
    const { pausedMs, warnings } = answer;
    const stoodStill = pausedMs === undefined ? [] : [`stood still for ${(pausedMs / 1000).toFixed(3)} s`];
    return [...stoodStill, ...warningLines(warnings)];
  };
}

async function configure(context: CommandContext, params: CommandParams): Promise<Lines> {
  return warningLines((await ask(context, 'vm.configure', params)).warnings);
}

function listing(key: string, lines: (values: Lines) => Lines): Performer {
  return async (context) => {
    const { settings } = await ask(context, 'vm.config', { key });
    return lines(settings.map(({ value }) => value));
  };
}

function warningLines(warnings: Lines): Lines {
  return warnings.map((warning) => `warning: ${warning}`);
}

/** A VM that does not run has no display, which is no failure of who asks where it is. */
function noneWithoutDomain(error: unknown): Lines {
  if (isFault(error, 'vm.state', 'vm.no_domain')) return [];
  throw error;
}
