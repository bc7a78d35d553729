/**
 * One pass of the planner over a host at rest: 1000 VMs that run, 500 devices of which each is attached, 500 rules of which
 * each names one. In turns with the same host without rules, where 500 assignments name the devices. Since rules remember
 * what they match of a device, two passes are measured besides in which they cannot: over 500 devices that were all
 * plugged a moment ago, each of which gets its step, and the first one after another policy was loaded.
 */
import { EMPTY_POLICY, type Policy } from '../../src/model/policy.ts';
import { plan } from '../../src/usb/plan.ts';
import type { PlanInput } from '../../src/usb/plan-types.ts';
import { assignment, attached, runningVm, stick, world } from '../../src/usb/test-world.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { measureInTurns } from './statistics.ts';

const VMS = 1000;
const DEVICES = 500;
const PER_BUS = 25;
const ROUNDS = 100;
const WARM_UPS = 20;

export const planner: Benchmark = {
  name: 'planner',
  about: `one pass, ${VMS} VMs, ${DEVICES} devices, ${DEVICES} rules`,
  async run(): Promise<readonly Figure[]> {
    const numbers = Array.from({ length: DEVICES }, (_, i) => i);
    const serial = (i: number) => `S${i}`;
    const plugged = () =>
      numbers.map((i) => stick(`dom0:${1 + Math.floor(i / PER_BUS)}-${1 + (i % PER_BUS)}`, { serial: serial(i) }));
    const devices = plugged();
    const vms = Array.from({ length: VMS }, (_, i) => {
      const device = devices[i];
      return runningVm(i + 1, device === undefined ? [] : [attached(device, i + 1)]);
    });
    const emptyVms = vms.map((_, i) => runningVm(i + 1));
    const loaded = (): Policy => ({
      mode: 'enforce',
      rules: numbers.map((i) => ({
        name: `rule ${i}`,
        match: { id: [`0951:1666:${serial(i)}:*`] },
        action: { do: 'attach', vm: `vm${i + 1}` },
        line: i + 1,
      })),
      expect: [],
    });
    const policy = loaded();
    const assignments = numbers.map((i) => assignment(i + 1, i + 1, `0951:1666:${serial(i)}:*`));
    const samples = await measureInTurns(
      {
        rules: () => timed(world({ devices, vms, policy }), 0),
        assignments: () => timed(world({ devices, vms, assignments, policy: EMPTY_POLICY }), 0),
        plugged: () => timed(world({ devices: plugged(), vms: emptyVms, policy }), DEVICES),
        loaded: () => timed(world({ devices, vms, policy: loaded() }), 0),
      },
      { rounds: ROUNDS, warmUps: WARM_UPS },
    );
    return [
      figure(`planner: a pass over ${VMS} VMs, ${DEVICES} devices, ${DEVICES} rules`, 'ms', samples.rules, {
        floor: { what: `${DEVICES} assignments, no rules`, samples: samples.assignments },
        goals: [{ of: 'p50', atMost: 10 }],
      }),
      figure(`the same, all ${DEVICES} devices new and to be attached`, 'ms', samples.plugged, {
        goals: [{ of: 'p50', atMost: 10 }],
      }),
      figure('the same at rest, the first pass after the policy was loaded', 'ms', samples.loaded),
    ];
  },
};

function timed(input: PlanInput, count: number): number {
  const start = performance.now();
  const { steps } = plan(input);
  const ms = performance.now() - start;
  if (steps.length !== count) throw new Error(`there are ${steps.length} steps, not ${count}`);
  return ms;
}
