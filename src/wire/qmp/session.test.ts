/** The session against a server that a test plays by hand, and against the recorded talk of a real one. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { type Fault, isFault } from '../../lib/fault.ts';
import type { QmpEvent } from './commands.ts';
import { isPeerGone, isQmpError } from './error.ts';
import { connectQmp, type QmpSession } from './session.ts';
import { eventLine, FakeQemu, GREETING, openedFake, openFake, readTranscripts } from './testing.ts';

const STATUS = { running: true, status: 'running' };

function isDeleted(id: string): (event: QmpEvent) => boolean {
  return (event) => event.name === 'DEVICE_DELETED' && event.data.device === id;
}

/** Waits for the rejection and gives it, if it is a fault of that code. */
async function faultOf(promise: Promise<unknown>, code: Fault['code']): Promise<Fault> {
  const error = await promise.then(
    () => assert.fail(`no ${code}`),
    (thrown: unknown) => thrown,
  );
  if (!isFault(error, code)) assert.fail(`not ${code}: ${error}`);
  return error;
}

for (const name of ['usb', 'storage', 'power', 'migrate']) {
  test(`replays the transcript "${name}"`, async () => {
    const lines = (readTranscripts().get(name) ?? []).slice(3);
    const events: string[] = [];
    const { qemu, session } = await openedFake({ onEvent: (event) => events.push(event.name) });
    const calls = new Map<unknown, { id: number; reply: Promise<unknown> }>();
    const expected = new Map<unknown, unknown>();
    for (const { from, text } of lines) {
      const message = JSON.parse(text);
      if (from === 'client') {
        const reply = session.execute(message.execute, message.arguments).catch((error: unknown) => error);
        const { id, ...sent } = await qemu.next();
        const { id: recorded, ...said } = message;
        assert.deepEqual(sent, said);
        calls.set(recorded, { id, reply });
      } else if ('event' in message) {
        qemu.say(message);
      } else {
        qemu.say({ ...message, id: calls.get(message.id)?.id });
        expected.set(message.id, message);
      }
    }
    for (const [recorded, message] of expected) {
      const { return: value, error } = message as { return?: unknown; error?: { class: string; desc: string } };
      const got = await calls.get(recorded)?.reply;
      if (error === undefined) assert.deepEqual(got, value);
      else assert.ok(isQmpError(got) && got.class === error.class && got.desc === error.desc);
    }
    const recordedEvents = lines.map(({ text }) => JSON.parse(text).event).filter((event) => event !== undefined);
    assert.deepEqual(events, recordedEvents);
    assert.equal(session.inFlight, 0);
    assert.equal(session.isOpen, true);
  });
}

test('negotiates, and tells the version', async () => {
  const { qemu, opening } = openFake();
  qemu.say(GREETING);
  const hello = await qemu.next();
  assert.equal(hello.execute, 'qmp_capabilities');
  qemu.say({ return: {}, id: hello.id });
  const session = await opening;
  assert.deepEqual(session.version.qemu, { major: 7, minor: 2, micro: 22 });
  assert.equal(session.isOpen, true);
});

test('hears an event that comes in one piece with the negotiation', async () => {
  const events: string[] = [];
  const { qemu, opening } = openFake({ onEvent: (event) => events.push(event.name) });
  qemu.say(GREETING);
  const { id } = await qemu.next();
  qemu.say({ return: {}, id }, eventLine('STOP'));
  await opening;
  assert.deepEqual(events, ['STOP']);
});

test('matches replies by id, in whatever order they come, with events in between', async () => {
  const { qemu, session } = await openedFake();
  const replies = [
    session.execute('query-status'),
    session.execute('qom-get', { path: '/machine', property: 'type' }),
    session.execute('query-name'),
  ];
  const [a, b, c] = [await qemu.next(), await qemu.next(), await qemu.next()];
  assert.deepEqual([a.execute, b.execute, c.execute], ['query-status', 'qom-get', 'query-name']);
  assert.equal('arguments' in a, false);
  qemu.say({ return: { name: 'x' }, id: c.id }, eventLine('RTC_CHANGE', { offset: 1 }), { return: STATUS, id: a.id });
  qemu.say({ return: null, id: b.id });
  assert.deepEqual(await Promise.all(replies), [STATUS, null, { name: 'x' }]);
});

