/**
 * Attaching to a real guest: from a request, or a plug, until `device_add` is sent, and until the guest's kernel reports
 * the device; against a resident bare script that sends the same `device_add` and nothing else to the same guest, idle
 * and with all cores busy. And from a plug until the attach is issued with a thousand simulated VMs.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { populationDevice } from '../../src/hypervisor/simulator/population.ts';
import { AttachStage } from './attach-stage.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure, type Goal } from './figures.ts';
import { FLEET_DEVICES, FLEET_VMS, type Fleet } from './fleet.ts';
import { occupyCores } from './load.ts';
import { measureInTurns } from './statistics.ts';

const ROUNDS = 60;
const ROUNDS_BUSY = 30;
const WARM_UPS = 3;
const PLUG_ROUNDS = 200;
const PAUSE_MS = 20;

export const attach: Benchmark = {
  name: 'attach',
  about: 'request or plug -> device_add sent -> the guest reports the device, idle and busy',
  async run({ fleet, tell }): Promise<readonly Figure[]> {
    const many = await plugs(await fleet());
    tell('booting a guest');
    const stage = await AttachStage.set();
    try {
      const idle = await inTurns(stage, ROUNDS, 'idle', { of: 'p50', atMost: 5 });
      const load = await occupyCores();
      try {
        const busy = await inTurns(stage, ROUNDS_BUSY, 'cores busy', { of: 'over floor', atMost: 5 });
        return [...idle, ...busy, ...many];
      } finally {
        await load.release();
      }
    } finally {
      await stage.clear();
    }
  },
};

async function inTurns(stage: AttachStage, rounds: number, when: string, sentGoal: Goal): Promise<Figure[]> {
  const measures = { ours: () => stage.byUsher(), floor: () => stage.byScript() };
  const { ours, floor } = await measureInTurns(measures, { rounds, warmUps: WARM_UPS });
  const script = (samples: number[]) => ({ what: 'bare script', samples });
  return [
    figure(
      `request -> device_add sent, ${when}`,
      'ms',
      ours.map(({ sentMs }) => sentMs),
      { floor: script(floor.map(({ sentMs }) => sentMs)), goals: [sentGoal] },
    ),
    figure(
      `request -> guest reports the device, ${when}`,
      'ms',
      ours.map(({ reportedMs }) => reportedMs),
      { floor: script(floor.map(({ reportedMs }) => reportedMs)), goals: [{ of: 'ratio', atMost: 1.05 }] },
    ),
  ];
}

/**
 * Plugs a device into the simulated host, again and again. The world tells this process of the plug and of the attach by
 * hints over one socket, as it tells the daemon: between the two arrivals lies what the daemon took.
 */
async function plugs({ home, hand }: Fleet): Promise<Figure[]> {
  const client = await home.connect();
  const last = FLEET_DEVICES - 1;
  const device = { ...populationDevice(last), busid: '9-1' };
  const samples: number[] = [];
  await hand.call('unplug', { backend: 'dom0', busid: populationDevice(last).busid });
  await client.call('usb.reconcile', {});
  for (let round = 0; round < WARM_UPS + PLUG_ROUNDS; round++) {
    const plugged = arrival(hand, 'devices');
    const attached = arrival(hand, 'usb');
    await hand.call('plug', device);
    const ms = (await attached) - (await plugged);
    if (round >= WARM_UPS) samples.push(ms);
    await sleep(PAUSE_MS);
    await hand.call('unplug', { backend: device.backend ?? 'dom0', busid: device.busid });
    await client.call('usb.reconcile', {});
  }
  await hand.call('plug', populationDevice(last));
  await client.call('usb.reconcile', {});
  client.close();
  return [
    figure(`plug -> attach issued, ${FLEET_VMS} simulated VMs`, 'ms', samples, {
      goals: [
        { of: 'p50', atMost: 5 },
        { of: 'p99', atMost: 25 },
      ],
    }),
  ];
}

/** Resolves with the moment of the next hint of that kind. */
function arrival(hand: Fleet['hand'], about: 'devices' | 'usb'): Promise<number> {
  return new Promise((resolve) => {
    const forget = hand.onHint((hint) => {
      if (hint.about !== about) return;
      const at = performance.now();
      forget();
      resolve(at);
    });
  });
}
