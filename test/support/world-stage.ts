/** A simulated world in this process with a clock turned by hand, one driver and a hand from outside: for unit tests. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SimulatorDriver } from '../../src/hypervisor/simulator/driver.ts';
import { World, type WorldOptions } from '../../src/hypervisor/simulator/world.ts';
import { ManualClock } from '../../src/lib/clock.ts';
import { type FaultCode, isFault } from '../../src/lib/fault.ts';

export type WorldStage = Awaited<ReturnType<typeof setWorldStage>>;

/** Sets the stage: the driver's deadlines are 5 s, its console logs are in `folder`. */
export async function setWorldStage(options: Omit<WorldOptions, 'clock'> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'usher-simulator-'));
  const clock = new ManualClock();
  const world = new World({ clock, ...options });
  const openDriver = () => new SimulatorDriver({ port: world.open(), folder, clock, timeoutMs: 5_000 });
  return {
    folder,
    clock,
    world,
    hand: world.open(),
    openDriver,
    driver: openDriver(),
    /** Lets promise and I/O callbacks that are due run. */
    settle: () => clock.advance(0),
    clear: async () => {
      await world.dropClients();
      await rm(folder, { recursive: true });
    },
  };
}

/** Checks that the promise is rejected with a Fault of the code. */
export function refuses(code: FaultCode, promise: Promise<unknown>): Promise<void> {
  return assert.rejects(promise, (thrown) => isFault(thrown, code));
}
