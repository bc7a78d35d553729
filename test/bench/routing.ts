/**
 * From a plug until the attach is issued, with 1, 20 and 100 devices at once, in turns with the barest router and with a
 * model of auto-usb-attach; idle, and with all cores busy while VMs start. What is measured is a daemon as it is installed,
 * with a thousand VMs: from the hint over the look at the host, the plan and the audit trail to the driver's request. Host
 * and hypervisor are a simulated world. What that leaves out, from the kernel's node to what sysfs says of a device,
 * is measured by itself, over a folder that looks like sysfs. Then what others wait for is compared, each with its model.
 */
import { join } from 'node:path';
import type { UsherEvent } from '../../src/model/event.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure, type Goal } from './figures.ts';
import { FLEET_VMS, type Fleet } from './fleet.ts';
import { AUTO_USB_ATTACH, QUBES, VHOTPLUG } from './peers/usb-models.ts';
import { BareStage, MOST, ModelStage, PlugStage } from './plug-stage.ts';
import { whileStarting } from './starts.ts';
import { measureInTurns } from './statistics.ts';
import { sysfsReads } from './sysfs-reads.ts';

/** Devices at once, how many rounds, and how often ours and the floor are measured in each. */
const SIZES = [
  { count: 1, rounds: 20, busyRounds: 15, times: 6 },
  { count: 20, rounds: 8, busyRounds: 6, times: 1 },
  { count: MOST, rounds: 6, busyRounds: 5, times: 1 },
] as const;
const REPLUG_ROUNDS = 8;
const SYSFS_MOST = 20;
const WAIT_ROUNDS = 10;
const WARM_UPS = 1;
const BUDGET_MS = 12_000;
const GOAL_IDLE: readonly Goal[] = [
  { of: 'p50', atMost: 5 },
  { of: 'p99', atMost: 25 },
];

/** Who routes, each in a world of its own. */
interface Stages {
  readonly ours: PlugStage;
  readonly bare: BareStage;
  readonly auto: ModelStage;
  readonly vhotplug: ModelStage;
  readonly qubes: ModelStage;
}

export const routing: Benchmark = {
  name: 'routing',
  about: `plug -> attach issued, 1 to ${MOST} devices at once, idle and while VMs start; against what others wait`,
  async run({ fleet, tell }): Promise<readonly Figure[]> {
    const shared = await fleet();
    const folder = shared.home.folder;
    const [bare, auto, vhotplug, qubes] = await Promise.all([
      BareStage.set(join(folder, 'bare-world.sock')),
      ModelStage.set(join(folder, 'auto-world.sock'), AUTO_USB_ATTACH),
      ModelStage.set(join(folder, 'vhotplug-world.sock'), VHOTPLUG),
      ModelStage.set(join(folder, 'qubes-world.sock'), QUBES),
    ]);
    const stages: Stages = { ours: new PlugStage(shared.hand), bare, auto, vhotplug, qubes };
    try {
      const idle = await plugs(stages, 'idle');
      const others = [...(await replugs(stages)), ...(await waits(stages, shared))];
      const busy = await whileStarting(shared, tell, () => plugs(stages, 'busy'));
      return [...idle, ...busy, ...others, ...(await sysfsReads(SYSFS_MOST))];
    } finally {
      await Promise.all([bare, auto, vhotplug, qubes].map((stage) => stage.clear()));
    }
  },
};

async function plugs({ ours, bare, auto }: Stages, when: 'idle' | 'busy'): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { count, rounds, busyRounds, times } of SIZES) {
    const samples = await measureInTurns(
      {
        ours: () => repeated(times, () => ours.plug(count)),
        bare: () => repeated(times, () => bare.plug(count)),
        auto: () => auto.plug(count),
      },
      { rounds: when === 'idle' ? rounds : busyRounds, warmUps: WARM_UPS, budgetMs: BUDGET_MS },
    );
    const what = `plug -> attach issued, ${devices(count)}, ${when === 'idle' ? 'idle' : 'cores busy, VMs starting'}`;
    const goals = count > 1 ? [] : when === 'idle' ? GOAL_IDLE : ([{ of: 'over floor', atMost: 5 }] as const);
    figures.push(
      figure(what, 'ms', samples.ours.flat(), {
        floor: { what: 'bare timer and write', samples: samples.bare.flat() },
        goals,
      }),
      figure('the same against others', 'ms', samples.ours.flat(), {
        floor: { what: `${AUTO_USB_ATTACH.name} (looks each second)`, samples: samples.auto.flat() },
      }),
    );
  }
  return figures;
}

/** Pulled and plugged in again in the same moment: what was attached has to be detached first. */
async function replugs({ ours, auto }: Stages): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { count } of SIZES) {
    const samples = await measureInTurns(
      { ours: () => ours.replug(count), auto: () => auto.replug(count) },
      { rounds: REPLUG_ROUNDS, warmUps: WARM_UPS, budgetMs: BUDGET_MS },
    );
    figures.push(
      figure(`replug -> attach issued again, ${devices(count)}, idle`, 'ms', samples.ours.flat(), {
        floor: { what: `${AUTO_USB_ATTACH.name} (looks each second)`, samples: samples.auto.flat() },
      }),
    );
  }
  return figures;
}

/** Where vhotplug and Qubes, which are told of plugs, wait. */
async function waits({ ours, vhotplug, qubes }: Stages, { home }: Fleet): Promise<Figure[]> {
  const client = await home.connect();
  let onAttached = (_at: number) => {};
  await client.call('events.follow', {}, (notice) => {
    if ((notice as { readonly event?: UsherEvent }).event?.kind === 'usb.attached') onAttached(performance.now());
  });
  const nextEvent = () =>
    new Promise<number>((resolve) => {
      onAttached = resolve;
    });
  const plan = { rounds: WAIT_ROUNDS, warmUps: WARM_UPS, budgetMs: BUDGET_MS };
  const refused = await measureInTurns({ ours: () => ours.plugRefused(), peer: () => vhotplug.plugRefused() }, plan);
  const known = await measureInTurns(
    { ours: () => ours.plugUntil(nextEvent), peer: () => qubes.plugUntil(() => qubes.model.nextKnown()) },
    plan,
  );
  client.close();
  return [
    figure('plug, first try refused -> attach issued again', 'ms', refused.ours.flat(), {
      floor: { what: `${VHOTPLUG.name} (5 tries, 1 s apart)`, samples: refused.peer.flat() },
    }),
    figure('plug -> known to be attached', 'ms', known.ours, {
      floor: { what: `${QUBES.name} (looks each 0.2 s)`, samples: known.peer },
    }),
  ];
}

async function repeated(times: number, measure: () => Promise<number[]>): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < times; i++) samples.push(...(await measure()));
  return samples;
}

function devices(count: number): string {
  return `${count} ${count === 1 ? 'device' : 'devices at once'}, ${FLEET_VMS} VMs`;
}
