/** All or nothing, and EAGAIN when somebody else came in between. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { XenstoreClient } from '../../src/wire/xenstore/client.ts';
import type { Context } from './context.ts';

export function testTransactions(current: () => Context): void {
  test('shows its own changes to itself, and to others when it is committed', async () => {
    const { client } = current();
    const path = current().place();
    await client.write(`${path}/old`, 'old');
    await client.transaction(async (transaction) => {
      await transaction.write(`${path}/new/below`, '1');
      await transaction.write(`${path}/old`, 'changed');
      await transaction.mkdir(`${path}/made`);
      await transaction.setPermissions(`${path}/made`, [{ domid: 0, access: 'read' }]);
      assert.equal(await transaction.read(`${path}/new/below`), '1');
      assert.equal(await transaction.read(`${path}/old`), 'changed');
      assert.deepEqual((await transaction.directory(path))?.sort(), ['made', 'new', 'old']);
      await transaction.rm(`${path}/new`);
      assert.equal(await transaction.exists(`${path}/new/below`), false);
      assert.equal(await client.read(`${path}/old`), 'old');
      assert.deepEqual(await client.directory(path), ['old']);
    });
    assert.deepEqual((await client.directory(path))?.sort(), ['made', 'old']);
    assert.equal(await client.read(`${path}/old`), 'changed');
    assert.deepEqual(await client.getPermissions(`${path}/made`), [{ domid: 0, access: 'read' }]);
  });

  test('leaves nothing behind when it is discarded', async () => {
    const { client } = current();
    const path = current().place();
    await client.write(path, 'kept');
    const enough = new Error('enough');
    await assert.rejects(
      client.transaction(async (transaction) => {
        await transaction.write(`${path}/a`, '1');
        await transaction.write(path, 'lost');
        await transaction.rm(path);
        throw enough;
      }),
      enough,
    );
    assert.equal(await client.read(path), 'kept');
    assert.deepEqual(await client.directory(path), []);
  });

  test('is refused when what it read has changed meanwhile', async (t) => {
    const { client } = current();
    const raw = await current().raw(t);
    const path = current().place();
    await client.write(path, 'before');
    const id = Number((await raw.ask('TRANSACTION_START', '\0')).replace(/\D/g, ''));
    assert.equal(await raw.ask('READ', `${path}\0`, id), 'READ before');
    await client.write(path, 'after');
    assert.equal(await raw.ask('READ', `${path}\0`, id), 'READ before', 'it sees one state of what it has read');
    assert.equal(await raw.ask('WRITE', `${path}\0mine`, id), 'WRITE OK|');
    assert.equal(await raw.ask('TRANSACTION_END', 'T\0', id), 'ERROR EAGAIN|');
    assert.equal(await client.read(path), 'after');
  });

  test('is refused when what it missed has come meanwhile', async (t) => {
    const { client } = current();
    const raw = await current().raw(t);
    const path = current().place();
    await client.mkdir(path);
    const id = Number((await raw.ask('TRANSACTION_START', '\0')).replace(/\D/g, ''));
    assert.equal(await raw.ask('READ', `${path}/a\0`, id), 'ERROR ENOENT|');
    assert.equal(await raw.ask('WRITE', `${path}/a\0mine`, id), 'WRITE OK|');
    await client.write(`${path}/a`, 'theirs');
    assert.equal(await raw.ask('TRANSACTION_END', 'T\0', id), 'ERROR EAGAIN|');
    assert.equal(await client.read(`${path}/a`), 'theirs');
  });

  test('is not disturbed by changes elsewhere', async (t) => {
    const { client } = current();
    const raw = await current().raw(t);
    const [path, elsewhere] = [current().place(), current().place()];
    await client.write(path, '1');
    await client.write(elsewhere, '1');
    const id = Number((await raw.ask('TRANSACTION_START', '\0')).replace(/\D/g, ''));
    assert.equal(await raw.ask('WRITE', `${path}\x002`, id), 'WRITE OK|');
    await client.write(elsewhere, '2');
    assert.equal(await raw.ask('TRANSACTION_END', 'T\0', id), 'TRANSACTION_END OK|');
    assert.equal(await client.read(path), '2');
  });

  test('is repeated by our client until it comes through', async (t) => {
    const { client } = current();
    const other = await current().connect(t);
    const path = current().place();
    await client.write(path, '0');
    let tries = 0;
    await client.transaction(async (transaction) => {
      const value = Number(await transaction.read(path));
      if (++tries <= 3) await other.write(path, `${value + 10}`);
      await transaction.write(path, `${value + 1}`);
    });
    assert.deepEqual([tries, await client.read(path)], [4, '31']);
  });

  test('loses no change of many clients at once', async (t) => {
    const { rig } = current();
    const path = current().place();
    await current().client.write(path, '0');
    const limits = { maxTries: 1000 };
    const clients = await Promise.all(
      [1, 2, 3, 4].map(() => XenstoreClient.connect({ path: rig.path, transactions: limits })),
    );
    t.after(() => {
      for (const client of clients) client.close();
    });
    await Promise.all(
      clients.map(async (client) => {
        for (let i = 0; i < 10; i++) {
          await client.transaction(async (transaction) => {
            await transaction.write(path, `${Number(await transaction.read(path)) + 1}`);
          });
        }
      }),
    );
    assert.equal(await current().client.read(path), '40');
  });

  test('lets two clients choose different free numbers', async (t) => {
    const { rig } = current();
    const path = current().place();
    await current().client.mkdir(path);
    const clients = await Promise.all([1, 2, 3, 4].map(() => XenstoreClient.connect({ path: rig.path })));
    t.after(() => {
      for (const client of clients) client.close();
    });
    const chosen = await Promise.all(
      clients.map((client, who) =>
        client.transaction(async (transaction) => {
          for (let port = 1; ; port++) {
            const holder = await transaction.read(`${path}/${port}`);
            if (holder !== undefined && holder !== '') continue;
            await transaction.write(`${path}/${port}`, `client ${who}`);
            return port;
          }
        }),
      ),
    );
    assert.deepEqual(chosen.toSorted(), [1, 2, 3, 4]);
  });

  test('reads a large directory', async (t) => {
    const { client, rig } = current();
    if (rig.can.largeDirectories === 'refused') return t.skip('it has no large directories');
    const path = current().place();
    await Promise.all(Array.from({ length: 45 }, (_, i) => client.write(`${path}/${`${i}`.padEnd(100, '-')}`, '')));
    const names = await client.transaction(async (transaction) => {
      await transaction.write(`${path}/another`, '');
      return transaction.directory(path);
    });
    assert.equal(names?.length, 46);
    await client.rm(path);
  });

  test('exists for its own connection only, once, and not within another', async (t) => {
    const [raw, other] = [await current().raw(t), await current().raw(t)];
    const path = current().place();
    const id = Number((await raw.ask('TRANSACTION_START', '\0')).replace(/\D/g, ''));
    assert.match(await other.ask('WRITE', `${path}\0x`, id), /^ERROR/);
    assert.match(await raw.ask('TRANSACTION_START', '\0', id), /^ERROR/);
    assert.match(await raw.ask('TRANSACTION_END', 'X\0', id), /^ERROR/);
    const again = Number((await raw.ask('TRANSACTION_START', '\0')).replace(/\D/g, ''));
    assert.equal(await raw.ask('TRANSACTION_END', 'T\0', again), 'TRANSACTION_END OK|');
    assert.match(await raw.ask('TRANSACTION_END', 'T\0', again), /^ERROR/);
    assert.match(await raw.ask('READ', '/\0', 4_000_000_000), /^ERROR/);
    assert.equal(await current().client.exists(path), false);
  });

  test('is discarded with its connection', async (t) => {
    const client = await current().connect(t);
    const path = current().place();
    const ended = client.transaction(async (transaction) => {
      await transaction.write(path, '1');
      client.close();
    });
    await assert.rejects(ended);
    assert.equal(await current().client.exists(path), false);
  });
}
