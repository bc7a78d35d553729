/** The driver contract against a simulated world in this process, with a clock turned by hand. */

import { makeSimulatorRig } from '../../../test/contract/simulator-rig.ts';
import { describeDriver } from '../../../test/contract/suite.ts';
import { ManualClock } from '../../lib/clock.ts';
import { World } from './world.ts';

describeDriver('simulator, world in process', async () => {
  const clock = new ManualClock();
  const world = new World({ clock, bootMs: 2000, shutdownMs: 500, maxControllers: 4 });
  return await makeSimulatorRig({
    openPort: async () => world.open(),
    clock,
    elapse: (ms) => clock.advance(ms),
    close: () => world.dropClients(),
  });
});
