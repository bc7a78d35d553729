/** The sockets of all monitors: opened with their VMs, closed with them or by `quit`. */
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { ApartAction } from '../api/access.ts';
import type { OperationName } from '../api/operations.ts';
import type { Notify } from '../api/rpc.ts';
import type { Clock } from '../lib/clock.ts';
import type { Entrants } from '../lib/entrants.ts';
import { asFault } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import type { Actor } from '../model/audit.ts';
import type { VmUuid } from '../model/ids.ts';
import type { PowerState, VmRecord } from '../model/vm.ts';
import type { MonitorCommand } from '../monitor/commands.ts';
import type { Caller } from '../monitor/session-options.ts';
import { MonitorSocket } from '../monitor/socket.ts';
import { performCommand } from './monitor-commands.ts';
import type { NotifySockets } from './notify-sockets.ts';
import { peerOf } from './peer.ts';

export interface MonitorSocketsOptions {
  /** It exists. */
  readonly folder: string;
  readonly entrants: Entrants | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Refuses what is no operation to whom may not ask for it. @throws Fault `denied`, `audit.unwritable` */
  readonly admit: (action: ApartAction, vm: VmUuid, peer: Actor) => void;
  /** Performs an operation for a command; `more` hears what it tells on its way. */
  readonly perform: (
    operation: OperationName,
    params: object,
    peer: Actor,
    more?: { readonly notify: Notify; readonly signal: AbortSignal },
  ) => Promise<unknown>;
  readonly serveRpc: (socket: Socket, head: Buffer, peer: Actor) => void;
  readonly stateOf: (vm: VmUuid) => PowerState;
  /** Whom the monitors notify without being asked. */
  readonly notified: NotifySockets;
  /** Called when a monitor was told to quit and its socket is closed. */
  readonly onQuit?: ((vm: VmUuid) => void) | undefined;
}

/** How many sockets are opened before requests and steps get their turn. */
const AT_ONCE = 16;

type MonitorVm = Pick<VmRecord, 'uuid' | 'name'>;

/** Opens and closes the sockets of monitors. */
export class MonitorSockets {
  readonly #options: MonitorSocketsOptions;
  readonly #open = new Map<VmUuid, MonitorSocket>();

  constructor(options: MonitorSocketsOptions) {
    this.#options = options;
  }

  /** The path of a VM's socket, whether it is open or not. */
  pathOf(vm: VmUuid): string {
    return join(this.#options.folder, `${vm}.sock`);
  }

  /** Opens the sockets of many VMs; one that cannot be opened is logged and costs the others nothing. */
  async openAll(vms: readonly MonitorVm[]): Promise<void> {
    for (let first = 0; first < vms.length; first += AT_ONCE) {
      await Promise.all(vms.slice(first, first + AT_ONCE).map((vm) => this.#openOrLog(vm)));
      await setImmediate(); // To bind a socket blocks, for longer where others write to the disk.
    }
  }

  /** Opens a VM's socket. @throws Fault `socket.path_long`, `socket.busy` */
  async open({ uuid, name }: MonitorVm): Promise<void> {
    const { clock, log, entrants, serveRpc, onQuit } = this.#options;
    const socket = await MonitorSocket.open({
      path: this.pathOf(uuid),
      uuid,
      clock,
      log,
      entrants,
      peerOf,
      serveRpc,
      perform: (command, peer, caller) => this.#perform(uuid, command, peer, caller),
      onQuit: (peer) => {
        log.info('a monitor was told to quit', { vm: name, by: peer.user });
        this.close(uuid)
          .catch((error: unknown) => log.warn(asFault(error).message, { vm: name }))
          .finally(() => onQuit?.(uuid));
      },
    });
    this.#open.set(uuid, socket);
    this.#options.notified.open(uuid);
  }

  async close(vm: VmUuid): Promise<void> {
    const socket = this.#open.get(vm);
    this.#open.delete(vm);
    this.#options.notified.close(vm);
    await socket?.close();
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((vm) => this.close(vm)));
  }

  async #openOrLog(vm: MonitorVm): Promise<void> {
    await this.open(vm).catch((error: unknown) => {
      this.#options.log.error('a monitor socket could not be opened', { vm: vm.name, error });
    });
  }

  #perform(vm: VmUuid, command: MonitorCommand, peer: Actor, caller: Caller): Promise<readonly string[]> {
    const { admit, perform, stateOf } = this.#options;
    const context = {
      ...{ vm, caller },
      admit: (action: ApartAction) => admit(action, vm, peer),
      ask: (operation: OperationName, params: object, more?: { notify: Notify; signal: AbortSignal }) =>
        perform(operation, params, peer, more),
      state: () => stateOf(vm),
    };
    return performCommand(context, command);
  }
}
