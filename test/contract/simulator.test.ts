/** The driver contract against a simulated world in a process of its own, as kill tests and benchmarks use it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { sleep, systemClock } from '../../src/lib/clock.ts';
import { startWorld } from '../support/sim-world.ts';
import { makeSimulatorRig } from './simulator-rig.ts';
import { describeDriver } from './suite.ts';

describeDriver('simulator, world in a process of its own', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-world-'));
  const world = await startWorld({ socket: join(folder, 'world.sock'), bootMs: 50, shutdownMs: 20, maxControllers: 4 });
  return await makeSimulatorRig({
    openPort: async () => new WorldClient(world.socket),
    clock: systemClock,
    elapse: (ms) => sleep(systemClock, Math.min(ms, 20)),
    close: async () => {
      await world.stop();
      await rm(folder, { recursive: true });
    },
  });
});
