/**
 * Whom monitors notify without being asked: of each VM whose monitor serves, the listener that its config names, which may
 * be another from one start to the next.
 */
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { UsherEvent } from '../model/event.ts';
import type { VmUuid } from '../model/ids.ts';
import type { NotifyConfig } from '../model/vm.ts';
import { notificationOf } from '../monitor/notifications.ts';
import { NotifySocket } from '../monitor/notify-socket.ts';

export interface NotifySocketsOptions {
  /** Gives what the VM's config says, as it was last read. */
  readonly configOf: (vm: VmUuid) => NotifyConfig | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** INVARIANTS: a VM whose monitor does not serve has no listener; one that does has the one of its config, or none. */
export class NotifySockets {
  readonly #options: NotifySocketsOptions;
  readonly #served = new Map<VmUuid, NotifySocket | undefined>();

  constructor(options: NotifySocketsOptions) {
    this.#options = options;
  }

  /** The VM's monitor serves from now on. */
  open(vm: VmUuid): void {
    this.#served.set(vm, undefined);
    this.follow(vm, this.#options.configOf(vm));
  }

  /** The VM is started with this config. */
  follow(vm: VmUuid, config: NotifyConfig | undefined): void {
    if (!this.#served.has(vm)) return;
    const path = config?.by === 'unix' ? config.path : undefined;
    const before = this.#served.get(vm);
    if (before?.path === path) return;
    before?.end();
    const { clock, log } = this.#options;
    this.#served.set(vm, path === undefined ? undefined : new NotifySocket({ path, uuid: vm, clock, log }));
  }

  /** Tells whom it concerns. */
  take(event: UsherEvent): void {
    const vm = 'vm' in event.body ? this.#served.get(event.body.vm as VmUuid) : undefined;
    const notification = vm && notificationOf(event);
    if (notification !== undefined) vm?.tell(notification);
  }

  /** The VM's monitor has ended. */
  close(vm: VmUuid): void {
    this.#served.get(vm)?.end();
    this.#served.delete(vm);
  }
}
