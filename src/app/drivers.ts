/** The hypervisor drivers of this daemon, each opened at its first use and only then. */
import type { Driver, DriverHint } from '../hypervisor/driver.ts';
import { Fault } from '../lib/fault.ts';
import { listWords } from '../lib/text.ts';
import type { DriverName } from '../model/vm.ts';

export type DriverMakers = { readonly [N in DriverName]?: () => Promise<Driver> };

/** Opens drivers by name and gathers their hints. */
export class Drivers {
  readonly #makers: DriverMakers;
  readonly #onHint: (hint: DriverHint) => void;
  readonly #open = new Map<DriverName, Promise<Driver>>();

  constructor(makers: DriverMakers, onHint: (hint: DriverHint) => void) {
    this.#makers = makers;
    this.#onHint = onHint;
  }

  /** The names that can be asked for. */
  get names(): DriverName[] {
    return Object.keys(this.#makers) as DriverName[];
  }

  /** Gives the driver; one that failed to open is tried again. @throws Fault `driver.unknown`, `hypervisor.missing` */
  get(name: DriverName): Promise<Driver> {
    let driver = this.#open.get(name);
    if (driver === undefined) {
      driver = this.#make(name);
      this.#open.set(name, driver);
      driver.catch(() => this.#open.delete(name));
    }
    return driver;
  }

  /** Lets go of all of them; domains go on. */
  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.#open.values());
    for (const result of opened) if (result.status === 'fulfilled') await result.value.close();
  }

  async #make(name: DriverName): Promise<Driver> {
    const make = this.#makers[name];
    if (make === undefined) {
      const hint = `This version has ${listWords(this.names, 'and')}.`;
      throw new Fault('driver.unknown', { driver: name }, { hint });
    }
    const driver = await make();
    driver.onHint(this.#onHint);
    return driver;
  }
}
