// `npm run check`: types, lint and format, unit tests (the layers test is one of them). Prints one line a step.
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const bin = (name) => join(root, 'node_modules', '.bin', name);
const tests = globSync(['src/**/*.test.ts', 'lab/**/*.test.ts', 'test/house/*.test.ts'], { cwd: root }).sort();
const steps = [
  ['types', bin('tsc'), ['-p', '.']],
  ['lint and format', bin('biome'), ['check', '--error-on-warnings', '.']],
  [
    'unit tests',
    process.execPath,
    ['--test', '--test-isolation=none', '--test-timeout=60000', '--test-reporter=dot', ...tests],
  ],
];
for (const [name, command, args] of steps) {
  const start = performance.now();
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  console.log(
    `check: ${name} ${status === 0 ? 'ok' : 'FAILED'} (${((performance.now() - start) / 1000).toFixed(1)} s)`,
  );
  if (status !== 0) process.exit(1);
}
