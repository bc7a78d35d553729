/** Events in a session: a server that a test plays by hand tells of them before, between and after replies. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { isFault } from '../../lib/fault.ts';
import { faultOf } from '../testing/fault-of.ts';
import type { QmpEvent } from './commands.ts';
import { isQmpError } from './error.ts';
import { eventLine, GREETING, isDeleted, openedFake, openFake, STATUS } from './testing.ts';

test('hears an event that comes in one piece with the negotiation', async () => {
  const events: string[] = [];
  const { qemu, opening } = openFake({ onEvent: (event) => events.push(event.name) });
  qemu.say(GREETING);
  const { id } = await qemu.next();
  qemu.say({ return: {}, id }, eventLine('STOP'));
  await opening;
  assert.deepEqual(events, ['STOP']);
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
  let asked = 0;
  const matches = (event: QmpEvent) => ++asked > 0 && isDeleted('a')(event);
  const done = faultOf(session.executeUntil('device_del', { id: 'a' }, matches, { timeoutMs: 5000 }), 'timeout');
  const { id } = await qemu.next();
  qemu.say({ return: {}, id });
  await clock.advance(5000);
  assert.equal((await done).message, 'The completion of device_del by fake took longer than 5 s.');
  qemu.event('DEVICE_DELETED', { device: 'a', path: '/machine/peripheral/a' });
  const reply = session.execute('query-status');
  qemu.say({ return: STATUS, id: (await qemu.next()).id });
  await reply;
  assert.equal(asked, 0, 'nobody looks out for it any more');
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
