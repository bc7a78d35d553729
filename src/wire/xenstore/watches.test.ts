/** Watches with a depth, closed ones, late ones. What xenstored tells when is in the conformance suite. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { isFault } from '../../lib/fault.ts';
import { isXenstoreError } from './error.ts';
import { Calls, memoryRig, until } from './testing/memory-rig.ts';

const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 20));

test('hears only of levels down to its depth', async (t) => {
  const { client } = await memoryRig(t);
  const calls = new Calls<string>();
  for (const depth of [0, 1, 2])
    await client.watch('/a', (path) => path !== '/a' && calls.take(`${depth} ${path}`), { depth });
  for (const path of ['/a/b', '/a/b/c', '/a/b/c/d']) await client.write(path, '1');
  await settle();
  assert.deepEqual(calls.seen, ['1 /a/b', '2 /a/b', '2 /a/b/c']);
});

test('costs one request each', async (t) => {
  const { client } = await memoryRig(t);
  const begun = client.requestCount;
  await client.watch('/a', () => {}, { depth: 1 });
  await client.watch('@releaseDomain', () => {});
  assert.equal(client.requestCount - begun, 2);
});

test('tells that domains come and go', async (t) => {
  const { client } = await memoryRig(t);
  const calls = new Calls<string>();
  await client.watch('@introduceDomain', calls.take);
  await client.watch('@releaseDomain', calls.take);
  await client.introduce(5, 1n, 1);
  await client.release(5);
  assert.deepEqual(await calls.until(4), ['@introduceDomain', '@releaseDomain', '@introduceDomain', '@releaseDomain']);
});

test('hears nothing after it was closed, not even what was on the way', async (t) => {
  const { client, daemon } = await memoryRig(t);
  const calls: string[] = [];
  const watch = await client.watch('/a', (path) => calls.push(path));
  await settle();
  daemon.hold();
  await Promise.race([client.write('/a', '1'), settle()]);
  watch.close();
  watch.close();
  daemon.release();
  await settle();
  assert.deepEqual(calls, ['/a']);
  assert.equal(daemon.store.watches.length, 0);
  assert.equal(daemon.received.filter(({ name }) => name === 'UNWATCH').length, 1);
});

test('may close itself while it is told', async (t) => {
  const { client } = await memoryRig(t);
  const calls = new Calls<string>();
  const watch = await client.watch('/a', (path) => {
    calls.take(path);
    if (path === '/a/b') watch.close();
  });
  for (const path of ['/a/b', '/a/c']) await client.write(path, '1');
  await settle();
  assert.deepEqual(calls.seen, ['/a', '/a/b']);
});

test('two watches of the same place are told both, and one goes on without the other', async (t) => {
  const { client } = await memoryRig(t);
  const [first, second] = [new Calls<string>(), new Calls<string>()];
  const watch = await client.watch('/a', first.take);
  await client.watch('/a', second.take);
  watch.close();
  await client.write('/a', '1');
  await second.until(2);
  assert.deepEqual(first.seen, ['/a']);
});

test('is undone when it was granted too late, or is refused', async (t) => {
  const clock = new ManualClock();
  const { client, daemon } = await memoryRig(t, { client: { clock } });
  const calls: string[] = [];
  daemon.hold();
  const late = client.watch('/a', (path) => calls.push(path), { timeoutMs: 100 }).catch((error: unknown) => error);
  await settle();
  await clock.advance(100);
  assert.ok(isFault(await late, 'timeout'));
  daemon.release();
  await until(() => daemon.store.watches.length === 0);
  daemon.mischief = ({ name }) => (name === 'WATCH' ? { errno: 'E2BIG' } : undefined);
  await assert.rejects(
    client.watch('/a', (path) => calls.push(path)),
    (error) => isXenstoreError(error, 'E2BIG'),
  );
  await assert.rejects(
    client.watch('/a//b', (path) => calls.push(path)),
    (error) => isFault(error, 'params.invalid'),
  );
  assert.deepEqual(calls, []);
});

test('ends with all others when they are reset', async (t) => {
  const { client, daemon } = await memoryRig(t);
  const calls = new Calls<string>();
  await client.watch('/a', calls.take);
  await client.resetWatches();
  await client.write('/a', '1');
  daemon.cut();
  await settle();
  assert.deepEqual(calls.seen, ['/a']);
  assert.equal(daemon.store.watches.length, 0);
});
