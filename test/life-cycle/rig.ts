/**
 * What a hypervisor brings to the life-cycle suite: the config of a VM with its guest, the guest's own side, and a look at
 * the hypervisor past Usher. Types only; the suite is in suite.ts.
 */
import type { VmUuid } from '../../src/model/ids.ts';
import type { GuestHand } from '../contract/rig.ts';

export interface LifeRig {
  /** Runs `xenvm`; its words follow. */
  readonly xenvm: readonly [string, ...string[]];
  /** What `xenvm` has in its environment besides ours. */
  readonly env: Readonly<Record<string, string>>;
  /** The empty home of this Usher, and the folder of config and save files. */
  readonly home: string;
  /** The lines of a config file that boots the guest; who it is and what becomes of it is added. */
  readonly config: readonly string[];
  /** Whether a guest runs while its memory is copied; otherwise the answer to who asked for that has a warning. */
  readonly savesLive: boolean;
  guest(uuid: VmUuid): GuestHand;
  /** Gives the hypervisor's own number of the VM's domain, living or dead, asked without Usher. */
  domainOf(uuid: VmUuid): Promise<number | undefined>;
  /** How long a guest may take to boot on a busy machine. */
  readonly patienceMs: number;
  /** Ends what the rig began. */
  close(): Promise<void>;
}
