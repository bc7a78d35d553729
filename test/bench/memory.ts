/**
 * What the daemon keeps in memory with a thousand running VMs and their sockets: /proc/PID/smaps_rollup (proc(5)) of a
 * daemon that has just started and adopted them, and again after each of some rounds of observing everything. Then the
 * same with 500 devices that 500 rules give to VMs.
 */
import { rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { populationDevice } from '../../src/hypervisor/simulator/population.ts';
import { HOST_BACKEND } from '../../src/model/ids.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { attachedDevices, FLEET_DEVICES, FLEET_VMS, type Fleet } from './fleet.ts';
import type { Home } from './home.ts';
import { startPeer } from './peers/peer.ts';
import { type Memory, memoryOf, peakOf } from './process-memory.ts';

const SETTLE_MS = 3_000;
/** Each is what the daemon does by itself twice a minute. */
const SWEEPS = 20;
/** Devices, and rules. */
const RULED = 500;

export const memory: Benchmark = {
  name: 'memory',
  about: `memory of the daemon, ${FLEET_VMS} VMs with their sockets`,
  async run({ fleet }): Promise<readonly Figure[]> {
    const shared = await fleet();
    const bare = await startPeer('idle.ts', []);
    await sleep(SETTLE_MS);
    const floor = { what: 'bare Node', samples: [(await memoryOf(bare.pid)).residentMiB] };
    await bare.end();
    const goals = [{ of: 'max', atMost: 100 }] as const;
    const { samples, peakMiB } = await sweeps(shared.home);
    const ruled = await whileRuled(shared, () => sweeps(shared.home));
    const resident = (list: readonly Memory[]) => list.map(({ residentMiB }) => residentMiB);
    return [
      figure(`daemon, ${FLEET_VMS} VMs, resident`, 'MiB', resident(samples), { floor, goals }),
      figure(
        'the same, its share of shared pages (PSS)',
        'MiB',
        samples.map(({ shareMiB }) => shareMiB),
      ),
      figure('the most that was resident since its start', 'MiB', [peakMiB]),
      figure(`daemon, ${FLEET_VMS} VMs, ${RULED} devices, ${RULED} rules, resident`, 'MiB', resident(ruled.samples), {
        floor,
      }),
      figure('the most that was resident since its start', 'MiB', [ruled.peakMiB]),
    ];
  },
};

/** Starts the daemon anew and has it observe everything, again and again. */
async function sweeps(home: Home): Promise<{ readonly samples: readonly Memory[]; readonly peakMiB: number }> {
  await home.end('SIGTERM');
  const client = await home.start();
  await sleep(SETTLE_MS);
  const samples = [await memoryOf(home.pid)];
  for (let i = 0; i < SWEEPS; i++) {
    await client.call('usb.reconcile', {});
    samples.push(await memoryOf(home.pid));
  }
  client.close();
  return { samples, peakMiB: await peakOf(home.pid) };
}

/** Measures with a policy that has a rule for each device, which gives it to the VM of its number, and 500 devices. */
async function whileRuled<T>({ home, hand }: Fleet, measure: () => Promise<T>): Promise<T> {
  const rules = Array.from({ length: RULED }, (_, i) => {
    const { serial } = populationDevice(i);
    return `  - name: rule ${i}\n    match: { id: "0951:1666:${serial}" }\n    attach: sim-${i}\n`;
  });
  const more = Array.from({ length: RULED - FLEET_DEVICES }, (_, i) => populationDevice(FLEET_DEVICES + i));
  await writeFile(home.places.policyFile, `mode: enforce\nrules:\n${rules.join('')}`);
  for (const device of more) await hand.call('plug', device);
  try {
    const measured = await measure();
    const client = await home.connect();
    const { length } = await attachedDevices(client);
    client.close();
    if (length !== RULED) throw new Error(`${length} devices of ${RULED} are attached`);
    return measured;
  } finally {
    await rm(home.places.policyFile);
    for (const { busid } of more) await hand.call('unplug', { backend: HOST_BACKEND, busid });
    await home.end('SIGTERM');
    const client = await home.start();
    await client.call('usb.reconcile', {});
    client.close();
  }
}
