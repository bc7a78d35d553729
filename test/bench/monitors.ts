/**
 * What a monitor costs: a thousand in one process, `usherd`, against twenty processes of one, `xenvm FILE`. Memory for each
 * VM, and `status` over the VM's socket until the last byte of `ok`, with a client connected to each monitor and one request
 * in flight. All VMs are simulated, by worlds that are processes of their own. Pages that all these processes share, which
 * are Node's, count in parts in one figure (PSS) and for each in the other (resident).
 */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { vmSocketPath } from '../../src/config/places.ts';
import { populationUuid } from '../../src/hypervisor/simulator/population.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { newUuid } from '../../src/model/ids.ts';
import { startWorld } from '../support/sim-world.ts';
import { RunningCommand } from '../support/stage.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { FLEET_VMS } from './fleet.ts';
import { Home, ROOT } from './home.ts';
import { memoryOf } from './process-memory.ts';
import { measureInTurns } from './statistics.ts';
import { oneAtATime, TextClient } from './text-client.ts';

const PROCESSES = 20;
const SETTLE_MS = 3_000;
const LOOKS = 5;
const LOOK_EVERY_MS = 1_000;
/** In turns of so many requests, so that each side is warm when it is measured. */
const BLOCK = 200;
const BLOCKS = 25;
/** Every client speaks once before anything is measured. */
const WARM_UP_BLOCKS = FLEET_VMS / BLOCK;
const START_MS = 60_000;
/** In a MiB. */
const KIB = 1024;

export const monitors: Benchmark = {
  name: 'monitors',
  about: `${FLEET_VMS} monitors in one process against ${PROCESSES} processes of one`,
  async run({ fleet, tell }): Promise<readonly Figure[]> {
    const { home } = await fleet();
    await home.end('SIGTERM');
    (await home.start()).close();
    const apart = await startApart();
    try {
      const indexes = [...Array(FLEET_VMS).keys()];
      const paths = indexes.map((i) => vmSocketPath(home.places, populationUuid(i)));
      await Promise.all(paths.map(runs)); // The daemon serves before it has made the last socket.
      const together = await Promise.all(paths.map((path) => TextClient.connect(path)));
      const each = await Promise.all(apart.paths.map((path) => TextClient.connect(path)));
      try {
        const latency = await oneInFlight(together, each);
        return [...(await memory([home.pid], apart.pids, tell)), latency];
      } finally {
        for (const client of [...together, ...each]) client.close();
      }
    } finally {
      await apart.end();
    }
  },
};

/** Measures all processes some times, when nothing is asked of them. */
async function memory(
  one: readonly number[],
  many: readonly number[],
  tell: (text: string) => void,
): Promise<readonly Figure[]> {
  await sleep(SETTLE_MS);
  const kinds = ['shareMiB', 'residentMiB'] as const;
  const samples = { one: { shareMiB: [], residentMiB: [] }, many: { shareMiB: [], residentMiB: [] } } as Record<
    'one' | 'many',
    Record<(typeof kinds)[number], number[]>
  >;
  for (let look = 0; look < LOOKS; look++) {
    await sleep(LOOK_EVERY_MS);
    for (const [side, pids] of [
      ['one', one],
      ['many', many],
    ] as const) {
      const memories = await Promise.all(pids.map(memoryOf));
      for (const kind of kinds) samples[side][kind].push(...memories.map((memory) => memory[kind]));
    }
  }
  tell(`the one process has ${Math.round(samples.one.shareMiB[0] ?? 0)} MiB, each of the others what the table says`);
  const what = `memory of a VM's monitor, ${FLEET_VMS} in one process`;
  const titles = { shareMiB: `${what}, shared pages in parts (PSS)`, residentMiB: `${what}, resident` };
  return kinds.map((kind) =>
    figure(
      titles[kind],
      'KiB',
      samples.one[kind].map((mib) => (mib * KIB) / FLEET_VMS),
      {
        floor: { what: `${PROCESSES} processes of one`, samples: samples.many[kind].map((mib) => mib * KIB) },
      },
    ),
  );
}

async function oneInFlight(together: readonly TextClient[], apart: readonly TextClient[]): Promise<Figure> {
  const measures = { together: oneAtATime(together, BLOCK), apart: oneAtATime(apart, BLOCK) };
  const samples = await measureInTurns(measures, { rounds: BLOCKS, warmUps: WARM_UP_BLOCKS });
  return figure(`command to a monitor, ${FLEET_VMS} in one process, one in flight`, 'ms', samples.together.flat(), {
    floor: { what: `${PROCESSES} processes of one`, samples: samples.apart.flat() },
  });
}

/** Starts a `xenvm` for each of some VMs, which run when it returns. */
async function startApart() {
  const home = await Home.make((folder) => ({ USHER_SIMULATOR_WORLD: join(folder, 'world.sock') }));
  const world = await startWorld({ socket: join(home.folder, 'world.sock') });
  const commands: RunningCommand[] = [];
  const end = async () => {
    await Promise.all(commands.map((command) => command.end('SIGTERM')));
    await world.stop();
    await home.remove();
  };
  try {
    const [pids, paths]: [number[], string[]] = [[], []];
    for (let i = 0; i < PROCESSES; i++) {
      const uuid = newUuid();
      const file = join(home.folder, `apart-${i}.cfg`);
      await writeFile(file, `uuid = ${uuid}\nname = apart-${i}\ndriver = simulator\nmemory = 64\n`);
      const child = spawn(join(ROOT, 'bin/xenvm'), [file], { env: home.env });
      commands.push(new RunningCommand(child));
      pids.push(child.pid ?? 0);
      paths.push(vmSocketPath(home.places, uuid));
    }
    await Promise.all(paths.map(runs));
    return { pids, paths, end };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Waits until a monitor says that its VM runs. */
async function runs(path: string): Promise<void> {
  await pollUntil({ what: `A monitor at ${path}`, timeoutMs: START_MS, everyMs: 50 }, async () => {
    const client = await TextClient.connect(path).catch(() => undefined);
    const isRunning = await client?.ask().then(
      () => true,
      () => undefined,
    );
    client?.close();
    return isRunning;
  });
}
