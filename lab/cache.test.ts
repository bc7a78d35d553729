import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cached, cacheFolder } from './cache.ts';

const quiet = () => undefined;

suite('the cache of artifacts', () => {
  let root: string;
  let source: string;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'usher-cache-'));
    source = join(root, 'source');
    await writeFile(source, 'one');
  });
  after(() => rm(root, { recursive: true }));

  const folderOf = (name: string) => join(root, name);
  const write = (text: string) => (folder: string) => writeFile(join(folder, 'text'), text);

  test('is found by the environment', () => {
    assert.equal(cacheFolder({ USHER_CACHE: '/a', XDG_CACHE_HOME: '/b' }), '/a');
    assert.equal(cacheFolder({ XDG_CACHE_HOME: '/b' }), '/b/usher');
    assert.match(cacheFolder({}), /\/\.cache\/usher$/);
  });

  test('builds once, tells so, and again when a file or a parameter changes', async () => {
    const options = { root: folderOf('once'), report: (line: string) => void told.push(line) };
    const told: string[] = [];
    let builds = 0;
    const build = async (folder: string) => write(`${++builds}`)(folder);
    const first = await cached('thing', { files: [source] }, build, options);
    assert.equal(await cached('thing', { files: [source] }, build, options), first);
    const other = await cached('thing', { files: [source], parameters: { size: 1 } }, build, options);
    await writeFile(source, 'two');
    const third = await cached('thing', { files: [source] }, build, options);
    assert.equal(new Set([first, other, third]).size, 3);
    assert.equal(await readFile(join(third, 'text'), 'utf8'), '3');
    assert.equal(told.length, 3);
    assert.match(told[0] ?? '', /^lab: built thing \(\d+\.\d s\)$/);
  });

  test('removes versions that were not used lately, and only of the same name', async () => {
    const options = { root: folderOf('older'), report: quiet };
    const version = (name: string, size: number) =>
      cached(name, { files: [], parameters: { size } }, write(''), options);
    const longAgo = new Date(Date.now() - 24 * 3_600_000);
    for (const path of [await version('a', 1), await version('a-b', 1)]) await utimes(path, longAgo, longAgo);
    const recent = await version('a', 2);
    const newest = await version('a', 3);
    const left = (await readdir(options.root)).filter((entry) => !entry.startsWith('.'));
    assert.equal(left.length, 3);
    for (const path of [recent, newest]) assert.ok(left.includes(path.split('/').at(-1) ?? ''));
  });

  test('leaves nothing of a build that fails', async () => {
    const options = { root: folderOf('failing'), report: quiet };
    await assert.rejects(
      cached('thing', { files: [] }, () => Promise.reject(new Error('no')), options),
      /^Error: no$/,
    );
    assert.deepEqual(await readdir(options.root), ['.thing.lock']);
    await cached('thing', { files: [] }, write('yes'), options);
    await assert.rejects(cached('thing', { files: ['/nowhere/to/be/found'] }, write(''), options), /cannot be read/);
  });

  test('has one of several builders build', async () => {
    const options = { root: folderOf('several'), report: quiet };
    let builds = 0;
    const build = async (folder: string) => {
      builds++;
      await new Promise((resolve) => setTimeout(resolve, 50));
      await write('done')(folder);
    };
    const paths = await Promise.all([1, 2, 3].map(() => cached('thing', { files: [] }, build, options)));
    assert.equal(builds, 1);
    assert.equal(new Set(paths).size, 1);
  });

  test('is not blocked by a builder that was killed', { timeout: 30_000 }, async () => {
    const options = { root: folderOf('killed'), report: quiet };
    const cache = fileURLToPath(new URL('cache.ts', import.meta.url));
    const script = `import { cached } from ${JSON.stringify(cache)};
      await cached('thing', { files: [] }, () => { console.log('building'); return new Promise(() => setInterval(() => 0, 1000)); },
        { root: ${JSON.stringify(options.root)} });`;
    const builder = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(builder.stdout, 'data');
    const waiting = cached('thing', { files: [] }, write('mine'), options);
    builder.kill('SIGKILL');
    assert.equal(await readFile(join(await waiting, 'text'), 'utf8'), 'mine');
    assert.deepEqual((await readdir(options.root)).length, 2); // The artifact and the lock.
  });
});
