/** The driver contract against real QEMU with the lab's guest. */
import { makeQemuRig } from './qemu-rig.ts';
import { describeDriver } from './suite.ts';

describeDriver('qemu', makeQemuRig);
