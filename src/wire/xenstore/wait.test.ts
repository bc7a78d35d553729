/** Waiting for nodes: at once, later, across a lost connection, in vain; and what it costs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { isFault } from '../../lib/fault.ts';
import { isXenstoreError } from './error.ts';
import { Calls, memoryRig, until } from './testing/memory-rig.ts';
import type { XenstoreView } from './wait.ts';

const OPTIONS = { what: 'The node', timeoutMs: 5000 };
const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 20));

test('gives what is there already for the price of the reads', async (t) => {
  const { client } = await memoryRig(t);
  await client.write('/a', '1');
  const begun = client.requestCount;
  assert.equal(await client.waitFor(({ read }) => read('/a'), OPTIONS), '1');
  assert.equal(client.requestCount - begun, 1);
});

test('asks again when what it read changes, and for no other change', async (t) => {
  const { client, daemon } = await memoryRig(t);
  const asked = new Calls<string | undefined>();
  const waiting = client.waitFor(async ({ read }) => {
    const state = await read('/device/state');
    asked.take(state);
    return state === '4' ? 'connected' : undefined;
  }, OPTIONS);
  await until(() => daemon.store.watches.length === 1 && asked.seen.length >= 2);
  await settle();
  const before = asked.seen.length;
  for (let i = 0; i < 20; i++) await client.write(`/device/other/${i}`, '1');
  await client.write('/device/state/below', '1');
  await settle();
  const noise = asked.seen.length;
  await client.write('/device/state', '3');
  await settle();
  await client.write('/device/state', '4');
  assert.equal(await waiting, 'connected');
  assert.ok(noise - before <= 1, 'only the node itself was of interest');
  assert.ok(asked.seen.includes('3'));
  await until(() => daemon.store.watches.length === 0);
});

test('watches what the predicate comes to read only later', async (t) => {
  const { client } = await memoryRig(t);
  const waiting = client.waitFor(async ({ read }) => {
    const place = await read('/pointer');
    return place === undefined ? undefined : read(place);
  }, OPTIONS);
  await settle();
  await client.write('/pointer', '/target');
  await settle();
  await client.write('/target', 'here');
  assert.equal(await waiting, 'here');
});

test('sees names come and go', async (t) => {
  const { client } = await memoryRig(t);
  await client.write('/list/a', '');
  const look = async ({ directory }: XenstoreView) => {
    const names = await directory('/list');
    return names?.length === 0 ? 'empty' : undefined;
  };
  const waiting = client.waitFor(look, OPTIONS);
  await settle();
  await client.rm('/list/a');
  assert.equal(await waiting, 'empty');
});

test('misses no change, whenever it comes', async (t) => {
  const { client, daemon } = await memoryRig(t);
  // The change is made just after the request with this number was answered.
  for (let moment = 1; moment <= 6; moment++) {
    const path = `/moment/${moment}`;
    let count = 0;
    daemon.mischief = ({ name, fields }) => {
      if (fields[0] === path && name !== 'WRITE' && ++count === moment)
        setImmediate(() => void client.write(path, 'now').catch(() => {}));
      return undefined;
    };
    const waiting = client.waitFor(({ read }) => read(path), { what: 'It', timeoutMs: 300 });
    if (moment > 3) setTimeout(() => void client.write(path, 'now').catch(() => {}), 50);
    assert.equal(await waiting, 'now', `moment ${moment}`);
  }
});

test('ends with a timeout that says what was waited for, and leaves nothing behind', async (t) => {
  const clock = new ManualClock();
  const { client, daemon } = await memoryRig(t, { client: { clock } });
  const waiting = client.waitFor(({ read }) => read('/a'), OPTIONS).catch((error: unknown) => error);
  await until(() => daemon.store.watches.length === 1);
  await clock.advance(5000);
  const error = await waiting;
  assert.ok(isFault(error, 'timeout') && error.message === 'The node took longer than 5 s.');
  await until(() => daemon.store.watches.length === 0);
  assert.equal(clock.waiting, 0);
});

test('ends by its signal, by what the predicate throws, and when the client is closed', async (t) => {
  const { client, daemon } = await memoryRig(t);
  const abort = new AbortController();
  const aborted = client.waitFor(({ read }) => read('/a'), { ...OPTIONS, signal: abort.signal });
  await settle();
  abort.abort();
  await assert.rejects(aborted, (error) => isFault(error, 'aborted'));

  const thrown = client.waitFor(async ({ read }) => {
    if ((await read('/b')) !== undefined) throw new RangeError('not that');
    return undefined;
  }, OPTIONS);
  await settle();
  await client.write('/b', '1');
  await assert.rejects(thrown, RangeError);
  await until(() => daemon.store.watches.length === 0);

  const closed = client.waitFor(({ read }) => read('/c'), OPTIONS);
  await settle();
  client.close();
  await assert.rejects(closed, (error) => isFault(error, 'aborted'));
});

test('ends when a watch is refused, and leaves none of the others behind', async (t) => {
  const { client, daemon } = await memoryRig(t);
  daemon.mischief = ({ name, fields }) => (name === 'WATCH' && fields[0] === '/a' ? { errno: 'E2BIG' } : undefined);
  const waiting = client.waitFor(async ({ read }) => {
    await Promise.all([read('/a'), read('/b'), read('/c')]);
    return undefined;
  }, OPTIONS);
  await assert.rejects(waiting, (error) => isXenstoreError(error, 'E2BIG'));
  await until(() => daemon.store.watches.length === 0);
});

test('waits out a lost connection, twice', async (t) => {
  const { client, daemon, path } = await memoryRig(t);
  const states = new Calls<boolean>();
  client.onState(states.take);
  const waiting = client.waitFor(({ read }) => read('/a'), OPTIONS);
  await settle();
  await daemon.die();
  await states.until(1);
  await settle();
  await daemon.listen(path);
  await states.until(2);
  daemon.cut();
  assert.deepEqual(await states.until(4), [false, true, false, true]);
  await client.write('/a', 'back');
  assert.equal(await waiting, 'back');
});
