/** Values, directories and permissions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../src/lib/fault.ts';
import { isXenstoreError } from '../../src/wire/xenstore/error.ts';
import { MAX_PAYLOAD_BYTES } from '../../src/wire/xenstore/packets.ts';
import type { Context } from './context.ts';

export function testNodes(current: () => Context): void {
  test('gives back what was written, any bytes', async () => {
    const { client, rig } = current();
    const path = current().place();
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const room = Math.min(rig.can.valueBytes, rig.can.payloadBytes - path.length - 1);
    for (const value of [bytes, Buffer.alloc(0), Buffer.from([0]), Buffer.alloc(room, 0xff), Buffer.from('x')]) {
      await client.write(path, value);
      assert.deepEqual(await client.readBytes(path), value);
    }
  });

  test('gives back text', async () => {
    const { client } = current();
    const path = current().place();
    for (const value of ['größe 😀', '', 'a\nb', '4']) {
      await client.write(path, value);
      assert.equal(await client.read(path), value);
    }
  });

  test('says when a node is not there', async () => {
    const { client } = current();
    const path = current().place();
    for (const place of [path, `${path}/a/b`]) {
      assert.equal(await client.read(place), undefined);
      assert.equal(await client.readBytes(place), undefined);
      assert.equal(await client.directory(place), undefined);
      assert.equal(await client.getPermissions(place), undefined);
      assert.equal(await client.exists(place), false);
    }
  });

  test('makes the parents of what is written, without values', async () => {
    const { client } = current();
    const path = current().place();
    await client.write(`${path}/a/b/c`, '1');
    for (const parent of [path, `${path}/a`, `${path}/a/b`]) assert.equal(await client.read(parent), '');
    assert.deepEqual(await client.directory(`${path}/a`), ['b']);
    assert.deepEqual(await client.directory(`${path}/a/b/c`), []);
  });

  test('makes a node, and leaves one that is there as it is', async () => {
    const { client } = current();
    const path = current().place();
    await client.mkdir(`${path}/a/b`);
    assert.equal(await client.read(`${path}/a/b`), '');
    await client.write(`${path}/a`, 'kept');
    await client.mkdir(`${path}/a`);
    assert.equal(await client.read(`${path}/a`), 'kept');
    assert.deepEqual(await client.directory(`${path}/a`), ['b']);
  });

  test('removes a node with all below it, and minds none that is not there', async () => {
    const { client } = current();
    const path = current().place();
    for (const name of ['a', 'a/b', 'a/b/c', 'a/d', 'e']) await client.write(`${path}/${name}`, name);
    await client.rm(`${path}/a`);
    for (const name of ['a', 'a/b', 'a/b/c', 'a/d']) assert.equal(await client.exists(`${path}/${name}`), false);
    assert.deepEqual(await client.directory(path), ['e']);
    await client.rm(`${path}/a`);
    await client.rm(`${path}/no/such/parent`);
    await assert.rejects(client.rm('/'), (error) => isFault(error, 'params.invalid'));
  });

  test('takes the longest path, and no longer one', async () => {
    const { client, rig, root } = current();
    const long = (bytes: number) => `${root}/${'d'.repeat(bytes - root.length - 1)}`;
    const { pathBytes } = rig.can;
    await client.write(long(pathBytes), 'deep');
    assert.equal(await client.read(long(pathBytes)), 'deep');
    await client.rm(long(pathBytes));
    if (pathBytes < 3072)
      await assert.rejects(client.write(long(pathBytes + 1), ''), (error) => isXenstoreError(error, 'EINVAL', 'E2BIG'));
  });

  test('reads a relative path below the own domain', async () => {
    const { client } = current();
    const name = `usher-conformance-${process.pid}`;
    await client.write(`/local/domain/0/${name}/a`, '1');
    assert.equal(await client.read(`${name}/a`), '1');
    await client.write(`${name}/b`, '2');
    assert.deepEqual((await client.directory(`/local/domain/0/${name}`))?.sort(), ['a', 'b']);
    await client.rm(name);
    assert.equal(await client.exists(`/local/domain/0/${name}`), false);
  });

  test('lists directories of every size', async () => {
    const { client, rig } = current();
    // The second just fits a packet, the third does not; where parts end falls at another place each time.
    for (const [count, length] of [
      [1, 1],
      [27, 150],
      [28, 150],
      [70, 118],
      [90, 90],
    ] as const) {
      const path = current().place();
      const names = Array.from({ length: count }, (_, i) => `${i}`.padEnd(length, '-'));
      await Promise.all(names.map((name) => client.write(`${path}/${name}`, '')));
      if (rig.can.largeDirectories !== 'refused' || count * (length + 1) <= MAX_PAYLOAD_BYTES)
        assert.deepEqual((await client.directory(path))?.sort(), names.toSorted(), `${count} names of ${length}`);
      else await assert.rejects(client.directory(path), (error) => isXenstoreError(error, 'E2BIG'));
      await client.rm(path);
    }
  });

  test('lists a large directory as it was at one moment, while it changes', async (t) => {
    const { client, rig } = current();
    if (rig.can.largeDirectories === 'refused') return t.skip('it has no large directories');
    const path = current().place();
    const names = Array.from({ length: 60 }, (_, i) => `steady-${i}`.padEnd(100, '-'));
    await Promise.all(names.map((name) => client.write(`${path}/${name}`, '')));
    const other = await current().connect(t);
    const state = { isOver: false };
    const churn = (async () => {
      // One name at a time is there, never two: a list with both saw two moments.
      for (let i = 0; !state.isOver; i++) {
        await other.transaction(async (transaction) => {
          await transaction.rm(`${path}/churn-${i - 1}`);
          await transaction.write(`${path}/churn-${i}`, '');
        });
      }
    })();
    try {
      for (let round = 0; round < 5; round++) {
        const listed = (await client.directory(path)) ?? [];
        assert.deepEqual(listed.filter((name) => name.startsWith('steady')).sort(), names.toSorted());
        assert.ok(listed.length <= names.length + 1, `${listed.length} names`);
      }
    } finally {
      state.isOver = true;
      await churn;
    }
    await client.rm(path);
  });

  test('gives new nodes the permissions of their parent, and takes others', async () => {
    const { client } = current();
    const path = current().place();
    await client.mkdir(path);
    await client.setPermissions(path, [
      { domid: 0, access: 'read' },
      { domid: 0, access: 'write' },
    ]);
    const given = await client.getPermissions(path);
    assert.equal(given?.length, 2);
    await client.write(`${path}/a/b`, '1');
    assert.deepEqual(await client.getPermissions(`${path}/a/b`), given);
    await client.setPermissions(`${path}/a`, [{ domid: 0, access: 'both' }]);
    assert.deepEqual(await client.getPermissions(`${path}/a`), [{ domid: 0, access: 'both' }]);
    assert.deepEqual(await client.getPermissions(`${path}/a/b`), given, 'only this node');
    assert.equal(await client.read(`${path}/a/b`), '1');
  });

  test('refuses permissions that are none', async () => {
    const { client } = current();
    const path = current().place();
    await client.mkdir(path);
    await assert.rejects(client.setPermissions(path, []), (error) => isXenstoreError(error));
    await assert.rejects(client.setPermissions(`${path}/none`, [{ domid: 0, access: 'read' }]), (error) =>
      isXenstoreError(error, 'ENOENT'),
    );
  });

  test('shows one client what another did', async (t) => {
    const { client } = current();
    const other = await current().connect(t);
    const path = current().place();
    await client.write(path, '1');
    assert.equal(await other.read(path), '1');
    await other.rm(path);
    assert.equal(await client.read(path), undefined);
  });

  test('answers many requests at once, each with its own answer', async () => {
    const { client } = current();
    const path = current().place();
    await Promise.all(Array.from({ length: 60 }, (_, i) => client.write(`${path}/${i}`, `value ${i}`)));
    const answers = await Promise.all(
      Array.from({ length: 180 }, (_, i) =>
        i % 3 === 0
          ? client.read(`${path}/${i / 3}`)
          : i % 3 === 1
            ? client.exists(`${path}/x${i}`)
            : client.read(path),
      ),
    );
    for (const [i, answer] of answers.entries())
      assert.equal(answer, i % 3 === 0 ? `value ${i / 3}` : i % 3 === 1 ? false : '');
  });
}
