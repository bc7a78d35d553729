/**
 * Keeps a device in its port while a guest is still asking it who it is: QEMU aborts at a control request for a device
 * that was taken away a moment ago (docs/protocols/pvusb.md, 12). What others attached, or a daemon before us, is not
 * known to be new, and is not waited for.
 */
import { type Clock, sleep } from '../../lib/clock.ts';
import { formatSlot, type UsbSlot } from '../../model/usb.ts';
import type { Waiting } from '../driver.ts';
import type { HostDevices } from './host-devices.ts';

export interface UsbSettlingParts {
  readonly hosts: Pick<HostDevices, 'plugAt' | 'gripsOn'>;
  readonly clock: Clock;
}

/** A guest that has not configured a device by then does not want it, or has stopped. */
const ASKING_MS = 4_000;
/** Its driver asks a few things more once it is configured. */
const DRIVER_MS = 500;
const POLL_MS = 50;

export class UsbSettling {
  readonly #parts: UsbSettlingParts;
  /** When a device came into a port of a guest that listens (monotonic ms), by domain and port. */
  readonly #since = new Map<string, number>();

  constructor(parts: UsbSettlingParts) {
    this.#parts = parts;
  }

  /** Notes that a guest begins to ask now. */
  begin(domid: number, slot: UsbSlot): void {
    this.#since.set(keyOf(domid, slot), this.#parts.clock.monotonic());
  }

  /**
   * Returns when the guest has configured the device at `busid` and had a moment for the rest; at once when it came long
   * ago or is gone. @throws Fault `aborted`
   */
  async over(domid: number, slot: UsbSlot, busid: string, { signal }: Waiting = {}): Promise<void> {
    const { clock, hosts } = this.#parts;
    const since = this.#since.get(keyOf(domid, slot));
    if (since === undefined) return;
    const leftMs = () => since + ASKING_MS - clock.monotonic();
    const isAsking = () => ![...hosts.gripsOn(busid).values()].includes('program');
    while (leftMs() > 0 && hosts.plugAt(busid) !== undefined && isAsking()) await sleep(clock, POLL_MS, signal);
    if (hosts.plugAt(busid) !== undefined) await sleep(clock, Math.max(0, Math.min(DRIVER_MS, leftMs())), signal);
    this.#since.delete(keyOf(domid, slot));
  }

  /** Forgets what was noted of a domain. */
  forget(domid: number): void {
    for (const key of this.#since.keys()) if (key.startsWith(`${domid} `)) this.#since.delete(key);
  }
}

function keyOf(domid: number, slot: UsbSlot): string {
  return `${domid} ${formatSlot(slot)}`;
}
