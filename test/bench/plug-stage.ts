/**
 * Plugs devices into a simulated world, some at once, and takes the time until each is attached, whoever attaches them.
 * The world tells of plugs and attaches by hints over one socket, as it tells who routes: what lies between the arrivals
 * of the two at this process is what the router took. All devices are plugged and attached when a measurement ends.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { populationDevice, populationUuid } from '../../src/hypervisor/simulator/population.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { withDeadline } from '../../src/lib/deadline.ts';
import { HOST_BACKEND, VIRTUAL_BACKEND, type VmUuid } from '../../src/model/ids.ts';
import { startWorld } from '../support/sim-world.ts';
import { type Peer, startPeer } from './peers/peer.ts';
import { UsbModel, type Waits } from './peers/usb-models.ts';

/** As many devices are plugged at once at most. */
export const MOST = 100;

const TIMEOUT_MS = 120_000;
const PAUSE_MS = 20;
/** What the world tells of a device that is pulled: that it is gone from its VM, and that it was detached. */
const PULLED_HINTS = 2;

/** The moments at which the world told of plugs, in their order, and of attachments by VM. */
interface Heard {
  readonly devices: readonly number[];
  readonly usb: ReadonlyMap<VmUuid, readonly number[]>;
}

export class PlugStage {
  readonly hand: WorldClient;
  readonly #jitterMs: number;

  /** Up to `jitterMs` are slept before a plug, so that whoever looks now and then does so at any moment. */
  constructor(hand: WorldClient, jitterMs = 0) {
    this.hand = hand;
    this.#jitterMs = jitterMs;
  }

  /** Plugs the first `count` devices, which are pulled before; gives for each how long until its attach was issued. */
  async plug(count: number): Promise<number[]> {
    await this.#pull(count);
    await sleep(PAUSE_MS + Math.random() * this.#jitterMs);
    const { devices, usb } = await this.#hear(count, 1, () => this.#plug(count));
    return numbers(count).map((i) => (usb.get(populationUuid(i))?.[0] ?? Number.NaN) - (devices[i] ?? Number.NaN));
  }

  /** Pulls them and plugs them in again in the same moment; gives how long from there until each was issued again. */
  async replug(count: number): Promise<number[]> {
    await sleep(PAUSE_MS + Math.random() * this.#jitterMs);
    const { devices, usb } = await this.#hear(count, PULLED_HINTS + 1, () =>
      Promise.all([...this.#calls('unplug', count), ...this.#calls('plug', count)]),
    );
    return numbers(count).map(
      (i) => (usb.get(populationUuid(i))?.[PULLED_HINTS] ?? Number.NaN) - (devices[count + i] ?? Number.NaN),
    );
  }

  /** Plugs one device and gives how long it took until `isKnown`, which is called before, resolves with its moment. */
  async plugUntil(isKnown: () => Promise<number>): Promise<number> {
    await this.#pull(1);
    await sleep(PAUSE_MS);
    const known = isKnown();
    const { devices } = await this.#hear(1, 1, () => this.#plug(1));
    return (await known) - (devices[0] ?? Number.NaN);
  }

  /** Has the first attach of the first device fail, as of one that is not ready yet. */
  async plugRefused(): Promise<number[]> {
    const device = `${HOST_BACKEND}:${populationDevice(0).busid}`;
    const trouble = { do: 'fail', code: 'usb.attach_failed' } as const;
    await this.#pull(1);
    await this.hand.call('disturb', { method: 'attachDevice', device, trouble });
    const { devices, usb } = await this.#hear(1, 1, () => this.#plug(1));
    return [(usb.get(populationUuid(0))?.[0] ?? Number.NaN) - (devices[0] ?? Number.NaN)];
  }

  async #pull(count: number): Promise<void> {
    await this.#hear(count, PULLED_HINTS, () => Promise.all(this.#calls('unplug', count)));
  }

  #plug(count: number): Promise<unknown> {
    return Promise.all(this.#calls('plug', count));
  }

  #calls(method: 'plug' | 'unplug', count: number): Promise<unknown>[] {
    return numbers(count).map((i) => {
      const device = populationDevice(i);
      if (method === 'plug') return this.hand.call('plug', device);
      return this.hand.call('unplug', { backend: HOST_BACKEND, busid: device.busid });
    });
  }

  /** Acts and listens until each of the first `count` VMs was told of so many times. */
  async #hear(count: number, times: number, act: () => Promise<unknown>): Promise<Heard> {
    const uuids = numbers(count).map(populationUuid);
    const usb = new Map<VmUuid, number[]>(uuids.map((uuid) => [uuid, []]));
    const devices: number[] = [];
    let missing = count * times;
    let forget = () => {};
    const all = new Promise<void>((resolve) => {
      forget = this.hand.onHint((hint) => {
        const at = performance.now();
        if (hint.about === 'devices') devices.push(at);
        const moments = hint.about === 'usb' ? usb.get(hint.uuid) : undefined;
        if (moments === undefined || moments.length === times) return;
        moments.push(at);
        missing -= 1;
        if (missing === 0) resolve();
      });
    });
    try {
      await withDeadline({ what: `The routing of ${count} devices`, timeoutMs: TIMEOUT_MS }, async () => {
        await act();
        await all;
      });
    } finally {
      forget();
    }
    return { devices, usb };
  }
}

