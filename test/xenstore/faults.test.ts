/** Our client while the real xenstored is killed, stands still, is replaced, and is fought over. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { RealXenstored, XENSTOREDS, type XenstoredName } from '../../lab/xenstored.ts';
import { isFault } from '../../src/lib/fault.ts';
import { XenstoreClient, type XenstoreOptions } from '../../src/wire/xenstore/client.ts';
import { isXenstoreError } from '../../src/wire/xenstore/error.ts';
import { eventually, Told } from './context.ts';

interface Stage {
  readonly xenstored: RealXenstored;
  readonly client: XenstoreClient;
  connect(options?: XenstoreOptions): Promise<XenstoreClient>;
}

async function stage(t: TestContext, options: XenstoreOptions = {}, running = RealXenstored.start()): Promise<Stage> {
  const xenstored = await running;
  const clients: XenstoreClient[] = [];
  t.after(async () => {
    for (const client of clients) client.close();
    await xenstored.stop();
  });
  const connect = async (more: XenstoreOptions = {}) => {
    const client = await XenstoreClient.connect({ path: xenstored.path, ...more });
    clients.push(client);
    return client;
  };
  return { xenstored, connect, client: await connect(options) };
}

/** Notes what a client says of its connection. */
function statesOf(client: XenstoreClient): string[] {
  const states: string[] = [];
  client.onState((isConnected) => states.push(isConnected ? 'up' : 'down'));
  client.onResync(() => states.push('resync'));
  return states;
}

for (const name of XENSTOREDS) {
  test(`a killed ${name} fails what is under way, and its successor is used at once`, (t) => dieAndReturn(t, name));
}

async function dieAndReturn(t: TestContext, name: XenstoredName): Promise<void> {
  const { xenstored, client } = await stage(t, {}, RealXenstored.start(name));
  const states = statesOf(client);
  const [told, released] = [new Told(), new Told()];
  await client.watch('/a', told.take);
  await client.watch('@releaseDomain', released.take);
  await client.write('/a', 'before');
  xenstored.freeze();
  const underWay = [client.read('/a'), client.write('/a', 'lost?'), client.transaction(async () => 1)];
  const failed = Promise.all(underWay.map((each) => each.then(String, (error: unknown) => error)));
  await xenstored.kill();
  for (const error of await failed) assert.ok(isFault(error, 'wire.closed'), String(error));
  await eventually('The loss', () => states.includes('down') || undefined);
  await assert.rejects(client.read('/a'), (error) => isFault(error, 'wire.closed'));

  told.forget();
  released.forget();
  await xenstored.restart();
  await eventually('The resync', () => states.includes('resync') || undefined);
  assert.deepEqual(states, ['down', 'up', 'resync']);
  assert.deepEqual([told.paths, released.paths], [['/a'], ['@releaseDomain']], 'each watch was told that it is back');
  assert.equal(await client.read('/a'), undefined, 'it keeps nothing when it is killed');
  await client.write('/a', 'after');
  await told.of('/a', 2);
}

test('a wait outlives its xenstored', async (t) => {
  const { xenstored, client } = await stage(t);
  const waiting = client.waitFor(({ read }) => read('/a'), { what: 'The node', timeoutMs: 20_000 });
  for (let round = 0; round < 3; round++) {
    await xenstored.restart();
    await eventually('The client', () => client.isConnected || undefined);
  }
  await eventually('The write', () =>
    client.write('/a', 'here').then(
      () => true,
      () => undefined,
    ),
  );
  assert.equal(await waiting, 'here');
});

