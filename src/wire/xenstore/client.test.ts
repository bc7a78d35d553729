/** The standing client against an in-memory daemon that is cut off, dies, comes back, refuses and stays silent. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { isFault } from '../../lib/fault.ts';
import { type Log, silentLog } from '../../lib/log.ts';
import { XenstoreClient } from './client.ts';
import { isXenstoreError } from './error.ts';
import { Calls, memoryRig, socketPlace } from './testing/memory-rig.ts';

/** Waits for the rejection and gives it, if it is a fault of that code. */
async function faultOf(promise: Promise<unknown>, code: Parameters<typeof isFault>[1]) {
  const error = await promise.then(
    () => assert.fail(`no ${code}`),
    (thrown: unknown) => thrown,
  );
  if (!isFault(error, code as 'internal')) assert.fail(`not ${code}: ${error}`);
  return error;
}

test('is refused, with a hint, when nobody answers there', async (t) => {
  const path = socketPlace(t);
  const missing = await faultOf(XenstoreClient.connect({ path }), 'xenstore.unreachable');
  assert.equal(missing.message, `No xenstored answers at ${path}: there is no such socket.`);
  assert.match(missing.hint ?? '', /xenstored running/);

  writeFileSync(path, '');
  for (const other of [path, '/dev/null', '/dev/ptmx'])
    await faultOf(XenstoreClient.connect({ path: other }), 'xenstore.unreachable');
});

test('is refused by a peer that is stuck, hangs up or talks otherwise, without waiting for ever', async (t) => {
  const path = socketPlace(t);
  const welcomes = [() => {}, 'end', 'hello, this is no xenstored'] as const;
  let welcome: (typeof welcomes)[number] = welcomes[0];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    if (welcome === 'end') socket.end();
    else if (typeof welcome === 'string') socket.end(welcome);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => server.close());
  for (const [at, why] of [/longer than 0\.05 s/, /hung up/, /does not speak xenstore/].entries()) {
    welcome = welcomes[at] ?? 'end';
    const fault = await faultOf(XenstoreClient.connect({ path, openTimeoutMs: 50 }), 'xenstore.unreachable');
    assert.match(`${fault.message} ${(fault.cause as Error).message}`, why);
  }
});

test('gives up the first connection by a signal', async (t) => {
  const path = socketPlace(t);
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => server.close());
  const abort = new AbortController();
  const connecting = XenstoreClient.connect({ path, signal: abort.signal });
  abort.abort();
  await faultOf(connecting, 'aborted');
});

test('counts its requests, over all connections', async (t) => {
  const { client, daemon } = await memoryRig(t);
  const begun = client.requestCount;
  await client.write('/a', '1');
  await Promise.all([client.read('/a'), client.read('/b'), client.exists('/a')]);
  assert.equal(client.requestCount - begun, 4);
  assert.equal(daemon.received.length, client.requestCount);
  const states = new Calls<boolean>();
  client.onState(states.take);
  daemon.cut();
  await states.until(2);
  await client.read('/a');
  assert.equal(daemon.received.length, client.requestCount);
});

test('fails at once while there is no connection, with the reason', async (t) => {
  const clock = new ManualClock();
  const { client, daemon, path } = await memoryRig(t, { client: { clock } });
  const states = new Calls<boolean>();
  client.onState(states.take);
  await daemon.die();
  await states.until(1);
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
  await clock.advance(60_000);
  await new Promise((resolve) => setTimeout(resolve, 20));
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
  let greetings = 0;
  daemon.mischief = () => (++greetings % 2 === 0 ? 'hang up' : undefined);
  await daemon.listen(path);
  const states = new Calls<boolean>();
  client.onState(states.take);
  await clock.advance(400);
  await states.until(1);
  await faultOf(client.read('/a'), 'wire.closed');
  await clock.advance(399);
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

test('reads answers cut into single bytes', async (t) => {
  const { client, daemon } = await memoryRig(t);
  daemon.chunkBytes = 1;
  const values = Array.from({ length: 50 }, (_, i) => 'v'.repeat(i));
  await Promise.all(values.map((value, i) => client.write(`/chunks/${i}`, value)));
  assert.deepEqual(await Promise.all(values.map((_, i) => client.read(`/chunks/${i}`))), values);
});

test('a daemon that falls silent costs a deadline each, and nothing afterwards', async (t) => {
  const clock = new ManualClock();
  const { client, daemon } = await memoryRig(t, { client: { clock, timeoutMs: 2000 } });
  daemon.hold();
  const asked = faultOf(client.read('/a'), 'timeout');
  await clock.advance(2000);
  assert.match((await asked).message, /READ of \/a took longer than 2 s/);
  daemon.release();
  assert.equal(await client.read('/a'), undefined);
  assert.equal(client.isConnected, true);
});

test('passes on every refusal, whatever was asked', async (t) => {
  const { client, daemon } = await memoryRig(t);
  daemon.mischief = () => ({ errno: 'EIO' });
  for (const ask of [
    () => client.read('/a'),
    () => client.readBytes('/a'),
    () => client.exists('/a'),
    () => client.directory('/a'),
    () => client.write('/a', ''),
    () => client.mkdir('/a'),
    () => client.rm('/a'),
    () => client.getPermissions('/a'),
    () => client.setPermissions('/a', [{ domid: 0, access: 'none' }]),
    () => client.watch('/a', () => {}),
    () => client.transaction(async () => {}),
    () => client.getDomainPath(1),
    () => client.isDomainIntroduced(1),
    () => client.introduce(1, 2n, 3),
    () => client.release(1),
    () => client.resume(1),
    () => client.setTarget(1, 2),
    () => client.resetWatches(),
    () => client.control(['check']),
    () => client.getFeature(),
    () => client.setFeature(1, 1),
    () => client.getQuotaNames(),
    () => client.getQuota('nodes'),
    () => client.setQuota('nodes', 1),
  ])
    await assert.rejects(ask(), (error) => isXenstoreError(error, 'EIO'));
});

test('writes the fields of the rarer requests as xenstore.txt has them', async (t) => {
  const { client, daemon } = await memoryRig(t);
  daemon.mischief = () => ({ errno: 'EIO' });
  const begun = daemon.received.length;
  await Promise.allSettled([
    client.introduce(7, -3n, 12),
    client.release(7),
    client.resume(7),
    client.setTarget(8, 7),
    client.control(['log', 'on']),
    client.getFeature(),
    client.getFeature(7),
    client.setFeature(7, 5),
    client.getQuotaNames(),
    client.getQuota('nodes'),
    client.getQuota('nodes', 7),
    client.setQuota('nodes', 10),
    client.setQuota('nodes', 10, 7),
    client.resetWatches(),
  ]);
  assert.deepEqual(
    daemon.received.slice(begun).map(({ name, fields }) => [name, ...fields].join(' ')),
    [
      ...['INTRODUCE 7 -3 12', 'RELEASE 7', 'RESUME 7', 'SET_TARGET 8 7', 'CONTROL log on', 'GET_FEATURE'],
      ...['GET_FEATURE 7', 'SET_FEATURE 7 5', 'GET_QUOTA', 'GET_QUOTA nodes', 'GET_QUOTA 7 nodes'],
      ...['SET_QUOTA nodes 10', 'SET_QUOTA 7 nodes 10', 'RESET_WATCHES '],
    ],
  );
  for (const ask of [
    () => client.control(['log\0on']),
    () => client.getQuota('größe'),
    () => client.release(-1),
    () => client.setTarget(1, 70_000),
  ])
    await faultOf(ask(), 'params.invalid');
});
