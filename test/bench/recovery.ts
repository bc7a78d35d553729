/**
 * SIGKILL until everything is where it belongs again: from just before the signal, over the start of a new daemon by its
 * launcher, to the first answer to `usb.list` in which every device is attached. The world runs on meanwhile, and is
 * asked afterwards: no VM was touched, nothing was attached twice.
 */
import type { Client } from '../../src/api/client.ts';
import { vmSocketPath } from '../../src/config/places.ts';
import { populationDevice, populationUuid } from '../../src/hypervisor/simulator/population.ts';
import type { JournalEntry } from '../../src/hypervisor/simulator/world-port.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { connectUnix } from '../../src/lib/unix-server.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { attachedDevices, FLEET_DEVICES, FLEET_VMS, type Fleet } from './fleet.ts';
import { measureInTurns, summarize } from './statistics.ts';

const ROUNDS = 10;
const WARM_UPS = 1;
const REPLUGGED = FLEET_DEVICES / 2;
const TIMEOUT_MS = 60_000;
/** What the world tells of a replugged device before it is attached again. */
const UNPLUGGED = 1;
const DETACHED = 1;
const POWER: ReadonlySet<string> = new Set(['start', 'pause', 'unpause', 'requestShutdown', 'reset', 'destroy']);

export const recovery: Benchmark = {
  name: 'recovery',
  about: `SIGKILL of the daemon until reconciled, ${FLEET_VMS} VMs and ${FLEET_DEVICES} devices`,
  async run({ fleet, tell }): Promise<readonly Figure[]> {
    const stage = await fleet();
    const { atRest, inTheMiddle } = await measureInTurns(
      {
        atRest: () => killed(stage, async () => undefined),
        inTheMiddle: () => killed(stage, () => replug(stage)),
      },
      { rounds: ROUNDS, warmUps: WARM_UPS },
    );
    const left = summarize(inTheMiddle.map(({ attachments }) => attachments)).p50;
    tell(`killed in the middle, the old daemon left ${left} devices for the new one to attach (median)`);
    const goals = [{ of: 'max', atMost: 1000 }] as const;
    const size = `${FLEET_VMS} VMs, ${FLEET_DEVICES} devices`;
    const reconciled = (times: readonly Recovery[]) => times.map(({ reconciledMs }) => reconciledMs);
    return [
      figure(`SIGKILL at rest -> reconciled, ${size}`, 'ms', reconciled(atRest), { goals }),
      figure(`SIGKILL while it attaches -> reconciled, ${size}`, 'ms', reconciled(inTheMiddle), { goals }),
      figure(
        `SIGKILL at rest -> all ${FLEET_VMS} monitor sockets accept`,
        'ms',
        atRest.map(({ socketsMs }) => socketsMs),
      ),
    ];
  },
};

interface Recovery {
  readonly reconciledMs: number;
  readonly socketsMs: number;
  /** How many devices the new daemon attached. */
  readonly attachments: number;
}

/** Kills the daemon after `before`, starts another, and gives how long it took until all was as it should be. */
async function killed(stage: Fleet, before: () => Promise<void>): Promise<Recovery> {
  const { home, hand } = stage;
  const handles = await handlesOf(stage);
  await before();
  const killedAt = performance.now();
  const killedOn = Date.now(); // The journal's clock.
  await home.end('SIGKILL');
  const client = await home.start();
  await untilAllAttached(client);
  const reconciledMs = performance.now() - killedAt;
  for (let i = 0; i < FLEET_VMS; i++) await untilAccepts(vmSocketPath(home.places, populationUuid(i)));
  const socketsMs = performance.now() - killedAt;
  client.close();
  if ((await handlesOf(stage)) !== handles) throw new Error('a VM was started again');
  const journal = (await hand.call('journal', {})).filter(({ at }) => at >= killedOn);
  checkJournal(journal);
  return { reconciledMs, socketsMs, attachments: journal.filter(({ method }) => method === 'attachDevice').length };
}

async function untilAccepts(path: string): Promise<void> {
  await pollUntil({ what: `A monitor at ${path}`, timeoutMs: TIMEOUT_MS, everyMs: 5 }, async () => {
    const socket = await connectUnix(path, { timeoutMs: TIMEOUT_MS }).catch(() => undefined);
    socket?.destroy();
    return socket;
  });
}

/**
 * Unplugs half of the devices and plugs them in again, as a hub does that loses power: each has to be detached and
 * attached anew. Resolves when the daemon is in the middle of attaching.
 */
async function replug({ hand }: Fleet): Promise<void> {
  const devices = Array.from({ length: REPLUGGED }, (_, i) => populationDevice(i));
  const inTheMiddle = steps(hand, REPLUGGED * (UNPLUGGED + DETACHED + 0.5));
  for (const device of devices) await hand.call('unplug', { backend: 'dom0', busid: device.busid });
  for (const device of devices) await hand.call('plug', device);
  await inTheMiddle;
}

/** Resolves when the world has told of so many changes of attachments. */
function steps(hand: Fleet['hand'], count: number): Promise<void> {
  return new Promise((resolve) => {
    let seen = 0;
    const forget = hand.onHint(({ about }) => {
      if (about === 'usb') seen += 1;
      if (seen < count) return;
      forget();
      resolve();
    });
  });
}

async function untilAllAttached(client: Client): Promise<void> {
  const limits = { what: 'The reconciliation', timeoutMs: TIMEOUT_MS, everyMs: 5 };
  await pollUntil(limits, async () => ((await attachedDevices(client)).length === FLEET_DEVICES ? true : undefined));
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
