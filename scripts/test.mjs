// `npm test`: check, build, then the tests that need processes, QEMU and guests. Any further words are test files:
//   npm test -- test/qemu/driver.test.ts
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const chosen = process.argv.slice(2);
if (chosen.length === 0) run(['scripts/check.mjs']);
run(['scripts/build.mjs']);
run(['lab/prepare.ts']);
const files =
  chosen.length > 0 ? chosen : globSync('test/*/*.test.ts', { cwd: root, exclude: ['test/house/**'] }).sort();
run(['--test', '--test-concurrency=2', '--test-timeout=600000', '--test-reporter=spec', ...files]);

/** Runs Node with these words from the project's folder; a failure ends the whole run with its status. */
function run(args) {
  const { status, signal } = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) {
    console.error(`test: node ${args[0]} ended with ${signal ?? status}`);
    process.exit(status ?? 1);
  }
}