test('turns a refusal into a QmpError and goes on', async () => {
  const { qemu, session } = await openedFake();
  const reply = session.execute('device_del', { id: 'x' });
  const { id } = await qemu.next();
  qemu.say({ id, error: { class: 'DeviceNotFound', desc: "Device 'x' not found" } });
  const error = await reply.catch((thrown: unknown) => thrown);
  assert.equal(isQmpError(error, 'GenericError'), false);
  assert.ok(isQmpError(error, 'DeviceNotFound'));
  assert.equal(error.message, "QEMU refused device_del: Device 'x' not found");
  assert.equal(session.isOpen, true);
});

test('drops a late reply, also a doubled one, and stays usable', async () => {
  const clock = new ManualClock();
  const { qemu, session } = await openedFake({ clock });
  const slow = faultOf(session.execute('query-status', {}, { timeoutMs: 100 }), 'timeout');
  const first = await qemu.next();
  await clock.advance(100);
  assert.equal((await slow).message, 'The reply of fake to query-status took longer than 0.1 s.');
  assert.equal(session.inFlight, 0);
  const reply = session.execute('query-status');
  const { id } = await qemu.next();
  qemu.say({ return: { late: true }, id: first.id }, { return: STATUS, id }, { return: STATUS, id });
  assert.deepEqual(await reply, STATUS);
  assert.equal(session.isOpen, true);
  assert.equal(clock.waiting, 0, 'an idle session has no timer');
});

test('gives up a command on its signal, before or after it is sent', async () => {
  const { qemu, session } = await openedFake();
  await faultOf(session.execute('stop', {}, { signal: AbortSignal.abort() }), 'aborted');
  const giveUp = new AbortController();
  const reply = faultOf(session.execute('cont', {}, { signal: giveUp.signal }), 'aborted');
  assert.equal((await qemu.next()).execute, 'cont', 'the aborted stop was never sent');
  giveUp.abort();
  await reply;
  assert.equal(session.isOpen, true);
});

test('waits for an event that precedes the reply of the command', async () => {
  const { qemu, session } = await openedFake();
  const done = session.executeUntil('device_del', { id: 'a' }, isDeleted('a'));
  const { id } = await qemu.next();
  qemu.event('DEVICE_DELETED', { path: '/machine/peripheral/a/a.0' });
  qemu.event('DEVICE_DELETED', { device: 'b', path: '/machine/peripheral/b' });
  qemu.event('DEVICE_DELETED', { device: 'a', path: '/machine/peripheral/a' });
  qemu.event('DEVICE_DELETED', { device: 'a', path: '/second' });
  qemu.say({ return: {}, id });
  const event = await done;
  assert.ok(event.name === 'DEVICE_DELETED' && event.data.path === '/machine/peripheral/a');
});

test('does not end a command by its event alone', async () => {
  const { qemu, session } = await openedFake();
  const done = session.executeUntil('device_del', { id: 'a' }, isDeleted('a'));
  const { id } = await qemu.next();
  qemu.event('DEVICE_DELETED', { device: 'a', path: '/machine/peripheral/a' });
  qemu.say({ id, error: { class: 'GenericError', desc: 'no' } });
  assert.ok(isQmpError(await done.catch((thrown: unknown) => thrown)));
});

test('gives up an event that never comes, or comes late', async () => {
  const clock = new ManualClock();
  const { qemu, session } = await openedFake({ clock });
  const done = faultOf(session.executeUntil('device_del', { id: 'a' }, isDeleted('a'), { timeoutMs: 5000 }), 'timeout');
  const { id } = await qemu.next();
  qemu.say({ return: {}, id });
  await clock.advance(5000);
  assert.equal((await done).message, 'The completion of device_del by fake took longer than 5 s.');
  qemu.event('DEVICE_DELETED', { device: 'a', path: '/machine/peripheral/a' });
  const reply = session.execute('query-status');
  qemu.say({ return: STATUS, id: (await qemu.next()).id });
  await reply;
  assert.equal(clock.waiting, 0);
});

