/**
 * The stage of the attach benchmark: a guest in which devices are attached by Usher and by a bare script in turns, over one
 * and the same QMP connection. Every moment is taken by this process's monotonic clock.
 */
import { TappedGuest } from './tapped-guest.ts';

/** How long one device took, in milliseconds. */
export interface AttachTimes {
  /** From the request's last byte until `device_add` was on its way to QEMU. */
  readonly sentMs: number;
  /** From the request until the guest's kernel has told of the device. */
  readonly reportedMs: number;
}

const PLACE = 'virtual:1-1';
const PORTS = 8;
const GUEST_TIMEOUT_MS = 60_000;

export class AttachStage {
  readonly #guest: TappedGuest;
  /** What the daemon last sent: the bare script sends the same, but for the id. */
  #arguments: Readonly<Record<string, unknown>> | undefined;
  #count = 0;

  private constructor(guest: TappedGuest) {
    this.#guest = guest;
  }

  static async set(): Promise<AttachStage> {
    return new AttachStage(await TappedGuest.boot(PORTS));
  }

  /** Has Usher attach a software device: a request to plug it in comes, and an assignment sends it to the VM. */
  async byUsher(): Promise<AttachTimes> {
    const { client, console, tap } = this.#guest;
    const serial = this.#serial();
    const passed = tap.nextDeviceAdd(false);
    const since = console.position;
    const start = performance.now();
    const plugged = client.call('usb.plug', { at: PLACE, kind: 'tablet', serial });
    const reported = await this.#reported(serial, since);
    await plugged;
    const { at, arguments: sent } = await passed;
    this.#arguments = sent;
    await this.#gone(() => client.call('usb.unplug', { device: PLACE }));
    return { sentMs: at - start, reportedMs: reported - start };
  }

  /** Has the bare script send the `device_add` that Usher sent. Legal after `byUsher`. */
  async byScript(): Promise<AttachTimes> {
    const { console, tap } = this.#guest;
    const serial = this.#serial();
    const id = `bare-${serial}`;
    const passed = tap.nextDeviceAdd(true);
    const since = console.position;
    const start = performance.now();
    this.#guest.send('device_add', { ...this.#arguments, id, serial });
    const reported = await this.#reported(serial, since);
    const { at } = await passed;
    await this.#gone(async () => this.#guest.send('device_del', { id }));
    return { sentMs: at - start, reportedMs: reported - start };
  }

  clear(): Promise<void> {
    return this.#guest.end();
  }

  #serial(): string {
    this.#count += 1;
    return `B${this.#count}`;
  }

  async #reported(serial: string, since: number): Promise<number> {
    const pattern = new RegExp(`^USHER-GUEST usb\\+ .* serial=${serial} `);
    return (await this.#guest.console.waitFor(pattern, { timeoutMs: GUEST_TIMEOUT_MS, since })).at;
  }

  async #gone(remove: () => Promise<unknown>): Promise<void> {
    const { console } = this.#guest;
    const since = console.position;
    await remove();
    await console.waitFor(/^USHER-GUEST usb- /, { timeoutMs: GUEST_TIMEOUT_MS, since });
  }
}
