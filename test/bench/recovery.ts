/**
 * SIGKILL until everything is where it belongs again: from just before the signal, over the start of a new daemon by its
 * launcher, to the first answer to `usb.list` in which every device is attached. The world runs on meanwhile, and is
 * asked afterwards: no VM was touched, nothing was attached twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../src/api/client.ts';
import { populationDevice } from '../../src/hypervisor/simulator/population.ts';
import type { JournalEntry } from '../../src/hypervisor/simulator/world-port.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { attachedDevices, FLEET_DEVICES, FLEET_VMS, type Fleet } from './fleet.ts';
import { measureInTurns } from './statistics.ts';

const ROUNDS = 10;
const WARM_UPS = 1;
const REPLUGGED = FLEET_DEVICES / 2;
const TIMEOUT_MS = 60_000;
/** Long enough for the daemon to be in the middle of attaching, which takes it some tenths of a second. */
const IN_THE_MIDDLE_MS = 40;
const POWER: ReadonlySet<string> = new Set(['start', 'pause', 'unpause', 'requestShutdown', 'reset', 'destroy']);

export const recovery: Benchmark = {
  name: 'recovery',
  about: `SIGKILL of the daemon until reconciled, ${FLEET_VMS} VMs and ${FLEET_DEVICES} devices`,
  async run({ fleet, tell }): Promise<readonly Figure[]> {
    const stage = await fleet();
    let left = 0;
    const samples = await measureInTurns(
      {
        atRest: () => killed(stage, async () => undefined),
        inTheMiddle: () =>
          killed(stage, async () => {
            await replug(stage);
            await sleep(IN_THE_MIDDLE_MS);
            left = REPLUGGED - (await attachedInWorld(stage)) + (FLEET_DEVICES - REPLUGGED);
          }),
      },
      { rounds: ROUNDS, warmUps: WARM_UPS },
    );
    tell(`in the last round the old daemon left ${left} of ${REPLUGGED} replugged devices for the new one`);
    const goals = [{ of: 'max', atMost: 1000 }] as const;
    const size = `${FLEET_VMS} VMs, ${FLEET_DEVICES} devices`;
    return [
      figure(`SIGKILL at rest -> reconciled, ${size}`, 'ms', samples.atRest, { goals }),
      figure(`SIGKILL while it attaches ${REPLUGGED} -> reconciled, ${size}`, 'ms', samples.inTheMiddle, { goals }),
    ];
  },
};

/** Kills the daemon after `before`, starts another, and gives how long it took until all was as it should be. */
async function killed(stage: Fleet, before: () => Promise<void>): Promise<number> {
  const { home, hand } = stage;
  const handles = await handlesOf(stage);
  const start = (await hand.call('journal', {})).length;
  await before();
  const killedAt = performance.now();
  await home.end('SIGKILL');
  const client = await home.start();
  await untilAllAttached(client);
  const ms = performance.now() - killedAt;
  client.close();
  if ((await handlesOf(stage)) !== handles) throw new Error('a VM was started again');
  checkJournal((await hand.call('journal', {})).slice(start));
  return ms;
}

/** Unplugs half of the devices and plugs them in again, as a hub does that loses power: each has to be attached anew. */
async function replug({ hand }: Fleet): Promise<void> {
  const devices = Array.from({ length: REPLUGGED }, (_, i) => populationDevice(i));
  for (const device of devices) {
    await hand.call('unplug', { backend: 'dom0', busid: device.busid });
    await hand.call('plug', device);
  }
}

async function untilAllAttached(client: Client): Promise<void> {
  const limits = { what: 'The reconciliation', timeoutMs: TIMEOUT_MS, everyMs: 5 };
  await pollUntil(limits, async () => ((await attachedDevices(client)).length === FLEET_DEVICES ? true : undefined));
}

/** How many devices are attached in the world, in the plug that they are in now. */
async function attachedInWorld({ hand }: Fleet): Promise<number> {
  const devices = await hand.call('devices', { backend: 'dom0' });
  const plugs = new Set(devices.map(({ busid, generation }) => `${busid} ${generation}`));
  const attachments = (await hand.call('list', {})).flatMap((domain) => domain.attachments);
  return attachments.filter(({ busid, generation }) => plugs.has(`${busid} ${generation}`)).length;
}

async function handlesOf({ hand }: Fleet): Promise<string> {
  return (await hand.call('list', {})).map(({ uuid, handle, run }) => `${uuid} ${handle} ${run}`).join('\n');
}

/** Goes through what was asked of the world. @throws Error when a VM was touched, or an attached device attached again */
function checkJournal(journal: readonly JournalEntry[]): void {
  for (const { method, uuid, device, fault } of journal) {
    if (POWER.has(method)) throw new Error(`VM ${uuid} was disturbed: ${method}`);
    if (method === 'attachDevice' && fault === 'usb.attached') throw new Error(`${device} was attached twice`);
  }
}
