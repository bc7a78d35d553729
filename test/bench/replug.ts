/**
 * Sticks that were pulled are plugged in again, one and as many as the guest's controller has ports: from the request until
 * the guest has read their whole content, which is in its report; in turns with a resident bare script that sends the same
 * QMP commands to the same guest over the same connection.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeStick } from '../../lab/stick.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { measureInTurns } from './statistics.ts';
import { TappedGuest } from './tapped-guest.ts';

const PORTS = 8;
const SIZES = [
  { count: 1, rounds: 20 },
  { count: PORTS, rounds: 10 },
] as const;
const WARM_UPS = 1;
const BUDGET_MS = 45_000;
const STICK_MIB = 1;
const GUEST_TIMEOUT_MS = 120_000;
/** After its device is gone QEMU may still be busy with the content. */
const RELEASE_MS = 200;

export const replug: Benchmark = {
  name: 'replug',
  about: `sticks plugged in again -> the guest has read them, 1 and ${PORTS} at once`,
  async run({ tell }): Promise<readonly Figure[]> {
    tell('booting a guest');
    const guest = await TappedGuest.boot(PORTS);
    try {
      const stage = new ReplugStage(guest);
      await stage.makeSticks();
      const figures: Figure[] = [];
      for (const { count, rounds } of SIZES) {
        const { ours, floor } = await measureInTurns(
          { ours: () => stage.byUsher(count), floor: () => stage.byScript(count) },
          { rounds, warmUps: WARM_UPS, budgetMs: BUDGET_MS },
        );
        figures.push(
          figure(`replug -> usable in the guest, ${count === 1 ? '1 stick' : `${count} sticks at once`}`, 'ms', ours, {
            floor: { what: 'bare script, same commands', samples: floor },
            goals: [{ of: 'ratio', atMost: 1.1 }],
          }),
        );
      }
      return figures;
    } finally {
      await guest.end();
    }
  },
};

class ReplugStage {
  readonly #guest: TappedGuest;
  /** What the daemon last sent: the bare script sends the same, but for names. */
  #arguments: Readonly<Record<string, unknown>> | undefined;

  constructor(guest: TappedGuest) {
    this.#guest = guest;
  }

  /** Each side has sticks of its own, alike: QEMU locks what is in use. */
  async makeSticks(): Promise<void> {
    for (let port = 1; port <= PORTS; port++) {
      for (const file of [this.#file(port), this.#bareFile(port)]) await makeStick(file, { sizeMiB: STICK_MIB });
    }
  }

  /** Has Usher attach: the sticks are plugged into `virtual`, where assignments send them to the VM. */
  async byUsher(count: number): Promise<number> {
    const { client, tap } = this.#guest;
    const sent = tap.nextDeviceAdd(false);
    const ms = await this.#usable(count, () =>
      everyPort(count, (port) =>
        client.call('usb.plug', {
          at: `virtual:1-${port}`,
          kind: 'storage',
          file: this.#file(port),
          serial: `S${port}`,
        }),
      ),
    );
    this.#arguments = (await sent).arguments;
    await this.#gone(count, () =>
      everyPort(count, (port) => client.call('usb.unplug', { device: `virtual:1-${port}` })),
    );
    await client.call('usb.reconcile', {});
    return ms;
  }

  /** Has the bare script send what Usher sends for each stick. Legal after `byUsher`. */
  async byScript(count: number): Promise<number> {
    const ms = await this.#usable(count, () =>
      everyPort(count, async (port) => {
        const drive = `bare-${port}`;
        const file = { driver: 'file', filename: this.#bareFile(port) };
        this.#guest.send('blockdev-add', { driver: 'raw', 'node-name': drive, 'read-only': false, file });
        const names = { id: `bare-stick-${port}`, drive, port: String(port), serial: `S${port}` };
        this.#guest.send('device_add', { ...this.#arguments, ...names });
      }),
    );
    await this.#gone(count, () =>
      everyPort(count, async (port) => this.#guest.send('device_del', { id: `bare-stick-${port}` })),
    );
    await sleep(RELEASE_MS);
    await everyPort(count, async (port) => this.#guest.send('blockdev-del', { 'node-name': `bare-${port}` }));
    await sleep(RELEASE_MS);
    return ms;
  }

  async #usable(count: number, plug: () => Promise<unknown>): Promise<number> {
    const start = performance.now();
    return (await this.#hear(count, /^USHER-GUEST disk .* sha256=/, plug)) - start;
  }

  async #gone(count: number, remove: () => Promise<unknown>): Promise<void> {
    await this.#hear(count, /^USHER-GUEST usb- /, remove);
  }

  /** Acts, waits until the guest has said so many such lines, and gives the moment of the last. */
  async #hear(count: number, pattern: RegExp, act: () => Promise<unknown>): Promise<number> {
    const { console } = this.#guest;
    let since = console.position;
    let at = 0;
    const acted = act();
    for (let i = 0; i < count; i++) {
      const line = await console.waitFor(pattern, { timeoutMs: GUEST_TIMEOUT_MS, since });
      since = line.index + 1;
      at = line.at;
    }
    await acted;
    return at;
  }

  #file(port: number): string {
    return join(this.#guest.folder, `stick-${port}`);
  }

  #bareFile(port: number): string {
    return join(this.#guest.folder, `bare-stick-${port}`);
  }
}

function everyPort<T>(count: number, act: (port: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, i) => act(i + 1)));
}
