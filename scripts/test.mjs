// `npm test`: check, build, then the tests that need processes, QEMU and guests, the real Xen host among them. Any further
// words are test files: npm test -- test/qemu/driver.test.ts
// `--xen` (`npm run test:xen`) runs the Xen host and nothing else; `--whole` adds there what `npm test` has no time for,
// such as the whole driver contract for each kind of guest, and takes two hours. Xen hosts go one after the
// other: each occupies both cores of a small machine.
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const words = process.argv.slice(2);
const options = ['--xen', '--whole'];
const [isXenAlone, isWhole] = options.map((option) => words.includes(option));
const chosen = words.filter((word) => !options.includes(word));
if (words.length === 0) runNode('scripts/check.mjs');
runNode('scripts/build.mjs');
runNode('lab/prepare.ts');
const XEN = 'test/xen/*.test.ts';
/** HVM guests boot in a minute each; the rest is held elsewhere, too: docs/decisions/0019. */
const XEN_APART = ['contract-hvm', 'contract-pvh', 'examples', 'hvm', 'lab', 'life-cycle', 'lock-out', 'policy'].map(
  (name) => `test/xen/${name}.test.ts`,
);
/** These take minutes: begun last, one of them would keep one core busy while the other has nothing left to do. */
const LONG = ['usb-host/usher', 'life-cycle/qemu', 'contract/qemu', 'faults/table.qemu', 'qemu/driver'].map(
  (name) => `test/${name}.test.ts`,
);
const longFirst = (files) => [...LONG, ...files.filter((file) => !LONG.includes(file))];
/** A file whose tests are over, or out of time, is over: what one of them has left open would keep it waiting for ever. */
const FORCED = ['--test-force-exit'];
const find = (pattern, exclude) => globSync(pattern, { cwd: root, exclude }).sort();
if (isWhole) process.env.USHER_XEN_CONTRACT = 'whole';
if (chosen.length > 0) await test(chosen, { concurrency: 2, minutes: 20 });
else {
  if (!isXenAlone) {
    await test(longFirst(find('test/*/*.test.ts', ['test/house/**', XEN])), { concurrency: 2, minutes: 10 });
  }
  await test(find(XEN, isWhole ? [] : XEN_APART), { concurrency: 1, minutes: 40 });
}

/** Runs these files in this order; a failure ends the whole run. */
async function test(files, { concurrency, minutes }) {
  const paths = files.map((file) => resolve(root, file));
  let failures = 0;
  const events = run({ files: paths, cwd: root, execArgv: FORCED, concurrency, timeout: minutes * 60_000 });
  events.on('test:fail', () => (failures += 1));
  for await (const text of events.compose(new spec())) process.stdout.write(text);
  if (failures > 0) process.exit(1);
}

/** Runs a script by this Node; its failure ends the whole run. */
function runNode(script) {
  const { status, signal } = spawnSync(process.execPath, [script], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status === 0) return;
  console.error(`test: ${script} ended with ${signal ?? status}`);
  process.exit(status ?? 1);
}
