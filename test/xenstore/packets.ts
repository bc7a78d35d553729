/** What a client of ours would not send: bad paths, unknown requests, packets that are too long, in pieces. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isXenstoreError } from '../../src/wire/xenstore/error.ts';
import { encodePacket, MAX_PAYLOAD_BYTES, PACKET_TYPES } from '../../src/wire/xenstore/packets.ts';
import { type Context, eventually } from './context.ts';

export function testPackets(current: () => Context): void {
  test('refuses bad paths, as we do before we send them', async (t) => {
    const raw = await current().raw(t);
    for (const path of ['', '//', '/a//b', '/a/', '/a b', '/a.b', '/ä', '/a\n', `/${'x'.repeat(3100)}`])
      assert.equal(await raw.ask('READ', `${path}\0`), 'ERROR EINVAL|', JSON.stringify(path.slice(0, 10)));
    assert.match(await raw.ask('READ', '@nothing\0'), /^ERROR E(INVAL|NOENT)\|$/);
  });

  test('refuses payloads that are no request', async (t) => {
    const raw = await current().raw(t);
    // None is empty: the OCaml daemon does not look at a packet without payload until more bytes come.
    for (const [name, payload] of [
      ['READ', '/no-nul'],
      ['WRITE', '/no-nul'],
      ['WATCH', '/only-a-path\0'],
      ['SET_PERMS', '/a\0'],
      ['SET_PERMS', '/\0x5\0'],
      ['INTRODUCE', '1\0'],
    ] as const)
      assert.match(await raw.ask(name, payload), /^ERROR E(INVAL|NOENT|IO)\|$/, `${name} ${payload}`);
    assert.equal(await raw.ask('READ', '/\0'), 'READ ');
  });

  test('refuses requests that it does not know, and goes on', async (t) => {
    const raw = await current().raw(t);
    for (const type of [27, 60, 0xffff])
      assert.match(await raw.ask(type, '/\0'), /^ERROR E(NOSYS|INVAL)\|$/, `${type}`);
    assert.equal(await raw.ask('READ', '/\0'), 'READ ');
  });

  test('refuses a watch that is there already, and the end of one that is not', async (t) => {
    const raw = await current().raw(t);
    const path = current().place();
    assert.equal(await raw.ask('WATCH', `${path}\0token\0`), 'WATCH OK|');
    assert.equal(await raw.ask('WATCH', `${path}\0token\0`), 'ERROR EEXIST|');
    assert.equal(await raw.ask('WATCH', `${path}\0other\0`), 'WATCH OK|');
    assert.equal(await raw.ask('UNWATCH', `${path}\0token\0`), 'UNWATCH OK|');
    assert.equal(await raw.ask('UNWATCH', `${path}\0token\0`), 'ERROR ENOENT|');
  });

  test('reads requests in whatever pieces they come', async (t) => {
    const raw = await current().raw(t);
    const path = current().place();
    const request = (type: number, requestId: number, body: string) =>
      encodePacket({ type, requestId, transactionId: 0, body: Buffer.from(body) });
    const bytes = Buffer.concat([
      request(PACKET_TYPES.WRITE, 101, `${path}\0value`),
      request(PACKET_TYPES.READ, 102, `${path}\0`),
    ]);
    for (const byte of bytes) {
      raw.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(await raw.reply(101), 'WRITE OK|');
    assert.equal(await raw.reply(102), 'READ value');
  });

  test('takes no packet that is too long, and bears others meanwhile', async (t) => {
    const raw = await current().raw(t);
    const path = current().place();
    assert.equal(await raw.ask('READ', '/\0'), 'READ ');
    const tooLong = Buffer.from(`${path}\0`.padEnd(MAX_PAYLOAD_BYTES + 1, 'a'));
    raw.write(encodePacket({ type: PACKET_TYPES.WRITE, requestId: 5, transactionId: 0, body: tooLong }));
    // The C daemon hangs up, the OCaml one refuses it.
    await eventually('The end', () => raw.isClosed || raw.hasReply(5) || undefined);
    if (!raw.isClosed) assert.match(await raw.reply(5), /^ERROR/);
    assert.equal(await current().client.exists(path), false);
  });

  test('tells its features, or that it tells none', async () => {
    const { client, rig } = current();
    if (rig.can.features) assert.ok((await client.getFeature(0)) > 0);
    else await assert.rejects(client.getFeature(0), (error) => isXenstoreError(error, 'ENOSYS', 'EINVAL'));
  });

  test('tells its quotas, or that it tells none', async () => {
    const { client, rig } = current();
    if (rig.can.quotas) assert.ok((await client.getQuota('nodes')) > 0);
    else await assert.rejects(client.getQuota('nodes'), (error) => isXenstoreError(error, 'ENOSYS', 'EINVAL'));
  });

  test('understands commands, in its own words', async () => {
    assert.match(await current().client.control(['help']), /help|^OK/);
  });
}
