/**
 * Checks that devices of this host work on it again after they were detached: what the kernel made of them before is
 * remembered from the attach on. A daemon that came up in between has nothing to compare with, and checks nothing.
 */
import { type Clock, sleep } from '../lib/clock.ts';
import { messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import type { Publish } from '../model/event.ts';
import { HOST_BACKEND } from '../model/ids.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import { HOST_ROOTS, type HostRoots } from '../usb/host-files.ts';
import { checkUsable, type FormerUse, formerUse } from '../usb/usable.ts';

export interface GivenBackOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly publish: Publish;
  readonly roots?: HostRoots | undefined;
  /** Tells whether the device is attached again, or about to be: then there is nothing to check. */
  readonly isWanted: (device: string) => boolean;
}

type Place = Pick<UsbDevice, 'backend' | 'busid'>;

/** It may be on its way from one VM to another. */
const MOVING_MS = 500;

/** INVARIANTS: a check holds up no step, and ends with the daemon. */
export class GivenBack {
  readonly #options: GivenBackOptions;
  readonly #former = new Map<string, FormerUse>();
  readonly #closing = new AbortController();
  readonly #checks = new Set<Promise<void>>();

  constructor(options: GivenBackOptions) {
    this.#options = options;
  }

  /** Remembers what the host makes of a device that is about to be attached. Never throws. */
  async before(device: Place): Promise<void> {
    if (device.backend !== HOST_BACKEND) return;
    const former = await formerUse(this.#options.roots ?? HOST_ROOTS, device.busid).catch(() => undefined);
    if (former !== undefined && Object.keys(former.drivers).length > 0) this.#former.set(deviceKey(device), former);
  }

  /** Has a device looked at that was detached; what does not work is told. */
  after(device: Place): void {
    const key = deviceKey(device);
    const former = this.#former.get(key);
    if (former === undefined) return;
    const check = this.#check(key, former).finally(() => this.#checks.delete(check));
    this.#checks.add(check);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#checks);
  }

  async #check(device: string, former: FormerUse): Promise<void> {
    const { clock, log, publish, roots = HOST_ROOTS, isWanted } = this.#options;
    const { signal } = this.#closing;
    try {
      await sleep(clock, MOVING_MS, signal);
      if (isWanted(device)) return;
      const { isGone, problems } = await checkUsable(roots, former, { clock, signal });
      if (isGone || isWanted(device)) return;
      if (problems.length > 0) log.warn('a device does not work on the host again', { device, problems });
      publish('usb.given_back', { device, problems: [...problems] });
    } catch (error) {
      if (!signal.aborted)
        log.warn('a device could not be looked at after its detach', { device, what: messageOf(error) });
    } finally {
      if (this.#former.get(device) === former && !isWanted(device)) this.#former.delete(device);
    }
  }
}
