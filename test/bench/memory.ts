/**
 * What the daemon keeps in memory with a thousand running VMs and their sockets: /proc/PID/smaps_rollup (proc(5)) of a
 * daemon that has just started and adopted them, and again after each of some rounds of observing everything.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { FLEET_VMS } from './fleet.ts';
import { startPeer } from './peers/peer.ts';

const SETTLE_MS = 3_000;
/** Each is what the daemon does by itself twice a minute. */
const SWEEPS = 20;
const MIB_IN_KIB = 1024;

export const memory: Benchmark = {
  name: 'memory',
  about: `memory of the daemon, ${FLEET_VMS} VMs with their sockets`,
  async run({ fleet }): Promise<readonly Figure[]> {
    const { home } = await fleet();
    await home.end('SIGTERM');
    const client = await home.start();
    await sleep(SETTLE_MS);
    const samples = [await memoryOf(home.pid)];
    for (let i = 0; i < SWEEPS; i++) {
      await client.call('usb.reconcile', {});
      samples.push(await memoryOf(home.pid));
    }
    client.close();
    const bare = await startPeer('idle.ts', []);
    await sleep(SETTLE_MS);
    const floor = await memoryOf(bare.pid);
    await bare.end();
    const peak = await peakOf(home.pid);
    return [
      figure(
        `daemon, ${FLEET_VMS} VMs, resident`,
        'MiB',
        samples.map(({ residentMiB }) => residentMiB),
        {
          floor: { what: 'bare Node', samples: [floor.residentMiB] },
          goals: [{ of: 'max', atMost: 100 }],
        },
      ),
      figure(
        'the same, its share of shared pages (PSS)',
        'MiB',
        samples.map(({ shareMiB }) => shareMiB),
      ),
      figure('the most that was resident since its start', 'MiB', [peak]),
    ];
  },
};

async function memoryOf(pid: number): Promise<{ residentMiB: number; shareMiB: number }> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
  return { residentMiB: field(rollup, 'Rss'), shareMiB: field(rollup, 'Pss') };
}

async function peakOf(pid: number): Promise<number> {
  return field(await readFile(`/proc/${pid}/status`, 'utf8'), 'VmHWM');
}

function field(text: string, name: string): number {
  const [, kib] = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text) ?? [];
  if (kib === undefined) throw new Error(`there is no ${name}`);
  return Number(kib) / MIB_IN_KIB;
}
