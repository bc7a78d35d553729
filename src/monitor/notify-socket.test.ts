import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ManualClock } from '../lib/clock.ts';
import { pollUntil } from '../lib/deadline.ts';
import type { Log } from '../lib/log.ts';
import { newUuid } from '../model/ids.ts';
import type { Notification } from './notifications.ts';
import { NotifySocket } from './notify-socket.ts';

const UUID = newUuid();
const state = (word: string): Notification => ({ code: 61_440, parts: ['vm', 'state', word] });
const line = (word: string) => `${UUID}:61440:vm:state:${word}\n`;
const PING = `${UUID}:0:ping\n`;
const HUP = `${UUID}:1:hup\n`;

async function rig(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'usher-notify-'));
  const path = join(folder, 'listener.sock');
  const clock = new ManualClock();
  const logged: string[] = [];
  const note = (message: string) => void logged.push(message);
  const log = { debug: note, info: note, warn: note, error: note } as unknown as Log;
  const socket = new NotifySocket({ path, uuid: UUID, clock, log });
  const listeners: Listener[] = [];
  t.after(async () => {
    socket.end();
    for (const listener of listeners) await listener.stop();
    await rm(folder, { recursive: true });
  });
  const listen = async (reads = true) => {
    const listener = await Listener.open(path, reads);
    listeners.push(listener);
    return listener;
  };
  return { socket, clock, logged, listen };
}

/** A program that listens, and keeps what it hears by connection. */
class Listener {
  readonly heard: string[] = [];
  readonly sockets: Socket[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(path: string, reads: boolean): Promise<Listener> {
    const server = createServer();
    const listener = new Listener(server);
    server.on('connection', (socket) => {
      const number = listener.sockets.push(socket) - 1;
      listener.heard[number] = '';
      socket.on('error', () => undefined);
      if (!reads) return void socket.pause();
      socket.setEncoding('utf8').on('data', (text: string) => {
        listener.heard[number] += text;
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return listener;
  }

  async until(what: string, is: () => boolean): Promise<void> {
    await pollUntil({ what, timeoutMs: 5_000, everyMs: 5 }, () => (is() ? true : undefined)).catch((error: unknown) => {
      assert.fail(`${String(error)}; heard ${JSON.stringify(this.heard)}`);
    });
  }

  /** Ends it as a program's death does; its socket file goes too. */
  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** Lets time go on until somebody has come. */
async function untilConnected(clock: ManualClock, listener: Listener, count = 1): Promise<void> {
  await pollUntil({ what: 'A connection', timeoutMs: 5_000, everyMs: 5 }, async () => {
    await clock.advance(1_000);
    return listener.sockets.length >= count ? true : undefined;
  });
}

test('a listener that comes late hears a ping and what was told last, in order, and then what comes', async (t) => {
  const { socket, clock, listen, logged } = await rig(t);
  for (let i = 0; i < 70; i++) socket.tell(state(`s${i}`));
  await clock.advance(60_000);
  const listener = await listen();
  await untilConnected(clock, listener);
  const last = Array.from({ length: 64 }, (_, i) => line(`s${i + 6}`)).join('');
  await listener.until('what was kept', () => listener.heard[0] === PING + last);
  socket.tell(state('paused'));
  await listener.until('the next', () => listener.heard[0] === PING + last + line('paused'));
  socket.end();
  await listener.until('the end', () => listener.heard[0]?.endsWith(HUP) === true);
  assert.deepEqual(logged, [
    'nobody listens for notifications; it is tried again',
    'a listener for notifications is there',
  ]);
  socket.tell(state('running'));
  await clock.advance(60_000);
  assert.equal(listener.sockets.length, 1, 'after the end nobody connects');
  assert.equal(clock.waiting, 0);
});

test('a listener that goes is waited for longer and longer; one that comes again hears what it missed', async (t) => {
  const { socket, clock, listen, logged } = await rig(t);
  const first = await listen();
  await untilConnected(clock, first);
  await clock.advance(5_000);
  logged.length = 0;
  await first.stop();
  await pollUntil({ what: 'The loss', timeoutMs: 5_000, everyMs: 5 }, () => (logged.length > 0 ? true : undefined));
  socket.tell(state('running'));
  const second = await listen();
  await untilConnected(clock, second);
  await second.until('what it missed', () => second.heard[0] === PING + line('running'));

  // One that hangs up on everybody: connections become rare.
  second.sockets[0]?.destroy();
  const rude = second;
  let come = 1;
  for (let tries = 0; tries < 40; tries++) {
    await clock.advance(1_000);
    await new Promise((resolve) => setTimeout(resolve, 5));
    come = rude.sockets.length;
    for (const one of rude.sockets) one.destroy();
  }
  assert.ok(come >= 4 && come <= 14, `${come} connections within 40 s`);
});

test('a listener that does not read is hung up on, and nothing piles up', async (t) => {
  const { socket, clock, listen } = await rig(t);
  const deaf = await listen(false);
  await untilConnected(clock, deaf);
  const before = process.memoryUsage().heapUsed + process.memoryUsage().external;
  for (let i = 0; i < 60_000; i++) socket.tell(state('x'.repeat(100)));
  const grown = process.memoryUsage().heapUsed + process.memoryUsage().external - before;
  assert.ok(grown < 64 * 1024 * 1024, `${grown} bytes`);
  deaf.sockets[0]?.resume();
  await deaf.until('its end', () => deaf.sockets[0]?.destroyed === true || deaf.sockets[0]?.readableEnded === true);
  await untilConnected(clock, deaf, 2);
});