/** A world of its own in which a model routes. */
export class ModelStage extends PlugStage {
  readonly model: UsbModel;
  readonly #clear: () => Promise<void>;

  private constructor(hand: WorldClient, waits: Waits, clear: () => Promise<void>) {
    super(hand, waits.looksEveryMs);
    this.model = new UsbModel(hand, waits);
    this.#clear = clear;
  }

  /** Makes it; all its devices are where they belong. */
  static async set(socket: string, waits: Waits): Promise<ModelStage> {
    const world = await startWorld({ socket, vms: MOST, devices: MOST });
    const hand = new WorldClient(socket);
    const stage = new ModelStage(hand, waits, async () => {
      await hand.close();
      await world.stop();
    });
    const isAttached = async () => (await hand.call('list', {})).every(({ attachments }) => attachments.length > 0);
    while (!(await isAttached())) await sleep(PAUSE_MS);
    return stage;
  }

  async clear(): Promise<void> {
    this.model.end();
    await this.#clear();
  }
}

/** A world of its own in which the barest router attaches. */
export class BareStage {
  readonly #hand: WorldClient;
  readonly #peer: Peer;
  readonly #clear: () => Promise<void>;
  #plugs = 0;

  private constructor(hand: WorldClient, peer: Peer, clear: () => Promise<void>) {
    this.#hand = hand;
    this.#peer = peer;
    this.#clear = clear;
  }

  static async set(socket: string): Promise<BareStage> {
    const world = await startWorld({ socket, vms: MOST });
    const peer = await startPeer('bare-router.ts', [socket, String(MOST)]);
    const hand = new WorldClient(socket);
    return new BareStage(hand, peer, async () => {
      await hand.close();
      await world.stop();
    });
  }

  /** Plugs devices that nobody has seen before, which stay; what was attached is detached again. */
  async plug(count: number): Promise<number[]> {
    const devices: number[] = [];
    const usb: number[] = [];
    let forget = () => {};
    const all = new Promise<void>((resolve) => {
      forget = this.#hand.onHint(({ about }) => {
        if (about === 'devices') devices.push(performance.now());
        if (about === 'usb') usb.push(performance.now());
        if (usb.length === count) resolve();
      });
    });
    const busids = numbers(count).map((i) => `1-${1 + Math.floor((this.#plugs + i) / MOST)}.${1 + (i % MOST)}`);
    this.#plugs += MOST;
    await Promise.all(busids.map((busid) => this.#hand.call('plug', { busid })));
    await all;
    forget();
    const domains = await this.#hand.call('list', {});
    for (const attachment of domains.flatMap(({ attachments }) => attachments)) {
      if (attachment.backend !== VIRTUAL_BACKEND) throw new Error(`${attachment.backend} is not the bare router's`);
      await this.#hand.call('detachDevice', { uuid: attachment.vm, attachment });
    }
    return numbers(count).map((i) => (usb[i] ?? Number.NaN) - (devices[i] ?? Number.NaN));
  }

  async clear(): Promise<void> {
    await this.#peer.end();
    await this.#clear();
  }
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
