/**
 * `usher vm list` with a thousand VMs, as a whole process: from the call that starts it until it has ended and all that it
 * printed was read, by the monotonic clock of this process.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { populationConfig } from '../../src/hypervisor/simulator/population.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { FLEET_VMS } from './fleet.ts';
import { ROOT } from './home.ts';
import { startPeer } from './peers/peer.ts';
import { measureInTurns } from './statistics.ts';

const ROUNDS = 60;
const WARM_UPS = 5;
/** A bare Node that opens one socket and prints what comes. */
const FLOOR = "require('node:net').connect(process.argv[1]).pipe(process.stdout)";

export const list: Benchmark = {
  name: 'list',
  about: `usher vm list, ${FLEET_VMS} VMs, whole process`,
  async run({ fleet }): Promise<readonly Figure[]> {
    const { home } = await fleet();
    const folder = await mkdtemp(join(tmpdir(), 'usher-bench-list-'));
    const listed = timed([join(ROOT, 'bin/usher'), 'vm', 'list'], home.env).output;
    if (listed.split('\n').length !== FLEET_VMS + 2) throw new Error(`usher vm list printed:\n${listed.slice(0, 500)}`);
    const bytes = join(folder, 'bytes');
    const socket = join(folder, 'floor.sock');
    const definitions = join(folder, 'vms.xml');
    await writeFile(bytes, listed);
    await writeFile(definitions, libvirtDefinitions());
    const server = await startPeer('answer-server.ts', ['hangup', bytes, socket]);
    const same = (argv: readonly [string, ...string[]]) => () => {
      const { ms, output } = timed(argv, home.env);
      if (output !== listed) throw new Error(`${argv[0]} printed something else`);
      return ms;
    };
    try {
      const samples = await measureInTurns(
        {
          ours: same([join(ROOT, 'bin/usher'), 'vm', 'list']),
          floor: same([process.execPath, '-e', FLOOR, socket]),
          bundle: same([process.execPath, join(ROOT, 'dist/usher.cjs'), 'vm', 'list']),
          virsh: () => timed(['virsh', '-c', `test://${definitions}`, 'list', '--all'], home.env).ms,
        },
        { rounds: ROUNDS, warmUps: WARM_UPS },
      );
      const floor = { what: 'bare Node, same bytes', samples: samples.floor };
      return [
        figure(`usher vm list, ${FLEET_VMS} VMs`, 'ms', samples.ours, { floor, goals: [{ of: 'ratio', atMost: 1.6 }] }),
        figure('the same without the launcher', 'ms', samples.bundle, { floor }),
        figure('the same against virsh', 'ms', samples.ours, {
          floor: { what: 'virsh -c test:///… list --all', samples: samples.virsh },
        }),
      ];
    } finally {
      await server.end();
      await rm(folder, { recursive: true });
    }
  },
};

function timed(argv: readonly [string, ...string[]], env: NodeJS.ProcessEnv): { ms: number; output: string } {
  const start = performance.now();
  const { status, error, stdout } = spawnSync(argv[0], argv.slice(1), {
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 16 * 1024 * 1024,
  });
  const ms = performance.now() - start;
  if (status !== 0) throw new Error(`${argv.join(' ')}: ${error?.message ?? `status ${status}`}`);
  return { ms, output: stdout };
}

/** The same VMs for libvirt's test driver, which reads them anew in each process: it has no daemon. */
function libvirtDefinitions(): string {
  const domains = Array.from({ length: FLEET_VMS }, (_, i) => {
    const { name, uuid, memoryMiB, vcpus } = populationConfig(i);
    const memory = memoryMiB * 1024;
    return `<domain type='test'><name>${name}</name><uuid>${uuid}</uuid><memory>${memory}</memory><vcpu>${vcpus}</vcpu><os><type>hvm</type></os></domain>`;
  });
  return `<node>\n${domains.join('\n')}\n</node>\n`;
}
