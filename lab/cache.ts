/**
 * The folder of things that are built once: kernels, guest images. An artifact is a folder keyed by its recipe, so that
 * it is built again when the recipe changes and never otherwise. Not a cache of the daemon: tests and demo only.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { withDeadline } from '../src/lib/deadline.ts';
import { errnoOf, Fault, messageOf } from '../src/lib/fault.ts';

/** What an artifact is made from: another content of a file, or another parameter, is another artifact. */
export interface Recipe {
  /** Absolute paths of the files that decide how it is built: the sources, and what is copied in. */
  readonly files: readonly string[];
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
}

export interface CacheOptions {
  /** Default: `cacheFolder()`. */
  readonly root?: string;
  /** Is told about each artifact that was built. Default: prints it. */
  readonly report?: (line: string) => void;
}

/** Another builder may take this long before a waiting one gives up. */
const LOCK_TIMEOUT_MS = 20 * 60_000;
/** An older version that was used later than this may serve a guest of another checkout that runs right now. */
const KEEP_UNUSED_MS = 60 * 60_000;
const KEY_LENGTH = 16;

/** Gives the cache folder: `$USHER_CACHE`, else `$XDG_CACHE_HOME/usher`, else `~/.cache/usher`. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env['USHER_CACHE'] || join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'usher');
}

/**
 * Gives the folder of the artifact `name` as `recipe` describes it, having `build` fill it when it is not there yet.
 * Of several processes one builds and the others wait; one that dies while building leaves nothing that blocks.
 * @throws what `build` throws; Fault `file.unreadable` for a file of the recipe, `timeout` for the lock.
 */
export async function cached(
  name: string,
  recipe: Recipe,
  build: (folder: string) => Promise<void>,
  options: CacheOptions = {},
): Promise<string> {
  const { root = cacheFolder(), report = console.log } = options;
  const target = join(root, `${name}-${await recipeKey(recipe)}`);
  if (await touch(target)) return target;
  await mkdir(root, { recursive: true });
  const unlock = await lock(join(root, `.${name}.lock`));
  try {
    if (await touch(target)) return target;
    await removeLeftovers(root, name);
    const start = performance.now();
    const temporary = await mkdtemp(join(root, `.${name}-`));
    try {
      await build(temporary);
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw error;
    }
    report(`lab: built ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
    await removeOlder(root, name, target);
    return target;
  } finally {
    await unlock();
  }
}

async function recipeKey({ files, parameters = {} }: Recipe): Promise<string> {
  const hash = createHash('sha256');
  for (const path of files) {
    const content = await readFile(path).catch((error: unknown) => {
      throw new Fault('file.unreadable', { file: path, what: messageOf(error) }, { cause: error });
    });
    hash.update(`${basename(path)} ${content.length}\n`).update(content);
  }
  for (const key of Object.keys(parameters).sort()) hash.update(`${JSON.stringify([key, parameters[key]])}\n`);
  return hash.digest('hex').slice(0, KEY_LENGTH);
}

/** Tells whether the artifact is there, and notes that it was used. */
async function touch(folder: string): Promise<boolean> {
  const now = new Date();
  try {
    await utimes(folder, now, now);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    return stat(folder).then(() => true); // A cache of another user: readable is enough.
  }
}

/** Removes what builders that died left behind; only the holder of the lock may. */
async function removeLeftovers(root: string, name: string): Promise<void> {
  const isLeftover = new RegExp(`^\\.${name}-.{6}$`);
  for (const entry of await readdir(root))
    if (isLeftover.test(entry)) await rm(join(root, entry), { recursive: true, force: true, maxRetries: 5 });
}

async function removeOlder(root: string, name: string, target: string): Promise<void> {
  const isVersion = new RegExp(`^${name}-[0-9a-f]{${KEY_LENGTH}}$`);
  for (const entry of await readdir(root)) {
    const path = join(root, entry);
    if (path === target || !isVersion.test(entry)) continue;
    const { mtimeMs } = await stat(path);
    if (Date.now() - mtimeMs > KEEP_UNUSED_MS) await rm(path, { recursive: true, force: true });
  }
}

/**
 * Takes the lock and gives the function that leaves it. The kernel's own lock, held by a `flock … cat` whose standard
 * input is ours: when this process dies in whatever way, `cat` ends and the lock is free. No file says who holds it.
 */
async function lock(path: string): Promise<() => Promise<void>> {
  const holder = spawn('flock', ['--exclusive', path, 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(holder, 'close').catch(() => undefined);
  const leave = async () => {
    holder.stdin.end();
    await ended;
  };
  holder.stdin.on('error', () => undefined);
  try {
    await withDeadline({ what: `The lock ${path}`, timeoutMs: LOCK_TIMEOUT_MS }, async (signal) => {
      holder.stdin.write('held\n'); // `cat` starts, and echoes this, once the lock is ours.
      const failed = Promise.race([once(holder, 'error', { signal }).then(([error]) => error as Error), ended]);
      const answer = await Promise.race([once(holder.stdout, 'data', { signal }), failed]);
      if (Array.isArray(answer)) return;
      throw new Fault('exec.failed', { command: `flock ${path}`, what: messageOf(answer ?? 'it ended') });
    });
  } catch (error) {
    holder.kill();
    throw error;
  }
  return leave;
}
