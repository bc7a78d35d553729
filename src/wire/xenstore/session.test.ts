/** Opening, requests and events of the session, against a daemon that a test plays by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { faultOf } from '../testing/fault-of.ts';
import { isXenstoreError, XENSTORE_ERRNOS } from './error.ts';
import { encodePacket, PACKET_TYPES, type Packet } from './packets.ts';
import { decodeNumber, decodeOk, type WatchEvent } from './payloads.ts';
import type { Question } from './requests.ts';
import { openedFake, openFake, packet, read, settle, write } from './testing/fake-xenstored.ts';

test('opens when anything answers, also a refusal', async () => {
  const { fake, opening } = openFake();
  const hello = await fake.next();
  assert.equal(hello.type, PACKET_TYPES.GET_DOMAIN_PATH);
  fake.refuse(hello, 'EACCES');
  const session = await opening;
  assert.equal(session.isOpen, true);
  assert.equal(session.sentCount, 1);
});

test('does not open on a stream where nobody answers, hangs up or talks otherwise', async () => {
  const clock = new ManualClock();
  const silent = openFake({ clock, openTimeoutMs: 700 });
  await silent.fake.next();
  const waiting = faultOf(silent.opening, 'timeout');
  await clock.advance(700);
  assert.match((await waiting).message, /reply of fake to GET_DOMAIN_PATH took longer than 0\.7 s/);
  assert.equal(clock.waiting, 0);

  const gone = openFake();
  gone.fake.stream.destroy();
  await faultOf(gone.opening, 'wire.closed');

  const stranger = openFake();
  stranger.fake.stream.write('HTTP/1.1 400 Bad Request\r\n\r\n');
  assert.match((await faultOf(stranger.opening, 'wire.broken')).message, /does not speak xenstore: a packet announces/);

  const abort = new AbortController();
  const given = openFake({ signal: abort.signal });
  abort.abort();
  await faultOf(given.opening, 'aborted');
});

test('writes the payload of each part', async () => {
  const { fake, session } = await openedFake();
  const asked = [
    session.request(read('/a')),
    session.request(write('/a', 'größe')),
    session.request(write('/a', Buffer.from([0, 255]))),
    session.request(write('/a', '')),
    session.request({ name: 'SET_PERMS', path: '/a', text: 'n0\0r5\0', decode: decodeOk, transactionId: 9 }),
    session.request({ name: 'TRANSACTION_START', text: '\0', decode: decodeNumber }),
  ];
  const bodies = ['/a\0', '/a\0größe', Buffer.from('/a\0\x00\xff', 'latin1'), '/a\0', '/a\0n0\0r5\0', '\0'];
  const packets: Packet[] = [];
  for (const _ of bodies) packets.push(await fake.next());
  assert.deepEqual(
    packets.map(({ body }) => body),
    bodies.map((body) => Buffer.from(body as string)),
  );
  assert.deepEqual(
    packets.map(({ transactionId }) => transactionId),
    [0, 0, 0, 0, 9, 0],
  );
  assert.equal(new Set(packets.map(({ requestId }) => requestId)).size, packets.length);
  for (const sent of packets) fake.reply(sent, sent.type === PACKET_TYPES.TRANSACTION_START ? '77\0' : 'OK\0');
  assert.deepEqual(await Promise.all(asked), ['OK\0', true, true, true, true, 77]);
});

test('matches replies by number, in whatever order they come', async () => {
  const { fake, session } = await openedFake();
  const asked = ['/a', '/b', '/c'].map((path) => session.request(read(path)));
  const packets = [await fake.next(), await fake.next(), await fake.next()];
  for (const sent of packets.toReversed()) fake.reply(sent, `value of ${sent.body}`);
  assert.deepEqual(await Promise.all(asked), ['value of /a\0', 'value of /b\0', 'value of /c\0']);
});

test('sends what is asked in one turn in one write', async () => {
  const { fake, session } = await openedFake({ maxUnderWay: 100 });
  let writes = 0;
  fake.stream.on('data', () => writes++);
  const asked = Array.from({ length: 50 }, (_, i) => session.request(read(`/${i}`)));
  for (let i = 0; i < 50; i++) fake.reply(await fake.next(), `${i}`);
  assert.deepEqual(
    await Promise.all(asked),
    asked.map((_, i) => `${i}`),
  );
  assert.equal(writes, 1);
});

test('has no more requests under way than it may, and sends the others in their order', async () => {
  const { fake, session } = await openedFake({ maxUnderWay: 2 });
  const asked = Array.from({ length: 7 }, (_, i) => session.request(read(`/${i}`)));
  for (let i = 0; i < 7; i++) {
    await settle();
    assert.equal(fake.unread, Math.min(2, 7 - i));
    const sent = await fake.next();
    assert.equal(sent.body.toString(), `/${i}\0`);
    fake.reply(sent, `${i}`);
  }
  assert.deepEqual(await Promise.all(asked), ['0', '1', '2', '3', '4', '5', '6']);
  assert.equal(session.sentCount, 8);
});

test('makes an error of each errno name that xenstored may answer, and of a newer one', async () => {
  const { fake, session } = await openedFake();
  for (const errno of [...XENSTORE_ERRNOS, 'EUCLEAN']) {
    const asked = session.request(read('/a/b')).catch((error: unknown) => error);
    fake.refuse(await fake.next(), errno);
    const error = await asked;
    if (!isXenstoreError(error)) assert.fail(`${errno}: ${error}`);
    assert.deepEqual([error.errno, error.request, error.path], [errno, 'READ', '/a/b']);
    assert.match(error.message, new RegExp(`refused READ of /a/b: ${errno}$`));
    assert.equal(isXenstoreError(error, 'EPERM'), errno === 'EPERM');
  }
  assert.equal(session.isOpen, true);
});

test('gives a value for a node that is not there, if it was told one', async () => {
  const { fake, session } = await openedFake();
  const asked = session.request({ ...read('/a'), whenAbsent: { value: 'none' } });
  fake.refuse(await fake.next(), 'ENOENT');
  assert.equal(await asked, 'none');
  const denied = session.request({ ...read('/a'), whenAbsent: { value: 'none' } });
  fake.refuse(await fake.next(), 'EACCES');
  await assert.rejects(denied, (error) => isXenstoreError(error, 'EACCES'));
});

test('hears events between replies', async () => {
  const events: WatchEvent[] = [];
  const { fake, session } = await openedFake({ onEvent: (event) => events.push(event) });
  const asked = session.request(read('/a'));
  const sent = await fake.next();
  fake.stream.write(
    Buffer.concat([
      packet('WATCH_EVENT', '/x\0t\0', 0xdead),
      encodePacket({ ...sent, body: Buffer.from('v') }),
      packet('WATCH_EVENT', '@releaseDomain\0t\0', sent.requestId),
    ]),
  );
  assert.equal(await asked, 'v');
  assert.deepEqual(events, [
    { path: '/x', token: 't' },
    { path: '@releaseDomain', token: 't' },
  ]);
});

const REFUSED: readonly (readonly [string, Question<unknown>, RegExp])[] = [
  ['a bad path', read('/a//b'), /"\/a\/\/b" has an empty part/],
  ['an event where a node must be', read('@releaseDomain'), /is an event/],
  ['a value that is too long', write('/a', 'x'.repeat(4094)), /4097 bytes, and 4096/],
  ['a value with too many bytes', write('/a', 'ö'.repeat(2047)), /4097 bytes/],
  ['too many bytes', write('/a', Buffer.alloc(4094)), /4097 bytes/],
];

for (const [what, question, why] of REFUSED) {
  test(`does not send ${what}`, async () => {
    const { fake, session } = await openedFake();
    assert.match((await faultOf(session.request(question), 'params.invalid')).message, why);
    await settle();
    assert.equal(fake.unread, 0);
    assert.equal(session.isOpen, true);
  });
}

test('sends what is exactly as long as it may be', async () => {
  const { fake, session } = await openedFake();
  const asked = [
    session.request(write('/a', Buffer.alloc(4093, 1))),
    session.request(write('/a', `o${'ö'.repeat(2046)}`)),
  ];
  for (const _ of asked) {
    const sent = await fake.next();
    assert.equal(sent.body.length, 4096);
    fake.reply(sent);
  }
  assert.deepEqual(await Promise.all(asked), [true, true]);
});

test('works off ten thousand requests at once', async () => {
  const { fake, session } = await openedFake();
  const asked = Array.from({ length: 10_000 }, (_, i) => session.request(read(`/n${i}`)));
  void (async () => {
    for (let i = 0; i < asked.length; i++) {
      const sent = await fake.next();
      fake.reply(sent, sent.body.subarray(2, -1));
    }
  })();
  assert.deepEqual(
    await Promise.all(asked),
    asked.map((_, i) => `${i}`),
  );
});