test('waits for an event without a command; a wait that nobody awaits does no harm', async () => {
  const { qemu, session } = await openedFake();
  const waiting = session.waitEvent((event) => event.name === 'SHUTDOWN');
  void session.waitEvent(() => false, { timeoutMs: 1 });
  const buggy = session.waitEvent(() => {
    throw new TypeError('a bug');
  });
  qemu.event('STOP');
  qemu.event('SHUTDOWN', { guest: true, reason: 'guest-shutdown' });
  const event = await waiting;
  assert.ok(event.name === 'SHUTDOWN' && event.data.reason === 'guest-shutdown' && event.atMs === 1500);
  await assert.rejects(buggy, TypeError);
  const giveUp = new AbortController();
  const aborted = faultOf(
    session.waitEvent(() => false, { signal: giveUp.signal }),
    'aborted',
  );
  giveUp.abort();
  await aborted;
  session.close();
  await faultOf(
    session.waitEvent(() => true),
    'wire.closed',
  );
});

test('tells listeners each event in order until they leave; one that throws ends the session', async () => {
  const { qemu, session } = await openedFake();
  const heard: string[] = [];
  const leave = session.onEvent(({ name }) => heard.push(name));
  const stopped = session.waitEvent(({ name }) => name === 'STOP');
  qemu.event('RESET', { guest: true, reason: 'guest-reset' });
  qemu.event('STOP');
  await stopped;
  leave();
  session.onEvent(() => {
    throw new TypeError('a bug');
  });
  qemu.event('RESUME');
  const fault = await session.closed;
  assert.ok(isFault(fault, 'internal') && fault.cause instanceof TypeError);
  assert.deepEqual(heard, ['RESET', 'STOP']);
});

interface Ending {
  readonly what: string;
  readonly code: 'wire.closed' | 'wire.broken';
  readonly says: RegExp;
  act(qemu: FakeQemu, id: number): void;
}

const ENDINGS: readonly Ending[] = [
  { what: 'hangs up', code: 'wire.closed', says: /it hung up\.$/, act: (qemu) => qemu.stream.end() },
  {
    what: 'hangs up in mid-reply',
    code: 'wire.closed',
    says: /in the middle of a message/,
    act: (qemu, id) => qemu.stream.end(`{"return": {}, "id": ${id}`),
  },
  { what: 'talks garbage', code: 'wire.broken', says: /not JSON: hello/, act: (qemu) => qemu.stream.write('hello\n') },
  {
    what: 'sends a line without end',
    code: 'wire.broken',
    says: /longer than 1000 bytes/,
    act: (qemu) => qemu.stream.write('x'.repeat(1001)),
  },
  { what: 'greets twice', code: 'wire.broken', says: /greets twice/, act: (qemu) => qemu.say(GREETING) },
  {
    what: 'answers what was never asked',
    code: 'wire.broken',
    says: /never sent/,
    act: (qemu, id) => qemu.say({ return: {}, id: id + 2 }),
  },
  { what: 'answers without id', code: 'wire.broken', says: /never sent/, act: (qemu) => qemu.say({ return: {} }) },
  {
    what: 'refuses without id',
    code: 'wire.broken',
    says: /did not understand a request: JSON parse error/,
    act: (qemu) => qemu.say({ error: { class: 'GenericError', desc: 'JSON parse error, expecting value' } }),
  },
  {
    what: 'answers in the wrong form',
    code: 'wire.broken',
    says: /its reply to query-status has the wrong form/,
    act: (qemu, id) => qemu.say({ return: [], id }),
  },
];

for (const { what, code, says, act } of ENDINGS) {
  test(`ends with one fault for all when QEMU ${what}`, async () => {
    const { qemu, session } = await openedFake({ limits: { maxLineBytes: 1000 } });
    const status = faultOf(session.execute('query-status'), code);
    const deleted = faultOf(session.executeUntil('device_del', { id: 'a' }, isDeleted('a')), code);
    const event = faultOf(
      session.waitEvent(() => false),
      code,
    );
    const { id } = await qemu.next();
    await qemu.next();
    act(qemu, id);
    const fault = await session.closed;
    assert.match(fault.message, says);
    assert.deepEqual([await status, await deleted, await event], [fault, fault, fault]);
    assert.equal(session.isOpen, false);
    assert.equal(session.inFlight, 0);
    assert.equal(await faultOf(session.execute('query-status'), code), fault);
  });
}

test('ends by close for all who wait, and destroys the stream', async () => {
  const { qemu, session } = await openedFake();
  const reply = faultOf(session.execute('query-status'), 'wire.closed');
  session.close();
  session.close();
  assert.match((await reply).message, /we no longer need it/);
  assert.equal(await session.closed, await reply);
  await new Promise((resolve) => qemu.stream.once('close', resolve).once('end', resolve));
});

