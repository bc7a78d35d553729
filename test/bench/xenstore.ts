/**
 * Our xenstore client against Debian's real xenstored on this machine, beside a C client of Xen's own library: reads one
 * after the other, reads all at once, and transactions (start, read, write, commit). Each by its own monotonic clock.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { RealXenstored, xenstoredBuild } from '../../lab/xenstored.ts';
import { exec } from '../../src/lib/exec.ts';
import { XenstoreClient } from '../../src/wire/xenstore/client.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { measureInTurns } from './statistics.ts';

const READS = 1000;
const TRANSACTIONS = 200;
const ROUNDS = 40;
const WARM_UPS = 10;
/** As long as a value is that a driver reads as a rule. */
const PATH = '/local/domain/0/backend/qusb/1/0/port/1';
const SOURCE = join(import.meta.dirname, 'peers/xenstore-client.c');
const FLOOR = 'libxenstore in C, one after the other';

export const xenstore: Benchmark = {
  name: 'xenstore',
  about: 'the xenstore client, against the real xenstored',
  async run({ tell }): Promise<readonly Figure[]> {
    const folder = await mkdtemp(join(tmpdir(), 'usher-bench-xenstore-'));
    const xenstored = await RealXenstored.start();
    const ours = await XenstoreClient.connect({ path: xenstored.path });
    const theirs = await CClient.start(folder, xenstored.path);
    try {
      await ours.write(PATH, '1-4');
      const reads = await measureInTurns(
        {
          sequential: () => timed(() => readInTurn(ours)),
          pipelined: () => timed(() => readAtOnce(ours)),
          c: () => theirs.measure('read', READS),
        },
        { rounds: ROUNDS, warmUps: WARM_UPS },
      );
      const transactions = await measureInTurns(
        { ours: () => timed(() => transact(ours)), c: () => theirs.measure('transact', TRANSACTIONS) },
        { rounds: ROUNDS, warmUps: WARM_UPS },
      );
      const floor = { what: FLOOR, samples: reads.c };
      const figures = [
        figure(`${READS} reads of xenstore at once`, 'ms', reads.pipelined, {
          floor,
          goals: [{ of: 'ratio', atMost: 0.5 }],
        }),
        figure(`${READS} reads one after the other`, 'ms', reads.sequential, { floor }),
        figure(`${TRANSACTIONS} transactions one after the other`, 'ms', transactions.ours, {
          floor: { what: FLOOR, samples: transactions.c },
        }),
      ];
      for (const { what, ours: mine, floor: peer } of figures)
        tell(`${what}: ${rate(what, mine.p50)}/s, the C client ${rate(what, peer?.p50 ?? 0)}/s`);
      return figures;
    } finally {
      theirs.end();
      ours.close();
      await xenstored.stop();
      await rm(folder, { recursive: true });
    }
  },
};

async function readInTurn(client: XenstoreClient): Promise<void> {
  for (let i = 0; i < READS; i++) await client.read(PATH);
}

async function readAtOnce(client: XenstoreClient): Promise<void> {
  await Promise.all(Array.from({ length: READS }, () => client.read(PATH)));
}

async function transact(client: XenstoreClient): Promise<void> {
  for (let i = 0; i < TRANSACTIONS; i++)
    await client.transaction(async (transaction) => {
      await transaction.write(PATH, (await transaction.read(PATH)) ?? '');
    });
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function rate(what: string, ms: number): number {
  return Math.round((Number.parseInt(what, 10) / ms) * 1000);
}

/** The C client, which is built here and told what to do line by line. */
class CClient {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(process: ChildProcess, lines: AsyncIterator<string>) {
    this.#process = process;
    this.#lines = lines;
  }

  static async start(folder: string, socket: string): Promise<CClient> {
    const { headers, libraries } = await xenstoredBuild();
    const binary = join(folder, 'xenstore-client');
    const link = [`-L${libraries}`, `-Wl,-rpath-link,${libraries}`, '-lxenstore'];
    await exec(['gcc', '-O2', `-I${headers}`, '-o', binary, SOURCE, ...link], { timeoutMs: 60_000 });
    const env = { LD_LIBRARY_PATH: libraries, XENSTORED_PATH: socket };
    const child = spawn(binary, [PATH], { env, stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child, 'spawn');
    return new CClient(child, createInterface(child.stdout)[Symbol.asyncIterator]());
  }

  /** Gives milliseconds. @throws Error when the client has ended */
  async measure(what: 'read' | 'transact', count: number): Promise<number> {
    this.#process.stdin?.write(`${what} ${count}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the C client ended with ${this.#process.exitCode}`);
    return Number(value) / 1e6;
  }

  end(): void {
    this.#process.stdin?.end();
  }
}
