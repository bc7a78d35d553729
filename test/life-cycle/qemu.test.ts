/** The life-cycle suite on real QEMU with the small guest. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestConsole } from '../../lab/console.ts';
import { GUEST_CMDLINE, guestImage } from '../../lab/guest.ts';
import type { VmUuid } from '../../src/model/ids.ts';
import { consoleHand } from '../contract/console-hand.ts';
import type { LifeRig } from './rig.ts';
import { describeLifeCycle } from './suite.ts';

/** A machine whose cores are all busy may take minutes for what takes three seconds. */
const PATIENCE_MS = 240_000;

async function makeRig(): Promise<LifeRig> {
  const home = await mkdtemp(join(tmpdir(), 'usher-'));
  const { kernel, initrd } = await guestImage();
  return {
    xenvm: [join(import.meta.dirname, '../../bin/xenvm')],
    env: {},
    home,
    config: [
      ...['driver = qemu', `kernel = ${kernel}`, `initrd = ${initrd}`, `cmdline = ${GUEST_CMDLINE}`],
      ...['memory = 192', 'usbctrl = none'],
    ],
    savesLive: true,
    guest: (uuid) =>
      consoleHand({
        connect: () => GuestConsole.connect(join(home, 'run/xenvm/qemu', uuid, 'console.sock')),
        bootTimeoutMs: PATIENCE_MS,
        async kill() {
          const pid = await pidOf(uuid);
          if (pid !== undefined) process.kill(pid, 'SIGKILL');
        },
      }),
    domainOf: pidOf,
    patienceMs: PATIENCE_MS,
    close: () => rm(home, { recursive: true }),
  };
}

/** Finds the QEMU of a VM among all processes; one that has ended has no words any more. */
async function pidOf(uuid: VmUuid): Promise<number | undefined> {
  for (const pid of (await readdir('/proc')).map(Number).filter((number) => number > 0)) {
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    if (words[words.indexOf('-uuid') + 1] === uuid && words.includes('-uuid')) return pid;
  }
  return undefined;
}

describeLifeCycle('qemu', makeRig);
