/**
 * Small models of how other programs notice a USB device and wait for it, over a simulated world: their documented waits,
 * and nothing else of them. Whatever those programs spend on processes, subprocesses and hypervisors costs a model
 * nothing, so that they themselves are slower than their models.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { populationUuid } from '../../../src/hypervisor/simulator/population.ts';
import type { WorldClient } from '../../../src/hypervisor/simulator/world-client.ts';
import { HOST_BACKEND } from '../../../src/model/ids.ts';
import type { Attachment, UsbDevice } from '../../../src/model/usb.ts';

/** What a program is known to wait for. */
export interface Waits {
  readonly name: string;
  /** It looks that often what is plugged. Absent: it is told. */
  readonly looksEveryMs?: number;
  /** It tries so long after a failure again, at most so many times. */
  readonly retries?: { readonly everyMs: number; readonly times: number };
  /** It looks that often whether an attached device is there, and sleeps before the first look. */
  readonly attachedPollMs?: number;
}

/** stephen-czetty/xen-auto-usb at d9886d8 (2017): udev's monitor is polled once a second. */
export const AUTO_USB_ATTACH: Waits = { name: 'model of auto-usb-attach', looksEveryMs: 1000 };

/** tiiuae/vhotplug at 06102d6, vhotplug/qemulink.py: `vm_retry_count = 5`, `vm_retry_timeout = 1`; udev tells it of plugs. */
export const VHOTPLUG: Waits = { name: 'model of vhotplug', retries: { everyMs: 1000, times: 4 } };

/**
 * QubesOS/qubes-app-linux-usb-proxy at 0867a6d, src/usb-import, `wait_for_attached`: `sleep 0.2` before each look. Events
 * tell it of plugs. That `wait_for_detached` looks each second holds up no device that is plugged again, and is left out.
 */
export const QUBES: Waits = { name: 'model of Qubes', attachedPollMs: 200 };

/** A model at work: device number `i` of the world's population goes to VM number `i`. */
export class UsbModel {
  readonly #hand: WorldClient;
  readonly #waits: Waits;
  readonly #attached = new Map<string, Attachment>();
  readonly #knowing = new Set<() => void>();
  readonly #forget: () => void;
  #isLooking = false;
  #isEnded = false;
  #isStale = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(hand: WorldClient, waits: Waits) {
    this.#hand = hand;
    this.#waits = waits;
    const { looksEveryMs } = waits;
    this.#forget = hand.onHint(({ about }) => {
      if (looksEveryMs === undefined && about === 'devices') this.#notice();
    });
    if (looksEveryMs !== undefined) this.#timer = setInterval(() => this.#notice(), looksEveryMs);
    this.#notice();
  }

  /** Resolves with the moment at which it next knows that a device has arrived in its VM. */
  nextKnown(): Promise<number> {
    return new Promise((resolve) => {
      const tell = () => {
        this.#knowing.delete(tell);
        resolve(performance.now());
      };
      this.#knowing.add(tell);
    });
  }

  end(): void {
    this.#isEnded = true;
    this.#forget();
    clearInterval(this.#timer);
  }

  #notice(): void {
    this.#isStale = true;
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#look()
      .catch((error: unknown) => {
        if (!this.#isEnded) throw error; // The world went away in the middle of a look.
      })
      .finally(() => {
        this.#isLooking = false;
      });
  }

  async #look(): Promise<void> {
    while (this.#isStale) {
      this.#isStale = false;
      await this.#compare(await this.#hand.call('devices', { backend: HOST_BACKEND }));
    }
  }

  async #compare(devices: readonly UsbDevice[]): Promise<void> {
    const there = new Map(devices.map((device) => [device.busid, device]));
    for (const [busid, attachment] of this.#attached) {
      if (there.get(busid)?.generation === attachment.generation) continue;
      this.#attached.delete(busid);
      await this.#hand.call('detachDevice', { uuid: attachment.vm, attachment });
    }
    for (const device of devices) if (!this.#attached.has(device.busid)) await this.#attach(device);
  }

  async #attach(device: UsbDevice): Promise<void> {
    const uuid = populationUuid(Number(device.untrustedSerial?.slice('SIM'.length)));
    const params = { uuid, slot: { controller: 0, port: 1 }, device };
    const { retries = { everyMs: 0, times: 0 }, attachedPollMs } = this.#waits;
    for (let tries = 0; ; tries++) {
      try {
        this.#attached.set(device.busid, await this.#hand.call('attachDevice', params));
        break;
      } catch (error) {
        if (tries >= retries.times) throw error;
        await sleep(retries.everyMs);
      }
    }
    if (attachedPollMs === undefined) return;
    do await sleep(attachedPollMs);
    while ((await this.#hand.call('find', { uuid }))?.attachments.length === 0);
    for (const tell of [...this.#knowing]) tell();
  }
}