test('ends when QEMU does not read what is sent', async () => {
  const { qemu, session } = await openedFake();
  qemu.stream.pause();
  const args = { 'command-line': 'x'.repeat(100_000) };
  const replies = Array.from({ length: 15 }, () => session.execute('human-monitor-command', args).catch(() => {}));
  assert.match((await session.closed).message, /it does not read/);
  await Promise.all(replies);
});

test('refuses text that QEMU could not answer, and sends nothing', async () => {
  const { qemu, session } = await openedFake();
  const fault = await faultOf(session.execute('device_del', { id: 'a\ud83d' }), 'params.invalid');
  assert.match(fault.message, /arguments of device_del/);
  const reply = session.execute('device_del', { id: '\\ud83d \u{1F600}\u0000\n' });
  const { id, arguments: sent } = await qemu.next();
  assert.deepEqual(sent, { id: '\\ud83d \u{1F600}\u0000\n' });
  qemu.say({ return: {}, id });
  await reply;
});

test('says that the socket may be busy when no greeting comes', async () => {
  const clock = new ManualClock();
  const { opening } = openFake({ clock, openTimeoutMs: 2000 });
  const failed = faultOf(opening, 'timeout');
  await clock.advance(2000);
  const fault = await failed;
  assert.equal(fault.message, 'The greeting of fake took longer than 2 s.');
  assert.match(fault.hint ?? '', /one QMP client at a time/);
  assert.equal(clock.waiting, 0);
});

test('counts the negotiation into the deadline of the opening', async () => {
  const clock = new ManualClock();
  const { qemu, opening } = openFake({ clock, openTimeoutMs: 2000 });
  const failed = faultOf(opening, 'timeout');
  await clock.advance(1500);
  qemu.say(GREETING);
  await qemu.next();
  await clock.advance(500);
  assert.match((await failed).message, /to qmp_capabilities took longer than 0\.5 s/);
});

const BAD_OPENINGS: readonly (readonly [string, (qemu: FakeQemu) => void, Fault['code'], RegExp])[] = [
  ['hangs up before it greets', (qemu) => qemu.stream.end(), 'wire.closed', /without a greeting/],
  ['hangs up in its greeting', (qemu) => qemu.stream.end('{"QMP'), 'wire.closed', /in the middle of a message/],
  ['does not begin with a greeting', (qemu) => qemu.event('STOP'), 'wire.broken', /does not begin with a greeting/],
  ['is no QMP server', (qemu) => qemu.stream.write('HTTP/1.1 400\r\n'), 'wire.broken', /does not speak QMP/],
];

for (const [what, act, code, says] of BAD_OPENINGS) {
  test(`does not open when the peer ${what}`, async () => {
    const { qemu, opening } = openFake();
    act(qemu);
    assert.match((await faultOf(opening, code)).message, says);
  });
}

test('does not open when QEMU refuses the negotiation, or the caller gives up', async () => {
  const { qemu, opening } = openFake();
  qemu.say(GREETING);
  const { id } = await qemu.next();
  qemu.say({ id, error: { class: 'CommandNotFound', desc: 'already complete' } });
  assert.match((await faultOf(opening, 'wire.broken')).message, /refuses qmp_capabilities: already complete/);
  await faultOf(openFake({ signal: AbortSignal.abort() }).opening, 'aborted');
});

test('connects to a socket, and tells a missing, a deaf and an overlong one apart', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'qmp-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'a.sock');
  const missing = await faultOf(connectQmp(path), 'wire.closed');
  assert.ok(isPeerGone(missing));
  assert.match(missing.message, /there is no such socket/);
  assert.equal((await faultOf(connectQmp(`/${'x'.repeat(107)}`), 'socket.path_long')).details['bytes'], 108);

  const sessions: QmpSession[] = [];
  const server = createServer((socket) => {
    // One client at a time, as QEMU: the second is accepted by the kernel and hears nothing.
    if (sessions.length === 0) void new FakeQemu(socket).greet();
  }).listen(path);
  await new Promise((resolve) => server.once('listening', resolve));
  sessions.push(await connectQmp(path));
  const second = await faultOf(connectQmp(path, { openTimeoutMs: 30 }), 'timeout');
  assert.match(second.message, /^The greeting of .*a\.sock took longer/);
  assert.ok(!isPeerGone(second));
  sessions[0]?.close();
  server.close();
});
