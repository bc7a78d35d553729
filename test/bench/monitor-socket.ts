/**
 * The monitors' text dialect: `status` until the last byte of `ok`, with a client connected to each of a thousand
 * monitors; one request in flight, and all clients at once. The floor is a bare Node server that answers the same bytes.
 * All clients live in this process, by whose monotonic clock is measured.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vmSocketPath } from '../../src/config/places.ts';
import { populationUuid } from '../../src/hypervisor/simulator/population.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { FLEET_VMS } from './fleet.ts';
import { startPeer } from './peers/peer.ts';
import { measureInTurns } from './statistics.ts';
import { ANSWER, oneAtATime, TextClient } from './text-client.ts';

/** In turns of so many requests, so that each server is warm when it is measured. */
const BLOCK = 200;
const BLOCKS = 25;
/** Every client speaks once before anything is measured. */
const WARM_UP_BLOCKS = FLEET_VMS / BLOCK;
const ALL_AT_ONCE_MS = 1_500;
const ALL_AT_ONCE_ROUNDS = 5;

export const monitorSocket: Benchmark = {
  name: 'monitor-socket',
  about: `text command on a monitor's socket, ${FLEET_VMS} clients`,
  async run({ fleet }): Promise<readonly Figure[]> {
    const { home } = await fleet();
    const folder = await mkdtemp(join(tmpdir(), 'usher-bench-floor-'));
    const indexes = [...Array(FLEET_VMS).keys()];
    const floorPaths = indexes.map((i) => join(folder, 'vm', `${i}.sock`));
    await mkdir(join(folder, 'vm'));
    await writeFile(join(folder, 'answer'), ANSWER);
    const server = await startPeer('answer-server.ts', ['echo', join(folder, 'answer'), ...floorPaths]);
    const ours = await Promise.all(
      indexes.map((i) => TextClient.connect(vmSocketPath(home.places, populationUuid(i)))),
    );
    const floor = await Promise.all(floorPaths.map((path) => TextClient.connect(path)));
    try {
      return [...(await oneInFlight(ours, floor)), ...(await allAtOnce(ours, floor))];
    } finally {
      for (const client of [...ours, ...floor]) client.close();
      await server.end();
      await rm(folder, { recursive: true });
    }
  },
};

async function oneInFlight(ours: readonly TextClient[], floor: readonly TextClient[]): Promise<Figure[]> {
  const measures = { ours: oneAtATime(ours, BLOCK), floor: oneAtATime(floor, BLOCK) };
  const samples = await measureInTurns(measures, { rounds: BLOCKS, warmUps: WARM_UP_BLOCKS });
  return [
    figure(`monitor socket, ${ours.length} clients, one request in flight`, 'ms', samples.ours.flat(), {
      floor: { what: 'bare Node server', samples: samples.floor.flat() },
      goals: [
        { of: 'p50', atMost: 0.2 },
        { of: 'p99', atMost: 2 },
      ],
    }),
  ];
}

async function allAtOnce(ours: readonly TextClient[], floor: readonly TextClient[]): Promise<Figure[]> {
  const rate = (clients: readonly TextClient[]) => async () => {
    let answers = 0;
    const start = performance.now();
    const talk = async (client: TextClient) => {
      for (; performance.now() - start < ALL_AT_ONCE_MS; answers++) await client.ask();
    };
    await Promise.all(clients.map(talk));
    return (answers / (performance.now() - start)) * 1000;
  };
  const samples = await measureInTurns(
    { ours: rate(ours), floor: rate(floor) },
    { rounds: ALL_AT_ONCE_ROUNDS, warmUps: 1 },
  );
  const what = `monitor socket, ${ours.length} clients at once (more is better)`;
  return [figure(what, '1/s', samples.ours, { floor: { what: 'bare Node server', samples: samples.floor } })];
}
