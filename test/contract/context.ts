/** What the parts of the contract suite share: the rig, the driver that is open now, waiting, and the faults expected. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { Domain, Driver, DriverHint } from '../../src/hypervisor/driver.ts';
import { type FaultCode, isFault, messageOf } from '../../src/lib/fault.ts';
import type { VmUuid } from '../../src/model/ids.ts';
import type { Attachment, SoftwareKind, UsbDevice, UsbSlot } from '../../src/model/usb.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import type { Rig } from './rig.ts';

const STEP_MS = 50;
/** Of a guest that has died. */
const SHOWN_LINES = 30;

/**
 * INVARIANTS: one driver is open at a time; every domain that a test starts is destroyed by `clear`.
 */
export class Context {
  readonly rig: Rig;
  /** Whether the VMs of `makeConfig` are to take devices. */
  needsUsb = true;
  #driver: Driver;

  private constructor(rig: Rig, driver: Driver) {
    this.rig = rig;
    this.#driver = driver;
  }

  static async open(rig: Rig): Promise<Context> {
    return new Context(rig, await rig.openDriver());
  }

  get driver(): Driver {
    return this.#driver;
  }

  /** Closes the driver, lets things happen, and opens another, as a restart of the daemon does. */
  async reopen(meanwhile?: () => Promise<void>): Promise<Driver> {
    await this.#driver.close();
    await meanwhile?.();
    this.#driver = await this.rig.openDriver();
    return this.#driver;
  }

  /** Makes the config of a new VM. */
  makeConfig(changes: Partial<VmConfig> = {}): VmConfig {
    return this.rig.makeConfig({ ...(this.needsUsb ? {} : this.rig.withoutUsb), ...changes });
  }

  /** Starts a new VM, paused unless said otherwise: most of the contract needs no booted guest. */
  async start(options: { isPaused?: boolean; config?: VmConfig } = {}): Promise<VmConfig> {
    const config = options.config ?? this.makeConfig();
    await this.driver.start(config, { isPaused: options.isPaused ?? true });
    return config;
  }

  /** Starts a new VM whose guest has booted and answers. */
  async boot(): Promise<VmConfig> {
    if (this.rig.boot === undefined) {
      const config = await this.start({ isPaused: false });
      await this.rig.guest(config.uuid).waitReady();
      return config;
    }
    const config = this.makeConfig();
    await this.rig.boot(this.driver, config);
    return config;
  }

  /** Asks until the probe gives something other than `undefined` or `false`. */
  async eventually<T>(what: string, probe: () => Promise<T> | T): Promise<Exclude<T, undefined | false>> {
    for (let waitedMs = 0; waitedMs < this.rig.patienceMs; waitedMs += STEP_MS) {
      const answer = await probe();
      if (answer !== undefined && answer !== false) return answer as Exclude<T, undefined | false>;
      await this.rig.elapse(STEP_MS);
    }
    return assert.fail(`${what}: not within ${this.rig.patienceMs} ms`);
  }

  /** Waits until the domain is dead, and gives it. */
  waitDead(uuid: VmUuid): Promise<Domain> {
    return this.eventually('the domain is dead', async () => {
      const domain = await this.find(uuid);
      return domain.run === 'dead' ? domain : undefined;
    });
  }

  /** Finds a domain that has to be there. */
  async find(uuid: VmUuid): Promise<Domain> {
    const domain = await this.driver.find(uuid);
    assert.ok(domain, 'there is a domain');
    return domain;
  }

  /** Checks that the guest makes progress. */
  async checkRuns(uuid: VmUuid): Promise<void> {
    const { run, death } = await this.find(uuid);
    const saysWhy = async () =>
      `it is ${run}, ${death?.detail ?? 'not dead'}; its console said last:\n${await this.#lastSaid(uuid)}`;
    assert.equal(run, 'running', run === 'running' ? undefined : await saysWhy());
    const guest = this.rig.guest(uuid);
    const before = await guest.ticks();
    await this.eventually('the guest goes on', async () => (await guest.ticks()) > before);
  }

  async #lastSaid(uuid: VmUuid): Promise<string> {
    const said = await readFile(this.driver.consoleOf(uuid).log, 'utf8').catch(messageOf);
    return said.split('\n').slice(-SHOWN_LINES).join('\n');
  }

  async destroyAll(): Promise<void> {
    for (const { uuid } of await this.driver.list()) await this.driver.destroy(uuid);
  }

  async close(): Promise<void> {
    await this.destroyAll();
    await this.#driver.close();
    await this.rig.close();
  }
}

/** Checks that the promise is rejected with a Fault of the code. */
export async function refuses(code: FaultCode, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (thrown) => {
    assert.ok(isFault(thrown, code), `expected the fault ${code}, got: ${describe(thrown)}`);
    return true;
  });
}

/** Tells whether the hint calls for a look at that side of the domain. */
export function isAbout(hint: DriverHint, about: 'power' | 'usb', uuid: VmUuid): boolean {
  return hint.about === 'everything' || (hint.about === about && hint.uuid === uuid);
}

/** Gives the attachment that is to be read back. */
export function attachmentOf(vm: VmUuid, slot: UsbSlot, device: UsbDevice): Attachment {
  const { backend, busid, deviceId, generation } = device;
  return { vm, controller: slot.controller, port: slot.port, backend, busid, deviceId, generation };
}

function describe(thrown: unknown): string {
  return isFault(thrown) ? `${thrown.code}: ${thrown.message}` : messageOf(thrown);
}

/** Gives the first kind of device that the rig can make. */
export function kindOf(context: Context): SoftwareKind {
  const kind = context.rig.deviceKinds[0];
  assert.ok(kind, 'the rig has devices');
  return kind;
}
