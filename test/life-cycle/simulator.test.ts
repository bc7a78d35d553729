/** The life-cycle suite on a simulated host, which is a process of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { sleep, systemClock } from '../../src/lib/clock.ts';
import { simulatedGuest } from '../contract/simulator-rig.ts';
import { startWorld } from '../support/sim-world.ts';
import type { LifeRig } from './rig.ts';
import { describeLifeCycle } from './suite.ts';

async function makeRig(): Promise<LifeRig> {
  const home = await mkdtemp(join(tmpdir(), 'usher-'));
  const world = await startWorld({ socket: join(home, 'world.sock') });
  const hand = new WorldClient(world.socket);
  return {
    xenvm: [join(import.meta.dirname, '../../bin/xenvm')],
    env: { USHER_SIMULATOR_WORLD: world.socket },
    home,
    config: ['driver = simulator', 'memory = 64'],
    savesLive: true,
    guest: (uuid) => simulatedGuest(hand, uuid, (ms) => sleep(systemClock, ms)),
    domainOf: async (uuid) => (await hand.call('find', { uuid }))?.handle,
    patienceMs: 15_000,
    async close() {
      await hand.close();
      await world.stop();
      await rm(home, { recursive: true });
    },
  };
}

describeLifeCycle('simulator', makeRig);
