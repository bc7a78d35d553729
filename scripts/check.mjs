// `npm run check`: types, lint and format, unit tests (the layers test is one of them). Prints one line a step.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const bin = (name) => join(root, 'node_modules', '.bin', name);
const tests = globSync(['src/**/*.test.ts', 'lab/**/*.test.ts', 'test/house/*.test.ts'], { cwd: root }).sort();
/** A file in a process of its own costs its start; so each processor has one process with its share of the files. */
const groups = Object.values(Object.groupBy(tests, (path) => tests.indexOf(path) % availableParallelism()));
const unitTests = ['--test', '--test-isolation=none', '--test-timeout=300000', '--test-reporter=dot'];
const steps = [
  ['types', [[bin('tsc'), '-p', '.']]],
  ['lint and format', [[bin('biome'), 'check', '--error-on-warnings', '.']]],
  ['unit tests', groups.map((group) => [process.execPath, ...unitTests, ...group])],
];
for (const [name, commands] of steps) {
  const start = performance.now();
  const isGood = (await Promise.all(commands.map(succeeds))).every(Boolean);
  console.log(`check: ${name} ${isGood ? 'ok' : 'FAILED'} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  if (!isGood) process.exit(1);
}

async function succeeds([command, ...args]) {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  const [status] = await once(child, 'exit');
  return status === 0;
}
