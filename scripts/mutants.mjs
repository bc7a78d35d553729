// `npm run test:mutants`: switches each cure off in turn, in a copy of the tree, and sees its test fail. Words choose:
//   npm run test:mutants -- planner 7 "audit trail"       parts of what is broken: known issue 7, or any text
// The tables are in test/mutants/. A mutant is wrong, and so is this run, when its text is not in its file exactly once, when
// its test fails without it, and when the mutated file does not load.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { run } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { MUTANTS, misplaced } from '../test/mutants/all.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const TEST_MS = 300_000;
/** Of property tests: as many as it takes to find what is rare. */
const RUNS = '10000';
/** What is wrong with the program, and not with what it does. */
const NOT_A_FINDING = new Set(['SyntaxError', 'ReferenceError', 'TypeError']);

const words = process.argv.slice(2);
const mutants = MUTANTS.filter(isChosen);
const copy = mkdtempSync(join(tmpdir(), 'usher-mutants-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
// Links stay as they are, or the launchers in the copy's bin/ would run the bundle of this tree.
for (const name of ['src', 'test', 'lab', 'scripts', 'bin', 'docs', 'share', 'guest', 'package.json']) {
  cpSync(join(root, name), join(copy, name), { recursive: true, verbatimSymlinks: true });
}
symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));

const wrong = mutants.flatMap((mutant) => misplaced(mutant, root));
if (wrong.length > 0) fail(wrong);
const sound = new Set();
const rows = [];
for (const mutant of mutants) {
  const start = performance.now();
  const [is, detail] = await tryMutant(mutant);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  rows.push({ is, row: [mutant.breaks, mutant.off, `${mutant.test.file} "${mutant.test.name}"`, is, `${seconds} s`] });
  console.log(`mutants: ${rows.length} of ${mutants.length}, ${mutant.breaks}, ${mutant.off}: ${is}${detail}`);
}
printTable(rows.map(({ row }) => row));
const bad = rows.filter(({ is }) => is !== 'found');
console.log(`mutants: ${rows.length - bad.length} of ${rows.length} found`);
process.exitCode = bad.length > 0 || rows.length === 0 ? 1 : 0;

/** A number is a known issue's; anything else is looked for in what is broken and how. */
function isChosen({ breaks, off }) {
  const isMeant = (word) =>
    /^\d+$/.test(word) ? breaks === `known issue ${word}` : `${breaks}: ${off}`.includes(word);
  return words.length === 0 || words.some(isMeant);
}

/** Gives the word for how it went, and what to say of it. */
async function tryMutant({ file, from, to, test, runs }) {
  const key = `${test.file} ${test.name}`;
  if (!sound.has(key)) {
    if (needsBundle(test)) build();
    const { passed, failures } = await runTest(test);
    if (failures.length > 0) return ['FAILS WITHOUT IT', `: ${failures[0].says}`];
    if (passed === 0) return ['NOT RUN', ': no test of that name was run here'];
    sound.add(key);
  }
  const path = join(copy, file);
  const text = readFileSync(path, 'utf8');
  // By a function: in a text, $& and the like would be replaced.
  writeFileSync(
    path,
    text.replace(from, () => to),
  );
  try {
    const load = ['--input-type=module', '--eval', `await import(${JSON.stringify(pathToFileURL(path).href)})`];
    const { status, stderr } = spawnSync(process.execPath, load, { cwd: copy, encoding: 'utf8', timeout: TEST_MS });
    if (status !== 0) return ['DOES NOT LOAD', `: ${stderr.trim().split('\n').slice(0, 8).join(' ')}`];
    if (needsBundle(test)) build();
    const { failures } = await runTest(test, runs === true ? RUNS : undefined);
    if (failures.length === 0) return ['SURVIVES', ''];
    const finding = failures.find(({ isFinding }) => isFinding);
    return finding === undefined ? ['BREAKS THE PROGRAM', `: ${failures[0].says}`] : ['found', ` (${finding.says})`];
  } finally {
    writeFileSync(path, text);
  }
}

/** Runs the tests of that name and tells how many passed, and what failed. */
async function runTest({ file, name }, runs) {
  const before = process.env.USHER_RUNS;
  if (runs !== undefined) process.env.USHER_RUNS = runs;
  const failures = [];
  let passed = 0;
  const pattern = new RegExp(name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const events = run({
    ...{ files: [join(copy, file)], cwd: copy, testNamePatterns: [pattern], timeout: TEST_MS },
    execArgv: ['--test-force-exit'], // A mutant may leave open whatever it likes.
  });
  for await (const { type, data } of events) {
    // A suite passes or fails with its tests; a file that does not load is told as a test with the file's name.
    if (data.details?.type === 'suite') continue;
    if (type === 'test:pass' && data.skip === undefined) passed += 1;
    if (type === 'test:fail') failures.push(failureOf(data));
  }
  if (before === undefined) delete process.env.USHER_RUNS;
  else process.env.USHER_RUNS = before;
  return { passed, failures };
}

function failureOf({ name, file, details: { error } }) {
  const causes = [];
  for (let cause = error?.cause; cause !== undefined && causes.length < 5; cause = cause.cause) causes.push(cause);
  const last = causes.find(({ code }) => code === 'ERR_ASSERTION') ?? causes.at(-1);
  const isFile = name === file || String(file).endsWith(name);
  const isFinding = !isFile && last !== undefined && !NOT_A_FINDING.has(last.name);
  const says = String(last?.message ?? last ?? error?.message ?? 'no reason')
    .trim()
    .split('\n')[0];
  return { isFinding, says: `${name}: ${says}`.slice(0, 200) };
}

function needsBundle({ file }) {
  return file.startsWith('test/daemon/');
}

/** Makes the bundle that the commands and daemons of tests run. */
function build() {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/build.mjs'], { cwd: copy, encoding: 'utf8' });
  if (status !== 0) fail([`the bundle cannot be made: ${stderr}`]);
}

function printTable(table) {
  const head = ['breaks', 'switched off', 'test', 'is', 'took'];
  const widths = head.map((title, i) => Math.max(title.length, ...table.map((row) => row[i].length)));
  for (const row of [head, widths.map((width) => '-'.repeat(width)), ...table]) {
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    );
  }
}

function fail(lines) {
  for (const line of lines) console.error(`mutants: ${line}`);
  process.exit(1);
}
