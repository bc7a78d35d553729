/** Connecting, and requests of the standing client, against an in-memory daemon that may be slow, refuse or stay silent. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { faultOf } from '../testing/fault-of.ts';
import { XenstoreClient } from './client.ts';
import { isXenstoreError } from './error.ts';
import { Calls, memoryRig, socketPlace } from './testing/memory-rig.ts';

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
