/** How a session opens, or why not: over a stream that a test plays by hand, and over sockets. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import type { FaultCode } from '../../lib/fault.ts';
import { faultOf } from '../testing/fault-of.ts';
import { isPeerGone } from './error.ts';
import { connectQmp, type QmpSession } from './session.ts';
import { FakeQemu, GREETING, openFake } from './testing.ts';

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

const BAD_OPENINGS: readonly (readonly [string, (qemu: FakeQemu) => void, FaultCode, RegExp])[] = [
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
