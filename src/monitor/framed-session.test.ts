/** The framed dialect over a real socket, by a client that is written from the protocol's description alone. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Clock, ManualClock, systemClock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import { Fault } from '../lib/fault.ts';
import { silentLog } from '../lib/log.ts';
import { parseUuid } from '../model/ids.ts';
import type { MonitorCommand } from './commands.ts';
import type { Caller } from './session-options.ts';
import { MonitorSocket } from './socket.ts';

const UUID = parseUuid('0b7b6e35-6d3c-4b5e-9a6c-0a4e4a1f0c11');

interface Bench {
  readonly socket: MonitorSocket;
  readonly path: string;
  readonly commands: MonitorCommand[];
  readonly callers: Caller[];
  readonly quits: number[];
  /** What is asked is answered when this is over. */
  readonly delay: { until?: Promise<void> };
}

async function withBench(use: (bench: Bench) => Promise<void>, clock: Clock = systemClock) {
  const folder = await mkdtemp(join(tmpdir(), 'usher-framed-'));
  const path = join(folder, 'vm.sock');
  const [commands, callers, quits]: [MonitorCommand[], Caller[], number[]] = [[], [], []];
  const delay: Bench['delay'] = {};
  const socket = await MonitorSocket.open({
    ...{ path, uuid: UUID, clock, log: silentLog },
    peerOf: () => ({ uid: 0, pid: 1, user: 'root' }),
    async perform(command, _peer, caller) {
      commands.push(command);
      callers.push(caller);
      await delay.until;
      if (command.name === 'pause')
        throw new Fault('vm.state', { verb: 'pause', vm: 'w', state: 'halted', expected: 'running' });
      if (command.name === 'reset') throw new TypeError('a bug');
      return command.name === 'status' ? ['running'] : [];
    },
    serveRpc: (connection) => connection.destroy(),
    onQuit: () => quits.push(1),
  });
  try {
    const bench = { socket, path, commands, callers, quits, delay };
    await withDeadline({ what: 'What is asked of the socket', timeoutMs: 20_000 }, () => use(bench));
  } finally {
    await socket.close();
    await rm(folder, { recursive: true });
  }
}

/** "4-byte big-endian length, then JSON-RPC 2.0; the reply is a bare JSON text, then close." */
function ask(path: string, method: string, params: Record<string, string> = {}, cutAt?: number): Promise<unknown> {
  const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', method, params, id: 9 }));
  const frame = Buffer.concat([Buffer.from([0, 0, body.length >> 8, body.length & 0xff]), body]);
  return exchange(path, cutAt === undefined ? [frame] : [frame.subarray(0, cutAt), frame.subarray(cutAt)]);
}

function exchange(path: string, pieces: readonly Buffer[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path, async () => {
      for (const piece of pieces) {
        if (piece.length > 0) await new Promise((sent) => socket.write(piece, sent));
        await new Promise((turn) => setImmediate(turn));
      }
    });
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('error', reject);
    socket.on('end', () => {
      socket.destroy();
      resolve(JSON.parse(text));
    });
  });
}

test('a request is answered and the connection ends, wherever the frame is cut', () =>
  withBench(async ({ path, commands }) => {
    for (const cut of [1, 2, 3, 4, 5, 30]) {
      assert.deepEqual(await ask(path, 'status', {}, cut), { jsonrpc: '2.0', result: 'running', id: 9 });
    }
    assert.deepEqual(await ask(path, 'suspend', { file: '/x', live: 'true' }), { jsonrpc: '2.0', result: null, id: 9 });
    assert.deepEqual(commands.at(-1), { name: 'suspend', params: { file: '/x', isLive: true } });
  }));

test('help is a text; faults and bugs are errors', () =>
  withBench(async ({ path, commands }) => {
    const { result } = (await ask(path, 'help')) as { result: string };
    assert.match(result, /^help .*\n(.|\n)*suspend file=PATH/);
    const error = async (method: string) => ((await ask(path, method)) as { error: object }).error;
    assert.deepEqual(await error('pause'), {
      code: -32602,
      message: '"pause" cannot be performed: VM w is shutdown, expected running.',
      data: 'vm.state',
    });
    assert.match(JSON.stringify(await error('reset')), /internal/);
    const before = commands.length;
    assert.match(JSON.stringify(await error('fly')), /unknown RPC/);
    assert.match(JSON.stringify(await error('suspend')), /needs file=PATH/);
    assert.equal(commands.length, before);
  }));

test('what is no request is told so, and nobody is asked', () =>
  withBench(async ({ path, commands }) => {
    const cases: [Buffer[], RegExp][] = [
      [[Buffer.of(0, 0, 0, 0)], /it is empty/],
      [[Buffer.of(0, 0xff, 0xff, 0xff)], /longer than/],
      [[Buffer.of(0, 0, 0, 3), Buffer.from('{{{')], /not JSON/],
    ];
    for (const [pieces, why] of cases) assert.match(JSON.stringify(await exchange(path, pieces)), why);
    assert.deepEqual(commands, []);
  }));

