/** Transactions that conflict, fail, hang and are cut off. What they mean is in the conformance suite. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { isFault } from '../../lib/fault.ts';
import { isXenstoreError } from './error.ts';
import { memoryRig, until } from './testing/memory-rig.ts';
import type { Transaction } from './transaction.ts';

const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 20));

test('repeats everything while others come in between', async (t) => {
  const { client } = await memoryRig(t);
  await client.write('/counter', '0');
  let tries = 0;
  const before = await client.transaction(async (transaction) => {
    const value = Number(await transaction.read('/counter'));
    if (++tries < 4) await client.write('/counter', `${value + 10}`);
    await transaction.write('/counter', `${value + 1}`);
    return value;
  });
  assert.deepEqual([tries, before, await client.read('/counter')], [4, 30, '31']);
});

test('loses no increment of many at once', async (t) => {
  const { client } = await memoryRig(t, { client: { transactions: { maxTries: 1000 } } });
  await client.write('/counter', '0');
  await Promise.all(
    Array.from({ length: 20 }, () =>
      client.transaction(async (transaction) => {
        await transaction.write('/counter', `${Number(await transaction.read('/counter')) + 1}`);
      }),
    ),
  );
  assert.equal(await client.read('/counter'), '20');
});

/** Notes the short waits, which are those between tries. */
class NotingClock extends ManualClock {
  readonly waits: number[] = [];

  override after(ms: number, fire: () => void): () => void {
    if (ms < 1000) this.waits.push(ms);
    return super.after(ms, fire);
  }
}

test('gives up a storm of EAGAIN at its limit, each wait longer than the one before', async (t) => {
  const clock = new NotingClock();
  const transactions = { maxTries: 5, backoff: { firstMs: 10, capMs: 40, jitter: 0 } };
  const { client, daemon } = await memoryRig(t, { client: { clock, transactions } });
  daemon.mischief = ({ name, fields }) =>
    name === 'TRANSACTION_END' && fields[0] === 'T' ? { errno: 'EAGAIN' } : undefined;
  let tries = 0;
  const failed = client
    .transaction(async (transaction) => {
      tries++;
      await transaction.write('/a', '1');
    })
    .catch((error: unknown) => error);
  for (const made of [1, 2, 3, 4]) {
    await until(() => clock.waits.length === made);
    assert.equal(tries, made);
    await clock.advance(clock.waits.at(-1) as number);
  }
  const error = await failed;
  assert.ok(isXenstoreError(error, 'EAGAIN') && error.request === 'TRANSACTION_END');
  assert.deepEqual([tries, clock.waits], [5, [10, 20, 40, 40]]);
  assert.equal(await client.read('/a'), undefined);
});

test('repeats after EAGAIN from any request in it, and discards what was begun', async (t) => {
  const { client, daemon } = await memoryRig(t);
  let refusals = 0;
  daemon.mischief = ({ name, transactionId }) =>
    name === 'WRITE' && transactionId !== 0 && ++refusals < 3 ? { errno: 'EAGAIN' } : undefined;
  await client.transaction((transaction) => transaction.write('/a', '1'));
  assert.equal(await client.read('/a'), '1');
  const ends = daemon.received.filter(({ name }) => name === 'TRANSACTION_END').map(({ fields }) => fields[0]);
  assert.deepEqual(ends, ['F', 'F', 'T']);
});

test('discards when the work throws, and passes that on', async (t) => {
  const { client, daemon } = await memoryRig(t);
  for (const error of [new TypeError('a bug'), new RangeError('another')]) {
    await assert.rejects(
      client.transaction(async (transaction) => {
        await transaction.write('/a', '1');
        throw error;
      }),
      error,
    );
  }
  await assert.rejects(
    client.transaction((transaction) => transaction.write('/a//b', '1')),
    (error) => isFault(error, 'params.invalid'),
  );
  assert.equal(await client.exists('/a'), false);
  const ends = daemon.received.filter(({ name }) => name === 'TRANSACTION_END').map(({ fields }) => fields[0]);
  assert.deepEqual(ends, ['F', 'F', 'F']);
});

test('does not let work go on in a transaction that is over', async (t) => {
  const { client } = await memoryRig(t);
  let escaped: Transaction | undefined;
  await client.transaction(async (transaction) => {
    escaped = transaction;
  });
  await assert.rejects(async () => escaped?.write('/a', '1'), /WRITE in a transaction that is over/);
  assert.equal(await client.exists('/a'), false);
});

test('ends at its deadline, discarded, whatever hangs', async (t) => {
  const clock = new ManualClock();
  const { client, daemon } = await memoryRig(t, { client: { clock } });
  const whatHangs = {
    work: () => client.transaction(() => new Promise<void>(() => {}), { timeoutMs: 500 }),
    start: () => client.transaction(async () => {}, { timeoutMs: 500 }),
    end: () => client.transaction(async (transaction) => transaction.write('/a', '1'), { timeoutMs: 500 }),
  };
  for (const [what, begin] of Object.entries(whatHangs)) {
    daemon.received.length = 0;
    const ended = begin().catch((error: unknown) => error);
    if (what === 'start') daemon.hold();
    daemon.mischief = ({ name, fields }) =>
      what === 'end' && name === 'TRANSACTION_END' && fields[0] === 'T' ? 'silence' : undefined;
    const lastSent = { work: 'TRANSACTION_START', start: 'TRANSACTION_START', end: 'TRANSACTION_END' }[what];
    await until(() => daemon.received.at(-1)?.name === lastSent);
    await clock.advance(500);
    const error = await ended;
    assert.ok(isFault(error, 'timeout'), `${what}: ${error}`);
    daemon.release();
    await until(() => daemon.received.some(({ name }) => name === 'TRANSACTION_END'));
    await settle();
    const ends = daemon.received.filter(({ name }) => name === 'TRANSACTION_END').map(({ fields }) => fields[0]);
    assert.deepEqual(ends, what === 'end' ? ['T'] : ['F'], what);
  }
});

test('ends by its signal', async (t) => {
  const { client, daemon } = await memoryRig(t);
  const abort = new AbortController();
  const ended = client.transaction(
    async (transaction) => {
      await transaction.write('/a', '1');
      abort.abort();
      await transaction.read('/a');
    },
    { signal: abort.signal },
  );
  await assert.rejects(ended, (error) => isFault(error, 'aborted'));
  await until(() => daemon.received.some(({ name }) => name === 'TRANSACTION_END'));
  assert.equal(await client.exists('/a'), false);
  assert.deepEqual(daemon.received.filter(({ name }) => name === 'TRANSACTION_END').length, 1);
});

test('fails when the connection is lost within it, and is not repeated: whether it took effect is unknown', async (t) => {
  const { client, daemon } = await memoryRig(t);
  let tries = 0;
  await assert.rejects(
    client.transaction(async (transaction) => {
      tries++;
      await transaction.write('/a', '1');
      daemon.cut();
    }),
    (error) => isFault(error, 'wire.closed'),
  );
  assert.equal(tries, 1);
});

test('costs two requests more than what is done in it', async (t) => {
  const { client } = await memoryRig(t);
  const begun = client.requestCount;
  await client.transaction(async (transaction) => {
    await transaction.read('/a');
    await transaction.write('/a', '1');
  });
  assert.equal(client.requestCount - begun, 4);
});