test('a xenstored that stands still costs a deadline; its late answers are dropped, and undone', async (t) => {
  const { xenstored, connect } = await stage(t);
  const client = await connect({ timeoutMs: 150 });
  const states = statesOf(client);
  const told = new Told();
  await client.write('/a', '1');
  xenstored.freeze();
  const began = performance.now();
  const late = await Promise.all(
    [
      client.read('/a'),
      client.write('/a', 'late'),
      client.watch('/a', told.take),
      client.transaction((transaction) => transaction.write('/a', 'never'), { timeoutMs: 150 }),
    ].map((each) => each.then(String, (error: unknown) => error)),
  );
  assert.ok(performance.now() - began < 2000);
  for (const error of late) assert.ok(isFault(error, 'timeout'), String(error));
  xenstored.thaw();
  await eventually('An answer', () => client.read('/a').catch(() => undefined));
  assert.equal(await client.read('/a'), 'late', 'what timed out may have taken effect');
  assert.deepEqual(states, []);
  await client.write('/a', '2');
  assert.deepEqual(told.paths, []);
  for (let i = 0; i < 30; i++) await client.transaction((transaction) => transaction.write('/a', `${i}`));
});

test('a xenstored that stands still is not connected to', async (t) => {
  const { xenstored, connect } = await stage(t);
  xenstored.freeze();
  await assert.rejects(
    connect({ openTimeoutMs: 200 }),
    (error) => isFault(error, 'xenstore.unreachable') && /longer than 0\.2 s/.test(error.message),
  );
  xenstored.thaw();
  await connect();
});

test('a live update goes unnoticed', async (t) => {
  const { xenstored, client } = await stage(t);
  const states = statesOf(client);
  const told = new Told();
  xenstored.makeDomain(7);
  await client.introduce(7, 1n, 1);
  await client.watch('/a', told.take);
  const work = { isOver: false, done: 0 };
  const working = (async () => {
    while (!work.isOver) {
      await client.transaction(async (transaction) => {
        await transaction.write('/a', `${Number((await transaction.read('/a')) ?? 0) + 1}`);
      });
      work.done++;
    }
  })();
  await eventually('Some work', () => work.done > 20 || undefined);
  work.isOver = true;
  await working;
  await xenstored.liveUpdate(client);
  told.forget();
  assert.equal(await client.read('/a'), `${work.done}`);
  assert.equal(await client.isDomainIntroduced(7), true);
  await client.write('/a', 'again');
  await told.of('/a');
  assert.deepEqual(states, []);
});

test('a storm of changes ends a transaction in EAGAIN, and calm lets it through', async (t) => {
  const { client, connect } = await stage(t, {
    transactions: { maxTries: 6, backoff: { firstMs: 1, capMs: 4, jitter: 0 } },
  });
  const other = await connect();
  await client.write('/a', '0');
  let tries = 0;
  const increment = (disturbs: boolean) =>
    client.transaction(async (transaction) => {
      tries++;
      const value = Number(await transaction.read('/a'));
      if (disturbs) await other.write('/a', `${value + 100}`);
      await transaction.write('/a', `${value + 1}`);
    });
  await assert.rejects(increment(true), (error) => isXenstoreError(error, 'EAGAIN'));
  assert.equal(tries, 6);
  await increment(false);
  assert.equal(await client.read('/a'), '601');
});

test('a xenstored that answers EAGAIN at random loses nothing', async (t) => {
  const oxenstored = RealXenstored.start('oxenstored', { 'test-eagain': 'true' });
  const { client } = await stage(t, { transactions: { maxTries: 100 } }, oxenstored);
  let tries = 0;
  for (let i = 0; i < 100; i++) {
    await client.transaction(async (transaction) => {
      tries++;
      await transaction.write('/a', `${Number((await transaction.read('/a')) ?? 0) + 1}`);
    });
  }
  assert.equal(await client.read('/a'), '100');
  assert.ok(tries > 110, `only ${tries} tries`);
});

test('a hundred clients come and go without a trace', async (t) => {
  const { client, connect } = await stage(t);
  for (let round = 0; round < 5; round++) {
    const clients = await Promise.all(Array.from({ length: 20 }, () => connect()));
    await Promise.all(
      clients.map(async (each, i) => {
        await each.watch(`/crowd/${i}`, () => {});
        await each.write(`/crowd/${i}`, `${round}`);
        each.close();
      }),
    );
  }
  assert.equal((await client.directory('/crowd'))?.length, 20);
});
