/** Directories larger than a packet: while they change all the time, go, or cannot be had. The rest is in the suite. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../lib/fault.ts';
import { isXenstoreError } from './error.ts';
import { StoreClient } from './testing/memory-client.ts';
import { type MemoryRig, memoryRig } from './testing/memory-rig.ts';

const NAMES = Array.from({ length: 100 }, (_, i) => `${i}`.padEnd(100, '-'));

/** Fills a directory, and gives hands that change it at once, whatever else is going on. */
async function fill({ client, daemon }: MemoryRig): Promise<StoreClient> {
  await Promise.all(NAMES.map((name) => client.write(`/d/${name}`, '')));
  return new StoreClient(daemon.store, 0, () => {});
}

test('is read in a transaction when it never stands still, and disturbs nobody by that', async (t) => {
  const rig = await memoryRig(t);
  const hands = await fill(rig);
  let changes = 0;
  let parts = 0;
  rig.daemon.mischief = ({ name, transactionId }) => {
    if (name === 'DIRECTORY_PART' || name === 'TRANSACTION_END')
      hands.write(`/d/extra-${++changes}`, Buffer.alloc(0), 0);
    if (name === 'DIRECTORY_PART' && transactionId !== 0) parts++;
    return undefined;
  };
  const names = (await rig.client.directory('/d')) ?? [];
  assert.deepEqual(names.filter((name) => !name.startsWith('extra')).sort(), NAMES.toSorted());
  assert.ok(parts >= 3, 'it was read in parts, in a transaction');
  const ends = rig.daemon.received.filter(({ name }) => name === 'TRANSACTION_END').map(({ fields }) => fields[0]);
  assert.deepEqual(ends, ['F'], 'what only reads is not committed, and cannot conflict');
});

test('is not there when it goes while it is read', async (t) => {
  const rig = await memoryRig(t);
  const hands = await fill(rig);
  rig.daemon.mischief = ({ name, fields }) => {
    if (name === 'DIRECTORY_PART' && fields[1] !== '0') hands.rm('/d', 0);
    return undefined;
  };
  assert.equal(await rig.client.directory('/d'), undefined);
});

test('is E2BIG from a daemon that cannot tell it, and any other refusal is passed on', async (t) => {
  const rig = await memoryRig(t, { daemon: { hasDirectoryPart: false } });
  await fill(rig);
  await assert.rejects(
    rig.client.directory('/d'),
    (error) => isXenstoreError(error, 'E2BIG') && error.request === 'DIRECTORY',
  );
  rig.daemon.mischief = ({ name }) => (name === 'DIRECTORY_PART' ? { errno: 'EACCES' } : undefined);
  await assert.rejects(
    rig.client.directory('/d'),
    (error) => isXenstoreError(error, 'EACCES') && error.request === 'DIRECTORY_PART',
  );
});

test('never sends what would remove everything', async (t) => {
  const { client, daemon } = await memoryRig(t);
  const begun = daemon.received.length;
  await assert.rejects(client.rm('/'), (error) => isFault(error, 'params.invalid'));
  assert.equal(daemon.received.length, begun);
});
