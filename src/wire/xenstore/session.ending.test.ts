/** How a session ends: by what a daemon, played by hand, says, by a bug of its listener, or by us. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../lib/fault.ts';
import { faultOf } from '../testing/fault-of.ts';
import { openedFake, packet, read, write } from './testing/fake-xenstored.ts';

function oversized(): Buffer {
  const bytes = packet('READ', 'x', 2);
  bytes.writeUInt32LE(1024 * 1024 + 1, 12);
  return bytes;
}

const VIOLATIONS: readonly (readonly [string, Buffer, RegExp])[] = [
  ['a reply to nothing', packet('READ', 'x', 999), /answers a request that does not wait: READ 999/],
  ['an unknown type', packet('READ', 'x', 2).fill(99, 0, 1), /answers READ with a packet of the unknown type 99/],
  ['another type', packet('WRITE', 'OK\0', 2), /answers READ with WRITE/],
  ['another transaction', packet('READ', 'x', 2, 5), /answers READ for another transaction/],
  ['an error without words', packet('ERROR', Buffer.from('a\0b\0'), 2), /refusal of READ has the wrong form/],
  ['an event without a token', packet('WATCH_EVENT', '/a\0'), /event of a watch has the wrong form/],
  ['an oversized packet', oversized(), /announces 1048577 bytes/],
];

for (const [what, bytes, why] of VIOLATIONS) {
  test(`ends at ${what}, for everybody, wherever it is cut`, async () => {
    for (const cut of [0, 1, 15, 16, 17, bytes.length]) {
      const { fake, session } = await openedFake();
      const asked = [session.request(read('/a')), session.request(read('/b'))];
      await fake.next();
      fake.stream.write(bytes.subarray(0, cut));
      fake.stream.write(bytes.subarray(cut));
      for (const each of asked) assert.match((await faultOf(each, 'wire.broken')).message, why);
      assert.equal(session.isOpen, false);
      assert.ok(isFault(await session.closed, 'wire.broken'));
      await faultOf(session.request(read('/c')), 'wire.broken');
    }
  });
}

test('ends when a reply has the wrong form', async () => {
  const { fake, session } = await openedFake();
  const asked = session.request(write('/a', ''));
  fake.reply(await fake.next(), 'FINE\0');
  assert.match((await faultOf(asked, 'wire.broken')).message, /reply to WRITE has the wrong form/);
  assert.equal(session.isOpen, false);
});

test('ends when the daemon hangs up, wherever', async () => {
  const reply = packet('READ', 'value', 2);
  for (let end = 0; end < reply.length; end++) {
    const { fake, session } = await openedFake();
    const asked = session.request(read('/a'));
    await fake.next();
    fake.stream.write(reply.subarray(0, end));
    fake.stream.end();
    const fault = await faultOf(asked, 'wire.closed');
    assert.match(fault.message, end === 0 ? /hung up\.$/ : /hung up in the middle of a packet/);
  }
});

test('survives a listener that throws by ending, loudly', async () => {
  const { fake, session } = await openedFake({
    onEvent() {
      throw new TypeError('a bug');
    },
  });
  fake.event('/a', 't');
  assert.ok(isFault(await session.closed, 'internal'));
});

test('fails what waits when it is closed, in the queue too', async () => {
  const { fake, session } = await openedFake({ maxUnderWay: 1 });
  const asked = [session.request(read('/a')), session.request(read('/b'))];
  await fake.next();
  session.close();
  session.close();
  for (const each of asked) await faultOf(each, 'wire.closed');
  assert.match((await session.closed).message, /no longer need it/);
});
