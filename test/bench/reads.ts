/**
 * Reads while VMs start: `vm.list` of a thousand VMs, `vm.show` of one, and `status` on a monitor's socket, one request in
 * flight, of a daemon at rest, and of the same daemon while all cores are busy and VMs start. A bare Node server that
 * answers with the same bytes is asked in turns: what the machine alone makes of its reads is in the table too.
 */
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { vmSocketPath } from '../../src/config/places.ts';
import { populationUuid } from '../../src/hypervisor/simulator/population.ts';
import { connectUnix } from '../../src/lib/unix-server.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { FLEET_VMS, type Fleet } from './fleet.ts';
import { startPeer } from './peers/peer.ts';
import { whileStarting } from './starts.ts';
import { measureInTurns } from './statistics.ts';

const ROUNDS = 300;
const WARM_UPS = 5;
const BUDGET_MS = 30_000;
const CONNECT_MS = 5_000;
const VM = 'sim-0';

const READS = {
  list: `vm.list, ${FLEET_VMS} VMs`,
  show: 'vm.show of one VM',
  status: "status on a monitor's socket",
  bare: 'bare Node server, the bytes of vm.show',
} as const;
type Read = keyof typeof READS;

export const reads: Benchmark = {
  name: 'reads',
  about: 'reads of the daemon while VMs start, against its reads at rest',
  async run({ fleet, tell }): Promise<readonly Figure[]> {
    const shared = await fleet();
    const atRest = await readAll(shared);
    const starting = await whileStarting(shared, tell, () => readAll(shared));
    return (Object.keys(READS) as Read[]).map((read) =>
      figure(`${READS[read]}, cores busy and VMs starting`, 'ms', starting[read], {
        floor: { what: 'the same at rest', samples: atRest[read] },
        ratioOf: 'p99',
        goals: read === 'bare' ? [] : [{ of: 'ratio', atMost: 2 }],
      }),
    );
  },
};

async function readAll({ home }: Fleet): Promise<Record<Read, number[]>> {
  const client = await home.connect();
  const monitor = await connectUnix(vmSocketPath(home.places, populationUuid(0)), { timeoutMs: CONNECT_MS });
  const bytes = join(home.folder, 'bytes');
  const socket = join(home.folder, 'bytes.sock');
  await writeFile(bytes, JSON.stringify(await client.call('vm.show', { vm: VM })));
  const peer = await startPeer('answer-server.ts', ['echo', bytes, socket]);
  const bare = await connectUnix(socket, { timeoutMs: CONNECT_MS });
  const turns = { rounds: ROUNDS, warmUps: WARM_UPS, budgetMs: BUDGET_MS };
  try {
    return await measureInTurns(
      {
        list: () => timed(() => client.call('vm.list', {})),
        show: () => timed(() => client.call('vm.show', { vm: VM })),
        status: () => timed(() => asked(monitor, 'status\n')),
        bare: () => timed(() => asked(bare, '\n')),
      },
      turns,
    );
  } finally {
    client.close();
    monitor.destroy();
    bare.destroy();
    await peer.end();
    await rm(socket);
  }
}

/** What is answered is short enough to come in one piece, or its first piece has to do. */
async function asked(socket: Socket, line: string): Promise<void> {
  socket.write(line);
  await once(socket, 'data');
}

async function timed(read: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await read();
  return performance.now() - start;
}
