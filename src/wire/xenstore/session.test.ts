/** The session against a daemon that a test plays by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { type Fault, isFault } from '../../lib/fault.ts';
import { isXenstoreError, XENSTORE_ERRNOS } from './error.ts';
import { encodePacket, PACKET_TYPES, type Packet } from './packets.ts';
import { decodeNumber, decodeOk, decodeText, type WatchEvent } from './payloads.ts';
import type { Question } from './requests.ts';
import { openedFake, openFake, packet } from './testing/fake-xenstored.ts';

const read = (path: string): Question<string> => ({ name: 'READ', path, decode: decodeText });
const write = (path: string, value: string | Uint8Array): Question<true> => ({
  name: 'WRITE',
  path,
  value,
  decode: decodeOk,
});

/** Lets what was written arrive. */
const settle = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));

/** Waits for the rejection and gives it, if it is a fault of that code. */
async function faultOf(promise: Promise<unknown>, code: Fault['code']): Promise<Fault> {
  const error = await promise.then(
    () => assert.fail(`no ${code}`),
    (thrown: unknown) => thrown,
  );
  if (!isFault(error, code)) assert.fail(`not ${code}: ${error}`);
  return error;
}

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
  const asked = [session.request(write('/a', Buffer.alloc(4093, 1))), session.request(write('/a', 'ö'.repeat(2046)))];
  for (const _ of asked) {
    const sent = await fake.next();
    assert.ok(sent.body.length >= 4095);
    fake.reply(sent);
  }
  assert.deepEqual(await Promise.all(asked), [true, true]);
});

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

test('gives up a request at its deadline, drops its late answer, and goes on', async () => {
  const clock = new ManualClock();
  const { fake, session } = await openedFake({ clock, timeoutMs: 1000, maxUnderWay: 2 });
  const held = session.request(read('/held'), { timeoutMs: 60_000 });
  const first = await fake.next();
  const late = faultOf(session.request(read('/late')), 'timeout');
  const never = faultOf(session.request(read('/never-sent'), { timeoutMs: 1500 }), 'timeout');
  const sent = await fake.next();
  await clock.advance(999);
  const patient = session.request(read('/patient'), { timeoutMs: 60_000 });
  await clock.advance(1);
  assert.match((await late).message, /reply of fake to READ of \/late took longer than 1 s/);
  await clock.advance(500);
  assert.match((await never).message, /never-sent took longer than 1\.5 s/);
  assert.equal(fake.unread, 0, 'what was not answered is under way still');
  fake.reply(sent, 'too late');
  fake.reply(first, 'held');
  assert.equal(await held, 'held');
  const next = await fake.next();
  assert.equal(next.body.toString(), '/patient\0');
  fake.reply(next, 'here');
  assert.equal(await patient, 'here');
  assert.equal(clock.waiting, 0, 'an idle session has no timer');
});

test('ends when it may send nothing any more, for all that is under way was given up', async () => {
  const clock = new ManualClock();
  const { fake, session } = await openedFake({ clock, timeoutMs: 1000, maxUnderWay: 2 });
  const late = [1, 2].map((i) => faultOf(session.request(read(`/${i}`)), 'timeout'));
  const waiting = faultOf(session.request(read('/3'), { timeoutMs: 60_000 }), 'wire.closed');
  await clock.advance(1000);
  await Promise.all(late);
  assert.match((await waiting).message, /answers nothing any more/);
  assert.equal(session.isOpen, false);
  assert.equal(fake.stream.destroyed || fake.unread > 0, true);
});

test('hands over what came too late to whom it concerns', async () => {
  const clock = new ManualClock();
  const { fake, session } = await openedFake({ clock });
  const late: number[] = [];
  const question: Question<number> = {
    name: 'TRANSACTION_START',
    text: '\0',
    decode: decodeNumber,
    onLate: (id) => void late.push(id),
  };
  const timeouts = [1, 2].map(() => faultOf(session.request(question, { timeoutMs: 10 }), 'timeout'));
  const sent = [await fake.next(), await fake.next()];
  await clock.advance(10);
  await Promise.all(timeouts);
  fake.reply(sent[0] as (typeof sent)[0], '41\0');
  fake.refuse(sent[1] as (typeof sent)[0], 'ENOSPC');
  await settle();
  assert.deepEqual(late, [41]);
  assert.equal(session.isOpen, true);
});

test('gives up a request by its signal, before, while and after it is under way', async () => {
  const { fake, session } = await openedFake();
  const abort = new AbortController();
  const asked = session.request(read('/a'), { signal: abort.signal });
  const sent = await fake.next();
  abort.abort(new Error('enough'));
  const fault = await faultOf(asked, 'aborted');
  assert.equal((fault.cause as Error).message, 'enough');
  await faultOf(session.request(read('/b'), { signal: abort.signal }), 'aborted');
  fake.reply(sent, 'late');
  await settle();
  assert.equal(fake.unread, 0);

  const calm = new AbortController();
  const done = session.request(read('/c'), { signal: calm.signal });
  fake.reply(await fake.next(), 'v');
  assert.equal(await done, 'v');
  calm.abort();
  assert.equal(session.isOpen, true);
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
