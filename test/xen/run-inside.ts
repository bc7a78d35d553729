/**
 * Runs a test file inside dom0 and tells its tests here: the file is bundled, carried in and run by dom0's Node; what
 * each of its tests came to is registered as a subtest of the one that runs it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { RunResult } from '../../lab/host-control.ts';
import type { Report } from './inside/reporter.ts';

/** What this needs of a host. */
export interface InsideHost {
  run(script: string, options?: { timeoutMs?: number }): Promise<RunResult>;
}

/** Where the cargo of {@link insideCargo} is in dom0. */
const FOLDER = '/cargo/inside';
const REPORTER = fileURLToPath(new URL('inside/reporter.ts', import.meta.url));
const REPORTS = '/run/usher-reports';

/**
 * Bundles each of the programs, by the path of its source, and the reporter into a new folder: the cargo `inside`, where
 * a program is NAME.mjs. Native modules are found beside the cargo `dist`. The caller removes the folder by `remove`.
 */
export async function insideCargo(...sources: readonly string[]): Promise<{ folder: string; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'usher-inside-'));
  await build({
    entryPoints: Object.fromEntries([REPORTER, ...sources].map((path) => [basename(path, '.ts'), path])),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    logLevel: 'warning',
    external: ['koffi'],
    // Under a name of its own: what is bundled may import createRequire, too.
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf('/cargo/dist/');",
    },
  });
  return { folder, remove: () => rm(folder, { recursive: true }) };
}

/** What a run inside dom0 came to. */
export interface InsideRun {
  readonly name: string;
  readonly reports: readonly Report[];
  readonly status: number;
  readonly output: string;
}

interface InsideOptions {
  readonly timeoutMs: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs the bundle of that name in dom0 to its end, and registers what it reports below `t`. */
export async function runInside(t: TestContext, host: InsideHost, name: string, options: InsideOptions): Promise<void> {
  await tellInside(t, await doInside(host, name, options));
}

/** Runs the bundle of that name in dom0 to its end. */
export async function doInside(
  host: InsideHost,
  name: string,
  { timeoutMs, env = {} }: InsideOptions,
): Promise<InsideRun> {
  const words = Object.entries(env).map(([key, value]) => `${key}='${value.replaceAll("'", "'\\''")}'`);
  const reporter = `--test-reporter=${FOLDER}/reporter.mjs --test-reporter-destination=${REPORTS}`;
  const command = `NODE_PATH=/cargo/dist/node_modules ${words.join(' ')} node ${reporter} ${FOLDER}/${name}.mjs`;
  const { status, output } = await host.run(`rm -f ${REPORTS}; ${command}`, { timeoutMs });
  const reported = await host.run(`cat ${REPORTS}`);
  const reports = reported.output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Report);
  return { name, reports, status, output };
}

/** Registers below `t` what a run reported. */
export async function tellInside(t: TestContext, { name, reports, status, output }: InsideRun): Promise<void> {
  const tests = reports.filter(({ isSuite }) => !isSuite);
  for (const { name: title, outcome, ms, error } of tests) {
    await t.test(`${title} (${Math.round(ms)} ms in dom0)`, { skip: outcome === 'skipped' }, () => {
      if (outcome === 'failed') throw new Error(error);
    });
  }
  const failed = reports.filter(({ outcome }) => outcome === 'failed');
  if (tests.length === 0 || (status !== 0 && failed.length === 0)) {
    throw new Error(
      `${name} ended in dom0 with status ${status} after ${tests.length} tests and said:\n${output.slice(-4000)}`,
    );
  }
  for (const { isSuite, name: title, error } of failed) if (isSuite) t.diagnostic(`suite "${title}" failed: ${error}`);
}
