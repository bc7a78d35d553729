/** The standing connection against servers that come, go, hang up at once and come back. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { QmpLink, type QmpLinkOptions } from './link.ts';
import { FakeQemu } from './testing.ts';

interface Peer {
  readonly path: string;
  readonly clients: FakeQemu[];
  listen(): Promise<void>;
  /** Hangs up on all clients, and listens no more. */
  die(): Promise<void>;
}

function makePeer(t: TestContext, welcome: (qemu: FakeQemu) => void = (qemu) => void qemu.greet()): Peer {
  const folder = mkdtempSync(join(tmpdir(), 'qmp-'));
  const path = join(folder, 'a.sock');
  const clients: FakeQemu[] = [];
  let server: Server | undefined;
  const peer: Peer = {
    path,
    clients,
    listen: () =>
      new Promise((resolve) => {
        server = createServer((socket) => {
          const qemu = new FakeQemu(socket);
          clients.push(qemu);
          welcome(qemu);
        }).listen(path, resolve);
      }),
    die: () =>
      new Promise((resolve) => {
        for (const { stream } of clients.splice(0)) stream.destroy();
        if (server?.listening) server.close(() => resolve());
        else resolve();
      }),
  };
  t.after(async () => {
    await peer.die();
    rmSync(folder, { recursive: true });
  });
  return peer;
}

/** A link whose calls are written down; `until` waits for the next of a kind. */
function watch(t: TestContext, options: Omit<QmpLinkOptions, 'up'> & Partial<Pick<QmpLinkOptions, 'up'>>) {
  const calls: string[] = [];
  let wake = () => {};
  const write = (call: string) => {
    calls.push(call);
    wake();
  };
  const link = new QmpLink({
    random: () => 0,
    ...options,
    up(session) {
      options.up?.(session);
      write('up');
    },
    down: (fault, session) => write(`${session === undefined ? 'failed' : 'down'} ${fault.code}`),
    gone: (fault) => write(`gone ${fault.code}`),
    event: ({ name }) => write(name),
  });
  t.after(() => link.stop());
  const until = async (count: number) => {
    while (calls.length < count) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return calls;
  };
  return { link, calls, until };
}

test('comes up, passes events on, goes down and comes up again', async (t) => {
  const peer = makePeer(t);
  await peer.listen();
  const clock = new ManualClock();
  const { link, until } = watch(t, { path: peer.path, clock });
  await until(1);
  assert.equal(link.session?.isOpen, true);
  assert.equal(clock.waiting, 0, 'an idle link has no timer');
  peer.clients[0]?.event('RESET', { guest: true, reason: 'guest-reset' });
  await until(2);
  await clock.advance(1000);
  peer.clients[0]?.stream.destroy();
  assert.deepEqual(await until(4), ['up', 'RESET', 'down wire.closed', 'up']);
  assert.equal(link.isOver, false);
});

test('ends when the socket is gone, and when nobody listens on it', async (t) => {
  const peer = makePeer(t);
  const missing = watch(t, { path: peer.path });
  assert.deepEqual(await missing.until(2), ['failed wire.closed', 'gone wire.closed']);
  assert.equal(missing.link.isOver, true);
  assert.equal(missing.link.session, undefined);

  await peer.listen();
  const clock = new ManualClock();
  const lost = watch(t, { path: peer.path, clock });
  await lost.until(1);
  await clock.advance(60_000);
  await peer.die();
  assert.deepEqual(await lost.until(4), ['up', 'down wire.closed', 'failed wire.closed', 'gone wire.closed']);
  assert.equal(clock.waiting, 0);
});

test('waits longer and longer while the caller hopes', async (t) => {
  const peer = makePeer(t);
  const clock = new ManualClock();
  const asked: number[] = [];
  const { calls, until } = watch(t, {
    path: peer.path,
    clock,
    backoff: { firstMs: 100, capMs: 400, jitter: 0.5 },
    isGone: (_fault, failures) => asked.push(failures) === 6,
  });
  for (const [failures, delayMs] of [100, 200, 400, 400].entries()) {
    await until(failures + 1);
    await clock.advance(delayMs - 1);
    assert.equal(calls.length, failures + 1);
    await clock.advance(1);
  }
  await until(5);
  assert.deepEqual(asked, [1, 2, 3, 4, 5]);
  await peer.listen();
  await clock.advance(400);
  assert.equal((await until(6)).at(-1), 'up');
});

test('backs off from a peer that greets and hangs up', async (t) => {
  const peer = makePeer(t, (qemu) => void qemu.greet().then(() => qemu.stream.end()));
  await peer.listen();
  const clock = new ManualClock();
  const { until } = watch(t, { path: peer.path, clock, backoff: { firstMs: 100, capMs: 1000, jitter: 0 } });
  await until(2);
  assert.equal(clock.waiting, 1);
  await clock.advance(100);
  await until(4);
  await clock.advance(199);
  assert.deepEqual(await until(4), ['up', 'down wire.closed', 'up', 'down wire.closed']);
  await clock.advance(1);
  await until(6);
});

test('tries again after a peer that talks garbage or never greets', async (t) => {
  const openings = [
    (qemu: FakeQemu) => qemu.stream.write('garbage\n'),
    () => {},
    (qemu: FakeQemu) => void qemu.greet(),
  ];
  const peer = makePeer(t, (qemu) => openings.shift()?.(qemu));
  await peer.listen();
  const { until } = watch(t, {
    path: peer.path,
    session: { openTimeoutMs: 30 },
    backoff: { firstMs: 1, capMs: 1, jitter: 0 },
  });
  assert.deepEqual(await until(3), ['failed wire.broken', 'failed timeout', 'up']);
});

test('tries at once when told that the peer is back', async (t) => {
  const peer = makePeer(t);
  const clock = new ManualClock();
  const { link, until } = watch(t, { path: peer.path, clock, isGone: () => false });
  await until(1);
  await peer.listen();
  link.retryNow();
  link.retryNow();
  assert.deepEqual(await until(2), ['failed wire.closed', 'up']);
  link.retryNow();
  assert.equal(peer.clients.length, 1);
});

test('stops without another call, in every state', async (t) => {
  const peer = makePeer(t);
  const clock = new ManualClock();
  const waiting = watch(t, { path: peer.path, clock, isGone: () => false });
  await waiting.until(1);
  waiting.link.stop();
  assert.equal(clock.waiting, 0);
  waiting.link.retryNow();

  await peer.listen();
  const connecting = watch(t, { path: peer.path, clock });
  connecting.link.stop();
  const up = watch(t, { path: peer.path, clock });
  await up.until(1);
  const { session } = up.link;
  up.link.stop();
  up.link.stop();
  await session?.closed;
  await clock.advance(10_000);
  assert.deepEqual([waiting.calls, connecting.calls, up.calls], [['failed wire.closed'], [], ['up']]);
});

test('ends, loudly, when its user throws', async (t) => {
  const peer = makePeer(t);
  await peer.listen();
  const { calls, until } = watch(t, {
    path: peer.path,
    up() {
      throw new TypeError('a bug');
    },
  });
  assert.deepEqual(await until(1), ['gone internal']);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(calls.length, 1);
});

test('holds 100 sessions without a timer', async (t) => {
  const peer = makePeer(t);
  await peer.listen();
  const clock = new ManualClock();
  let ups = 0;
  await new Promise<void>((resolve) => {
    const up = () => {
      if (++ups === 100) resolve();
    };
    for (let i = 0; i < 100; i++) {
      const link = new QmpLink({ path: peer.path, clock, up });
      t.after(() => link.stop());
    }
  });
  assert.equal(clock.waiting, 0);
});