test('half a request times out, or ends with its client; an answer that nobody fetches, too', async () => {
  const clock = new ManualClock();
  await withBench(async ({ path, commands }) => {
    const half = exchange(path, [Buffer.of(0, 0, 0)]);
    while (clock.waiting === 0) await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(29_999);
    await clock.advance(1);
    assert.match(JSON.stringify(await half), /not finished within 30 s/);
    await clock.advance(1_000);
    assert.deepEqual(commands, []);
  }, clock);
  await withBench(async ({ path }) => {
    const socket = connect({ path, allowHalfOpen: true }, () => socket.end(Buffer.of(0, 0)));
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    assert.match(text, /The request is not finished/);
  });
});

test('quit is answered and then obeyed', () =>
  withBench(async ({ path, quits }) => {
    assert.deepEqual(await ask(path, 'quit'), { jsonrpc: '2.0', result: null, id: 9 });
    assert.equal(quits.length, 1);
  }));

test('who subscribes hears a ping, what happens, and that the monitor ends; in JSON and in lines', () =>
  withBench(async ({ socket, path, callers }) => {
    const body = Buffer.from('{"method":"subscribe","id":1}');
    const framed = listen(path, Buffer.concat([Buffer.of(0, 0, 0, body.length), body]));
    const text = listen(path, Buffer.from('subscribe\nstatus\n'));
    await framed.until(/ping/);
    await text.until(/running\nok\n/);
    for (const { notify } of new Set(callers)) notify({ code: 61_440, parts: ['vm', 'state', 'paused\u001b'] });
    await framed.until(/paused/);
    await text.until(/paused/);
    await socket.close();
    const [first, ...rest] = (await framed.over())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(first, { jsonrpc: '2.0', result: null, id: 1 });
    assert.deepEqual(
      rest.map(({ method, params }) => [method, params.uuid, params.code, params.parts[0]]),
      [
        ['notify', UUID, 0, 'ping'],
        ['notify', UUID, 61_440, 'vm'],
        ['notify', UUID, 1, 'hup'],
      ],
    );
    assert.equal(
      await text.over(),
      `ok\n${UUID}:0:ping\nrunning\nok\n${UUID}:61440:vm:state:paused\\u{1b}\n${UUID}:1:hup\n`,
    );
  }));

test('a subscriber that closes its side is let go, also when it does so before it is answered', () =>
  withBench(async ({ path, callers, delay }) => {
    const body = Buffer.from('{"method":"subscribe","id":1}');
    const answer = Promise.withResolvers<void>();
    delay.until = answer.promise;
    const listener = listen(path, Buffer.concat([Buffer.of(0, 0, 0, body.length), body]));
    while (callers.length === 0) await new Promise((resolve) => setImmediate(resolve));
    listener.closeSide();
    for (let turns = 0; turns < 10; turns++) await new Promise((resolve) => setImmediate(resolve));
    answer.resolve();
    assert.match(await listener.over(), /^\{"jsonrpc":"2.0","result":null,"id":1\}/);
    while (!callers[0]?.signal.aborted) await new Promise((resolve) => setImmediate(resolve));
  }));

test('what comes behind a request, while it is answered, is asked of nobody', () =>
  withBench(async ({ path, commands, delay }) => {
    const body = Buffer.from('{"method":"unpause","id":1}');
    const frame = Buffer.concat([Buffer.of(0, 0, 0, body.length), body]);
    const answer = Promise.withResolvers<void>();
    delay.until = answer.promise;
    const listener = listen(path, frame);
    while (commands.length === 0) await new Promise((resolve) => setImmediate(resolve));
    listener.send(frame);
    for (let turns = 0; turns < 10; turns++) await new Promise((resolve) => setImmediate(resolve));
    answer.resolve();
    assert.match(await listener.over(), /^\{"jsonrpc":"2.0","result":null,"id":1\}\n$/);
    assert.equal(commands.length, 1);
  }));

test('a subscriber that goes is told nothing more, and its signal says so', () =>
  withBench(async ({ path, callers }) => {
    const listener = listen(path, Buffer.from('subscribe\nsubscribe\n'));
    await listener.until(/ping\nok\n/);
    assert.equal(callers.length, 1, 'who has subscribed is not asked for again');
    listener.leave();
    await listener.over();
    while (!callers[0]?.signal.aborted) await new Promise((resolve) => setImmediate(resolve));
    callers[0]?.notify({ code: 0, parts: [] });
  }));

function listen(path: string, first: Buffer) {
  let heard = '';
  const socket = connect({ path, allowHalfOpen: true }, () => socket.write(first));
  socket.on('end', () => socket.end());
  const over = new Promise<string>((resolve) => socket.once('close', () => resolve(heard)));
  socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  return {
    over: () => over,
    leave: () => socket.destroy(),
    closeSide: () => socket.end(),
    send: (more: Buffer) => socket.write(more),
    async until(what: RegExp) {
      while (!what.test(heard)) await new Promise((resolve) => socket.once('data', resolve));
    },
  };
}
