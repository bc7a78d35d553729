/** Who is told what when. A daemon may tell more than it must, so a test waits for what must come. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { isXenstoreError } from '../../src/wire/xenstore/error.ts';
import type { WatchOptions } from '../../src/wire/xenstore/watches.ts';
import { type Context, Told } from './context.ts';

export function testWatches(current: () => Context): void {
  /** Watches a path for the time of the test, and waits for the first word of it. */
  async function watch(t: TestContext, path: string, options?: WatchOptions): Promise<Told> {
    const told = new Told();
    const held = await current().client.watch(path, told.take, options);
    t.after(() => held.close());
    await told.of(path);
    told.forget();
    return told;
  }

  test('tells at the beginning, of a node that is there or not', async (t) => {
    const { client } = current();
    const path = current().place();
    await watch(t, path);
    await client.write(path, '1');
    await watch(t, path);
    await watch(t, `${path}/a/b/c`);
  });

  test('tells of each kind of change of a node', async (t) => {
    const { client } = current();
    const path = current().place();
    const told = await watch(t, path);
    const changes = [
      () => client.write(path, '1'),
      () => client.write(path, '2'),
      () => client.setPermissions(path, [{ domid: 0, access: 'read' }]),
      () => client.rm(path),
      () => client.mkdir(path),
    ];
    for (const change of changes) {
      await change();
      await told.of(path);
      told.forget();
    }
  });

  test('tells of what is below, by its own path', async (t) => {
    const { client } = current();
    const path = current().place();
    const told = await watch(t, path);
    await client.write(`${path}/a/b`, '1');
    await told.of(`${path}/a/b`);
    await client.rm(`${path}/a`);
    await told.of(`${path}/a`);
  });

  test('tells of nothing beside it', async (t) => {
    const { client } = current();
    const path = current().place();
    await client.write(`${path}/a`, '');
    const told = await watch(t, `${path}/a`);
    for (const other of ['ab', 'b', 'A', 'a-']) await client.write(`${path}/${other}`, '1');
    await client.write(`${path}/a`, '1');
    await told.of(`${path}/a`);
    assert.deepEqual(new Set(told.paths), new Set([`${path}/a`]));
  });

  test('tells of a node that goes with its ancestor, by the path that is watched', async (t) => {
    const { client } = current();
    const path = current().place();
    await client.write(`${path}/a/b/c`, '1');
    const told = await watch(t, `${path}/a/b/c`);
    await client.rm(`${path}/a`);
    await told.of(`${path}/a/b/c`);
  });

  test('tells of changes in their order, after they are there', async (t) => {
    const { client } = current();
    const path = current().place();
    const told = await watch(t, path);
    const names = Array.from({ length: 30 }, (_, i) => `${path}/${i}`);
    await Promise.all(names.map((name) => client.write(name, '1')));
    await told.of(`${path}/29`);
    const order = told.paths.filter((place) => place !== path);
    assert.deepEqual(order, names);
  });

  test('tells of what another client does', async (t) => {
    const path = current().place();
    const told = await watch(t, path);
    const other = await current().connect(t);
    await other.write(path, '1');
    await told.of(path);
  });

  test('tells of a transaction when it is committed, and not before', async (t) => {
    const { client } = current();
    const path = current().place();
    const told = await watch(t, path);
    await client.transaction(async (transaction) => {
      await transaction.write(`${path}/a`, '1');
      await transaction.write(`${path}/b/c`, '2');
      // Once this is answered, whatever the write would have told has been told.
      await client.read(path);
      assert.deepEqual(told.paths, []);
    });
    await told.of(`${path}/a`);
    await told.of(`${path}/b/c`);
    assert.equal(await client.read(`${path}/a`), '1');
  });

  test('tells nothing of a transaction that is discarded', async (t) => {
    const { client } = current();
    const path = current().place();
    const told = await watch(t, path);
    const enough = new Error('enough');
    await assert.rejects(
      client.transaction(async (transaction) => {
        await transaction.write(`${path}/a`, '1');
        throw enough;
      }),
      enough,
    );
    await client.write(`${path}/b`, '1');
    await told.of(`${path}/b`);
    assert.ok(!told.paths.includes(`${path}/a`));
  });

  test('tells by a relative path when it was asked by one', async (t) => {
    const { client } = current();
    const name = `usher-conformance-${process.pid}w`;
    const told = await watch(t, name);
    await client.write(`/local/domain/0/${name}/a`, '1');
    await told.of(`${name}/a`);
    await client.rm(name);
    await told.of(name);
  });

  test('tells nothing after a watch has ended', async (t) => {
    const { client } = current();
    const path = current().place();
    const told = new Told();
    const ended = await client.watch(path, told.take);
    await told.of(path);
    ended.close();
    const other = await watch(t, path);
    told.forget();
    await client.write(path, '1');
    await other.of(path);
    assert.deepEqual(told.paths, []);
  });

  test('bears several watches of one path', async (t) => {
    const { client } = current();
    const path = current().place();
    const all = await Promise.all(Array.from({ length: 20 }, () => watch(t, path)));
    await client.write(path, '1');
    for (const told of all) await told.of(path);
  });

  test('tells of domains, at least at the beginning', async (t) => {
    for (const special of ['@introduceDomain', '@releaseDomain']) await watch(t, special);
  });

  test('tells of levels down to a depth, whoever counts them', async (t) => {
    const { client } = current();
    const path = current().place();
    const told = await watch(t, path, { depth: 1 });
    await client.write(`${path}/a/b`, '1');
    await client.write(`${path}/a`, '1');
    await client.write(path, '1');
    await told.of(path);
    assert.deepEqual(
      told.paths.filter((place) => place.startsWith(`${path}/a/`)),
      [],
    );
    assert.ok(told.paths.includes(`${path}/a`));
  });

  test('forgets all watches of a client that asks for it', async (t) => {
    const client = await current().connect(t);
    if (!current().rig.can.resetWatches) {
      await assert.rejects(client.resetWatches(), (error) => isXenstoreError(error, 'ENOSYS'));
      return;
    }
    const path = current().place();
    const told = new Told();
    const raw = await current().raw(t);
    assert.equal(await raw.ask('WATCH', `${path}\0mine\0`), 'WATCH OK|');
    await client.watch(path, told.take);
    await told.of(path);
    await client.resetWatches();
    told.forget();
    await client.write(path, '1');
    await client.read(path);
    assert.deepEqual(told.paths, []);
    assert.ok(raw.events.length >= 1, 'those of others stay');
  });

  test('waits until a node says something', async (t) => {
    const { client } = current();
    const other = await current().connect(t);
    const path = current().place();
    const waiting = client.waitFor(
      async ({ read, directory }) => {
        const names = await directory(path);
        if (names === undefined || !names.includes('state')) return undefined;
        return (await read(`${path}/state`)) === '4' ? names.length : undefined;
      },
      { what: 'The state', timeoutMs: 10_000 },
    );
    for (const state of ['1', '2', '3', '4']) await other.write(`${path}/state`, state);
    assert.equal(await waiting, 1);
  });
}
