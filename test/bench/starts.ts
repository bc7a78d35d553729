/**
 * Keeps VMs starting in a fleet, for what is measured meanwhile: simulated ones, each of which is started, is up for a
 * while as if it booted, and is started again; and real guests of QEMU, which are started again as soon as they have booted.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { GuestConsole } from '../../lab/console.ts';
import { GUEST_CMDLINE, guestImage } from '../../lab/guest.ts';
import type { Client } from '../../src/api/client.ts';
import { FLEET_VMS, type Fleet } from './fleet.ts';
import { occupyCores } from './load.ts';

const SIMULATED = 50;
const REAL = 4;

const BOOT_MS = 5_000;
const BOOT_TIMEOUT_MS = 240_000;

class Starts {
  readonly #client: Client;
  readonly #ending = new AbortController();
  readonly #loops: Promise<void>[];
  /** How many starts there were so far. */
  simulated = 0;
  real = 0;

  private constructor(client: Client, names: readonly string[]) {
    this.#client = client;
    const first = FLEET_VMS - SIMULATED;
    this.#loops = [
      ...Array.from({ length: SIMULATED }, (_, i) => this.#simulated(`sim-${first + i}`, (i * BOOT_MS) / SIMULATED)),
      ...names.map((name) => this.#real(name)),
    ];
  }

  /** Begins; the VMs that have no devices are those that are started. */
  static async begin({ home }: Fleet): Promise<Starts> {
    const client = await home.connect();
    const { kernel, initrd } = await guestImage();
    const names = Array.from({ length: REAL }, (_, i) => `real-${i}`);
    for (const name of names) {
      const boot = [`kernel = ${kernel}`, `initrd = ${initrd}`, `cmdline = ${GUEST_CMDLINE}`];
      const content = [`name = ${name}`, 'driver = qemu', ...boot, 'memory = 192', ''].join('\n');
      await client.call('vm.create', { content });
    }
    return new Starts(client, names);
  }

  /** Ends it: the simulated VMs run, the real ones are gone. @throws what a start did */
  async end(): Promise<void> {
    this.#ending.abort();
    await Promise.all(this.#loops);
    this.#client.close();
  }

  async #simulated(vm: string, delayMs: number): Promise<void> {
    await this.#pause(delayMs);
    while (!this.#ending.signal.aborted) {
      await this.#client.call('vm.destroy', { vm });
      await this.#client.call('vm.start', { vm });
      this.simulated += 1;
      await this.#pause(BOOT_MS);
    }
  }

  async #real(vm: string): Promise<void> {
    const { console: paths } = await this.#client.call('vm.show', { vm });
    while (!this.#ending.signal.aborted) {
      await this.#client.call('vm.start', { vm });
      this.real += 1;
      const log = await GuestConsole.connect(paths.socket);
      const booted = log.waitFor(/^USHER-GUEST ready /, { timeoutMs: BOOT_TIMEOUT_MS }).catch(() => undefined);
      await Promise.race([booted, this.#pause(BOOT_TIMEOUT_MS)]);
      log.close();
      await this.#client.call('vm.destroy', { vm });
    }
    await this.#client.call('vm.remove', { vm });
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#ending.signal }).catch(() => undefined);
  }
}

/** Measures while all cores are busy and VMs start. */
export async function whileStarting<T>(
  shared: Fleet,
  tell: (text: string) => void,
  measure: () => Promise<T>,
): Promise<T> {
  tell(`keeping the cores busy, ${SIMULATED} simulated VMs and ${REAL} real ones starting`);
  const load = await occupyCores();
  const starts = await Starts.begin(shared);
  try {
    return await measure();
  } finally {
    await starts.end();
    await load.release();
    tell(`meanwhile there were ${starts.simulated} simulated and ${starts.real} real starts`);
  }
}
