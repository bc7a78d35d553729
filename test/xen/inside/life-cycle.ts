/** The life-cycle suite on real Xen with a PV guest, run inside dom0 of the lab. */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { XEN_GUEST_CMDLINE } from '../../../lab/guest.ts';
import { HOST_PATHS } from '../../../lab/host-image.ts';
import { parseXlList } from '../../../src/hypervisor/xen/xl-list.ts';
import { exec } from '../../../src/lib/exec.ts';
import type { VmUuid } from '../../../src/model/ids.ts';
import { consoleHand } from '../../contract/console-hand.ts';
import type { LifeRig } from '../../life-cycle/rig.ts';
import { describeLifeCycle } from '../../life-cycle/suite.ts';
import { connectTerminal, domidOf } from './xen-rig.ts';

const XL_TIMEOUT_MS = 60_000;
const BOOT_TIMEOUT_MS = 240_000;

async function makeRig(): Promise<LifeRig> {
  // Not in memory, of which dom0 has too little for the saves.
  const home = await mkdtemp('/root/life-');
  return {
    xenvm: ['node', '--max-semi-space-size=1', join(HOST_PATHS.cargo, 'dist/xenvm.cjs')],
    env: {},
    home,
    config: [
      ...['driver = xen', `kernel = ${HOST_PATHS.guestKernel}`, `initrd = ${HOST_PATHS.guestInitrd}`],
      // Without a controller it has no device model, which costs more than all the rest.
      ...[`cmdline = ${XEN_GUEST_CMDLINE}`, 'memory = 128', 'usbctrl = none'],
    ],
    savesLive: false,
    guest: (uuid) =>
      consoleHand({
        connect: () => connectTerminal(uuid),
        bootTimeoutMs: BOOT_TIMEOUT_MS,
        async kill() {
          await exec(['xl', 'destroy', String(await domidOf(uuid))], { timeoutMs: XL_TIMEOUT_MS });
        },
      }),
    domainOf: listedDomid,
    patienceMs: BOOT_TIMEOUT_MS,
    close: () => rm(home, { recursive: true }),
  };
}

/** Asks xl for the domain of a VM; one that is being destroyed is as good as gone. */
async function listedDomid(uuid: VmUuid): Promise<number | undefined> {
  const { stdout } = await exec(['xl', 'list', '-v'], { timeoutMs: XL_TIMEOUT_MS });
  return parseXlList(stdout).find((domain) => domain.uuid === uuid && !domain.isDying)?.domid;
}

describeLifeCycle('Xen, PV', makeRig);
