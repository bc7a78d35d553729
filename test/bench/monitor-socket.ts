/**
 * The monitors' text dialect: `status` until the last byte of `ok`, with a client connected to each of a thousand
 * monitors; one request in flight, and all clients at once. The floor is a bare Node server that answers the same bytes.
 * All clients live in this process, by whose monotonic clock is measured.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vmSocketPath } from '../../src/config/places.ts';
import { populationUuid } from '../../src/hypervisor/simulator/population.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { FLEET_VMS } from './fleet.ts';
import { startPeer } from './peers/peer.ts';
import { measureInTurns } from './statistics.ts';

const ANSWER = 'running\nok\n';
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
  const block = (clients: readonly TextClient[]) => async (round: number) => {
    const samples: number[] = [];
    for (let i = 0; i < BLOCK; i++) {
      const start = performance.now();
      await (clients[(round * BLOCK + i) % clients.length] as TextClient).ask();
      samples.push(performance.now() - start);
    }
    return samples;
  };
  const measures = { ours: block(ours), floor: block(floor) };
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

/** One client; one request at a time. */
class TextClient {
  readonly #socket: Socket;
  #heard = '';
  #answered: { resolve(): void; reject(error: Error): void } | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#hear(chunk));
    socket.on('close', () => this.#answered?.reject(new Error('the server hung up')));
  }

  static connect(path: string): Promise<TextClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => resolve(new TextClient(socket)));
      socket.once('error', reject);
    });
  }

  ask(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#heard = '';
      this.#answered = { resolve, reject };
      this.#socket.write('status\n');
    });
  }

  close(): void {
    this.#answered = undefined;
    this.#socket.destroy();
  }

  #hear(chunk: Buffer): void {
    this.#heard += chunk.toString();
    if (this.#heard.length < ANSWER.length) return;
    if (this.#heard === ANSWER) this.#answered?.resolve();
    else this.#answered?.reject(new Error(`the answer was ${JSON.stringify(this.#heard.slice(0, 200))}`));
  }
}
