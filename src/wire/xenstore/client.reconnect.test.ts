/** The standing client while its daemon is gone, comes back, hangs up at once or refuses; and its end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { type Log, silentLog } from '../../lib/log.ts';
import { faultOf } from '../testing/fault-of.ts';
import { XenstoreClient } from './client.ts';
import { Calls, memoryRig } from './testing/memory-rig.ts';

test('fails at once while there is no connection, with the reason', async (t) => {
  const clock = new ManualClock();
  const warnings = new Calls<string>();
  const log: Log = { ...silentLog, warn: warnings.take };
  const { client, daemon, path } = await memoryRig(t, { client: { clock, log } });
  await daemon.die();
  await warnings.until(1);
  assert.equal(client.isConnected, false);
  for (const ask of [
    () => client.read('/a'),
    () => client.watch('/a', () => {}),
    () => client.transaction(async () => 1),
    () => client.getDomainPath(1),
    () => client.directory('/'),
  ]) {
    assert.match((await faultOf(ask(), 'wire.closed')).message, new RegExp(`^The connection to ${path} was closed`));
  }
  // After a try that failed it is the same fault, with what was found.
  await clock.advance(5);
  await warnings.until(2);
  assert.match((await faultOf(client.read('/a'), 'wire.closed')).message, /there is no such socket/);
});

test('tells who asks in the very moment of the loss why there is no connection', async (t) => {
  const { client, daemon } = await memoryRig(t);
  daemon.hold();
  const asked = client.read('/a').catch(() => client.read('/b'));
  await Promise.resolve();
  daemon.cut();
  assert.match((await faultOf(asked, 'wire.closed')).message, /it hung up/);
});

test('fails what is under way when the connection is cut', async (t) => {
  const { client, daemon } = await memoryRig(t);
  daemon.hold();
  const asked = [client.read('/a'), client.write('/b', ''), client.directory('/')];
  await Promise.resolve();
  daemon.cut();
  for (const each of asked) await faultOf(each, 'wire.closed');
});

test('comes back, registers its watches again, and only then says that it is back', async (t) => {
  const { client, daemon, path } = await memoryRig(t);
  const calls = new Calls<string>();
  client.onState((isConnected) => calls.take(`connected ${isConnected}`));
  client.onResync(() => calls.take('resync'));
  await client.watch('/a', (changed) => calls.take(`a: ${changed}`));
  const closed = await client.watch('/closed', () => {});
  await calls.until(1);
  closed.close();
  await daemon.die();
  await calls.until(2);
  await daemon.listen(path);
  assert.deepEqual(await calls.until(5), ['a: /a', 'connected false', 'a: /a', 'connected true', 'resync']);
  assert.equal(client.isConnected, true);
  assert.equal(await client.read('/a'), undefined, 'a daemon that died has lost everything');
  await client.write('/a/b', '1');
  assert.equal((await calls.until(6)).at(-1), 'a: /a/b');
  assert.equal(daemon.store.watches.length, 1);
});

test('tries longer and longer, and again for a peer that hangs up at once', async (t) => {
  const clock = new ManualClock();
  const backoff = { firstMs: 100, capMs: 400, jitter: 0 };
  const tries = new Calls<unknown>();
  const log: Log = { ...silentLog, warn: (_message, fields) => tries.take(fields?.['reason']) };
  const { daemon, path, client } = await memoryRig(t, { client: { clock, backoff, log } });
  await clock.advance(60_000);
  await daemon.die();
  await tries.until(2);
  let count = 2;
  for (const delayMs of [100, 200, 400, 400]) {
    await clock.advance(delayMs - 1);
    assert.equal(tries.seen.length, count);
    await clock.advance(1);
    await tries.until(++count);
  }
  assert.match(String(tries.seen.at(-1)), /no such socket/);
  daemon.mischief = ({ name }) => (name === 'READ' ? 'hang up' : undefined);
  await daemon.listen(path);
  const states = new Calls<boolean>();
  client.onState(states.take);
  await clock.advance(400);
  await states.until(1);
  await faultOf(client.read('/a'), 'wire.closed');
  await clock.advance(399);
  const other = await XenstoreClient.connect({ path }); // Had it tried again at once, it would be there before this one.
  await other.directory('/');
  other.close();
  assert.equal(client.isConnected, false, 'a session that lived shortly is a failure');
  daemon.mischief = () => undefined;
  await clock.advance(1);
  await states.until(3);
});

test('starts over when it is cut off while it registers its watches', async (t) => {
  const { client, daemon, path } = await memoryRig(t);
  for (const place of ['/a', '/b', '/c']) await client.watch(place, () => {});
  const states = new Calls<boolean>();
  client.onState(states.take);
  await daemon.die();
  let watches = 0;
  daemon.mischief = ({ name }) => (name === 'WATCH' && ++watches === 2 ? 'hang up' : undefined);
  await daemon.listen(path);
  assert.deepEqual(await states.until(2), [false, true]);
  assert.equal(daemon.store.watches.length, 3);
});

test('keeps a watch that is refused after a reconnect, and says so', async (t) => {
  const warnings: string[] = [];
  const log: Log = { ...silentLog, warn: (message) => warnings.push(message) };
  const { client, daemon } = await memoryRig(t, { client: { log } });
  const calls = new Calls<string>();
  await client.watch('/a', calls.take);
  await calls.until(1);
  const resyncs = new Calls<undefined>();
  client.onResync(() => resyncs.take(undefined));
  daemon.mischief = ({ name }) => (name === 'WATCH' ? { errno: 'E2BIG' } : undefined);
  daemon.cut();
  await resyncs.until(1);
  assert.deepEqual(calls.seen, ['/a', '/a'], 'its listener is told that something may have changed');
  assert.ok(warnings.some((warning) => warning.includes('refuses a watch')));
  daemon.mischief = () => undefined;
  daemon.cut();
  await resyncs.until(2);
  await client.write('/a', '1');
  assert.equal(daemon.store.watches.length, 1);
});

test('survives listeners that throw', async (t) => {
  const errors: string[] = [];
  const log: Log = { ...silentLog, error: (message) => errors.push(message) };
  const { client, daemon } = await memoryRig(t, { client: { log } });
  const fail = () => {
    throw new TypeError('a bug');
  };
  const calls = new Calls<string>();
  await client.watch('/a', fail);
  await client.watch('/a', calls.take);
  client.onResync(fail);
  client.onState(fail);
  client.onResync(() => calls.take('resync'));
  daemon.cut();
  await calls.until(3);
  assert.equal(client.isConnected, true);
  assert.equal(errors.length, 5);
});

test('closes for good, in every state', async (t) => {
  const up = await memoryRig(t);
  const calls: string[] = [];
  await up.client.watch('/a', (path) => calls.push(path));
  up.client.onState(() => calls.push('state'));
  const held = up.client.read('/a');
  up.client.close();
  up.client.close();
  await faultOf(held, 'wire.closed');
  await faultOf(up.client.read('/a'), 'wire.closed');
  assert.equal(up.client.isConnected, false);

  const clock = new ManualClock();
  const down = await memoryRig(t, { client: { clock } });
  const states = new Calls<boolean>();
  down.client.onState(states.take);
  await down.daemon.die();
  await states.until(1);
  down.client.close();
  assert.equal(clock.waiting, 0);
  await down.daemon.listen(down.path);
  await clock.advance(60_000);
  assert.deepEqual(down.daemon.received.length, 1);
  assert.deepEqual(states.seen, [false]);
  assert.ok(!calls.includes('state'));
});
