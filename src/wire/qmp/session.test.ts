/** Commands and their replies: with a server that a test plays by hand, and the recorded talk of a real one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { faultOf } from '../testing/fault-of.ts';
import { isQmpError } from './error.ts';
import { eventLine, openedFake, readTranscripts, STATUS } from './testing.ts';

for (const name of ['usb', 'storage', 'power', 'migrate']) {
  test(`replays the transcript "${name}"`, async () => {
    const lines = readTranscripts().get(name)?.slice(3) ?? [];
    assert.ok(lines.length > 2, 'the transcript says something');
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
