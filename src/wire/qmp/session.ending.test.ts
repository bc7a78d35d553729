/** How a session ends: by what a server, played by hand, says or does not read, or by us. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultOf } from '../testing/fault-of.ts';
import { type FakeQemu, GREETING, isDeleted, openedFake } from './testing.ts';

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
