// `npm test`: check, build, then the tests that need processes, QEMU and guests, the real Xen host among them. Any further
// words are test files: npm test -- test/qemu/driver.test.ts
// `--xen` (`npm run test:xen`) runs the Xen host and nothing else; `--whole` adds there what `npm test` has no time for,
// such as the whole driver contract for each kind of guest, and takes more than an hour. Xen hosts go one after the
// other: each occupies both cores of a small machine.
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const words = process.argv.slice(2);
const options = ['--xen', '--whole'];
const [isXenAlone, isWhole] = options.map((option) => words.includes(option));
const chosen = words.filter((word) => !options.includes(word));
if (words.length === 0) run(['scripts/check.mjs']);
run(['scripts/build.mjs']);
run(['lab/prepare.ts']);
const XEN = 'test/xen/*.test.ts';
/** HVM guests boot in a minute each; the rest is held elsewhere, too: docs/decisions/0019. */
const XEN_APART = ['contract-hvm', 'contract-pvh', 'examples', 'hvm', 'lab', 'life-cycle', 'lock-out'].map(
  (name) => `test/xen/${name}.test.ts`,
);
const find = (pattern, exclude) => globSync(pattern, { cwd: root, exclude }).sort();
if (isWhole) process.env.USHER_XEN_CONTRACT = 'whole';
if (chosen.length > 0) test(chosen, { concurrency: 2, minutes: 20 });
else {
  if (!isXenAlone) test(find('test/*/*.test.ts', ['test/house/**', XEN]), { concurrency: 2, minutes: 10 });
  test(find(XEN, isWhole ? [] : XEN_APART), { concurrency: 1, minutes: 40 });
}

function test(files, { concurrency, minutes }) {
  const limits = [`--test-concurrency=${concurrency}`, `--test-timeout=${minutes * 60_000}`];
  run(['--test', ...limits, '--test-reporter=spec', ...files]);
}

/** Runs Node with these words from the project's folder; a failure ends the whole run with its status. */
function run(args) {
  const { status, signal } = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) {
    console.error(`test: node ${args[0]} ended with ${signal ?? status}`);
    process.exit(status ?? 1);
  }
}
