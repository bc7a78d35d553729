/** Fetches packages from Debian's archive as files: installs nothing, needs neither root nor apt's lock. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../src/lib/exec.ts';

const TIMEOUT_MS = 5 * 60_000;

/** The archive as one set of package lists knows it. */
export interface Archive {
  /** Lists the packages that this one depends on. @throws Fault `exec.failed` when there is no such package. */
  dependsOn(name: string): Promise<string[]>;
  /** Downloads just these packages and gives their files. @throws Fault `exec.failed`. */
  download(names: readonly string[]): Promise<string[]>;
  /** Downloads them with everything they depend on, as if nothing was installed, and gives the files. */
  downloadComplete(names: readonly string[]): Promise<string[]>;
}

/**
 * Has `fetch` get packages from the archive, into the folder `work`: with this machine's package lists or, when that
 * fails because they are missing or older than the archive, once more with fresh ones.
 * @throws what the second attempt throws: Fault `exec.failed`, `timeout`.
 */
export async function fromArchive<T>(work: string, fetch: (archive: Archive) => Promise<T>): Promise<T> {
  const attempt = async (options: readonly string[]) => {
    const files = join(work, 'files');
    await rm(files, { recursive: true, force: true });
    await mkdir(join(files, 'partial'), { recursive: true });
    return fetch(archiveWith(options, files));
  };
  try {
    return await attempt([]);
  } catch {
    await mkdir(join(work, 'lists/partial'), { recursive: true });
    const options = ['-o', `Dir::State::lists=${work}/lists`, '-o', `Dir::Cache=${work}/cache`];
    await mkdir(join(work, 'cache'), { recursive: true });
    await exec(['apt-get', '-q', ...options, 'update'], { timeoutMs: TIMEOUT_MS });
    return await attempt(options);
  }
}

function archiveWith(options: readonly string[], files: string): Archive {
  const listFiles = async () =>
    (await readdir(files))
      .filter((name) => name.endsWith('.deb'))
      .sort()
      .map((name) => join(files, name));
  return {
    async dependsOn(name) {
      const { stdout } = await exec(['apt-cache', ...options, 'depends', '--important', name], {
        timeoutMs: TIMEOUT_MS,
      });
      return [...stdout.matchAll(/^ *(?:Pre)?Depends: (\S+)/gm)].map(([, dependency = '']) => dependency);
    },
    async download(names) {
      await exec(['apt-get', '-q', ...options, 'download', ...names], { cwd: files, timeoutMs: TIMEOUT_MS });
      return listFiles();
    },
    async downloadComplete(names) {
      const places = ['Dir::State::status=/dev/null', `Dir::Cache=${files}`, `Dir::Cache::archives=${files}`];
      const own = [...places, 'Debug::NoLocking=1'].flatMap((option) => ['-o', option]);
      const install = ['--no-install-recommends', '--download-only', 'install', ...names];
      await exec(['apt-get', '-q', '-y', ...options, ...own, ...install], { timeoutMs: TIMEOUT_MS });
      return listFiles();
    },
  };
}
