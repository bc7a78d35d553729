/**
 * `npm run bench [-- NAME...] [--json FILE]`: measures and prints a table. A goal that is missed is printed as MISSED and
 * is no failure, for it may be the machine's; status 1 means that a benchmark could not run.
 */
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/lib/fault.ts';
import { attach } from './attach.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, tableOf } from './figures.ts';
import { type Fleet, makeFleet } from './fleet.ts';
import { list } from './list.ts';
import { memory } from './memory.ts';
import { monitorSocket } from './monitor-socket.ts';
import { monitors } from './monitors.ts';
import { planner } from './planner.ts';
import { reads } from './reads.ts';
import { recovery } from './recovery.ts';
import { replug } from './replug.ts';
import { routing } from './routing.ts';
import { saving } from './saving.ts';
import { xen } from './xen.ts';
import { xenstore } from './xenstore.ts';

/** The ones that end the daemon come last. */
const BENCHMARKS: readonly Benchmark[] = [
  ...[attach, replug, routing, planner, list, reads, monitorSocket, xenstore, saving, xen],
  ...[memory, monitors, recovery],
];

const { names, json } = readWords();
const load = loadavg()[0] ?? 0;
console.log(`bench: ${machine()}, load ${load.toFixed(1)} before we began`);
let fleet: Promise<Fleet> | undefined;
const context = {
  fleet() {
    fleet ??= makeFleet();
    return fleet;
  },
  tell: (text: string) => console.log(`       ${text}`),
};
const results: { readonly benchmark: string; readonly figures: readonly Figure[]; readonly error?: string }[] = [];
for (const { name, about, run } of BENCHMARKS.filter((benchmark) => names.has(benchmark.name))) {
  console.log(`bench: ${name}: ${about}`);
  try {
    results.push({ benchmark: name, figures: await run(context) });
  } catch (error) {
    console.error(`bench: ${name} could not run: ${error instanceof Error ? error.stack : messageOf(error)}`);
    results.push({ benchmark: name, figures: [], error: messageOf(error) });
  }
}
await fleet?.then((made) => made.clear()).catch(() => undefined);

const figures = results.flatMap((result) => result.figures);
console.log(`\n${tableOf(figures).join('\n')}`);
if (json !== undefined) {
  const at = new Date().toISOString();
  writeFileSync(json, `${JSON.stringify({ at, machine: machine(), load, results }, null, 2)}\n`);
}
const missed = figures.filter(({ goals }) => goals.some((goal) => !goal.isMet)).length;
const failed = results.filter(({ error }) => error !== undefined).length;
console.log(`\nbench: ${figures.length} figures, ${missed} missed their goal, ${failed} benchmarks could not run`);
process.exit(failed === 0 ? 0 : 1);

function readWords(): { names: ReadonlySet<string>; json: string | undefined } {
  const all = BENCHMARKS.map(({ name }) => name);
  try {
    const { values, positionals } = parseArgs({ options: { json: { type: 'string' } }, allowPositionals: true });
    const stranger = positionals.find((name) => !all.includes(name));
    if (stranger !== undefined) throw new Error(`there is no benchmark "${stranger}", one of: ${all.join(' ')}`);
    return { names: new Set(positionals.length === 0 ? all : positionals), json: values.json };
  } catch (error) {
    console.error(`bench: ${messageOf(error)}`);
    process.exit(2);
  }
}

function machine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  const memoryGiB = Math.round(totalmem() / 1024 ** 3);
  return `${availableParallelism()} cores of ${model}, ${memoryGiB} GiB, Linux ${release()}, Node ${process.versions.node}`;
}
