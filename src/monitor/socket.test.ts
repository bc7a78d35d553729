import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Clock, ManualClock, systemClock } from '../lib/clock.ts';
import { Fault, isFault } from '../lib/fault.ts';
import { silentLog } from '../lib/log.ts';
import { parseUuid } from '../model/ids.ts';
import type { MonitorCommand } from './commands.ts';
import { MonitorSocket, type MonitorSocketOptions } from './socket.ts';

const UUID = parseUuid('0b7b6e35-6d3c-4b5e-9a6c-0a4e4a1f0c11');
const PEER = { uid: 0, pid: 1, user: 'root' };

interface Bench {
  readonly path: string;
  readonly socket: MonitorSocket;
  readonly commands: MonitorCommand[];
  connect(): Promise<Client>;
}

/** A client that collects what it is told. */
class Client {
  readonly socket: Socket;
  heard = '';
  #isOver = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#isOver = true;
    });
    socket.on('data', (chunk: Buffer) => {
      this.heard += chunk.toString();
    });
  }

  /** Waits until as many lines were heard, and gives all that was. */
  async lines(count: number): Promise<string[]> {
    while (this.heard.split('\n').length - 1 < count && !this.#isOver) {
      await Promise.race([once(this.socket, 'data'), once(this.socket, 'close')]);
    }
    return this.heard.split('\n').slice(0, -1);
  }

  async over(): Promise<string> {
    if (!this.#isOver) await once(this.socket, 'close');
    return this.heard;
  }
}

async function withSocket(use: (bench: Bench) => Promise<void>, options: Partial<MonitorSocketOptions> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'usher-monitor-'));
  const path = join(folder, 'vm.sock');
  const commands: MonitorCommand[] = [];
  const clients: Client[] = [];
  const socket = await MonitorSocket.open({
    path,
    uuid: UUID,
    clock: systemClock,
    log: silentLog,
    peerOf: () => PEER,
    perform: async (command) => {
      commands.push(command);
      return command.name === 'status' ? ['running'] : [];
    },
    serveRpc: (connection) => connection.destroy(),
    onQuit: () => undefined,
    ...options,
  });
  try {
    await use({
      path,
      socket,
      commands,
      async connect() {
        const connection = connect(path);
        const client = new Client(connection);
        clients.push(client);
        await once(connection, 'connect');
        return client;
      },
    });
  } finally {
    for (const client of clients) client.socket.destroy();
    await socket.close();
    await rm(folder, { recursive: true });
  }
}

test('a command is answered with its lines and ok', () =>
  withSocket(async ({ path, connect, commands }) => {
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const client = await connect();
    client.socket.write('status\n');
    assert.deepEqual(await client.lines(2), ['running', 'ok']);
    client.socket.write('suspend file=/x live=true\r\n\n  \n');
    assert.deepEqual((await client.lines(3)).slice(2), ['ok']);
    assert.deepEqual(commands.at(-1), { name: 'suspend', params: { file: '/x', isLive: true } });
    client.socket.write('help\n');
    assert.ok((await client.lines(20)).some((line) => line.startsWith('checkpoint file=PATH')));
  }));

test('bytes may come one by one, and a last line without its end counts', () =>
  withSocket(async ({ connect, commands }) => {
    const client = await connect();
    for (const byte of 'pause\nstat') {
      client.socket.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.socket.end('us');
    assert.equal(await client.over(), 'ok\nrunning\nok\n');
    assert.equal(commands.length, 2);
  }));

test('lines that are sent at once are answered in their order, one at a time', async () => {
  let going = 0;
  const perform = async (command: MonitorCommand) => {
    going++;
    assert.equal(going, 1);
    await new Promise((resolve) => {
      if (command.params['file'] === '/0') setTimeout(resolve, 5);
      else setImmediate(resolve);
    });
    going--;
    return [String(command.params['file'])];
  };
  await withSocket(
    async ({ connect }) => {
      const client = await connect();
      const count = 500;
      client.socket.end(Array.from({ length: count }, (_, i) => `checkpoint /${i}\n`).join(''));
      const expected = Array.from({ length: count }, (_, i) => `/${i}\nok\n`).join('');
      assert.equal(await client.over(), expected);
    },
    { perform },
  );
});

test('faults and bugs are error lines, and the connection goes on', async () => {
  const perform = (command: MonitorCommand) =>
    command.name === 'pause'
      ? Promise.reject(new Fault('vm.state', { verb: 'pause', vm: 'work', state: 'halted', expected: 'running' }))
      : Promise.reject(new TypeError('oops'));
  await withSocket(
    async ({ connect }) => {
      const client = await connect();
      client.socket.write('pause\nreset\npaus\nhelp\n');
      const lines = await client.lines(5);
      assert.match(
        lines[0] ?? '',
        /^error vm\.state "pause" cannot be performed: VM work is shutdown, expected running\.$/,
      );
      assert.match(lines[1] ?? '', /^error internal /);
      assert.match(lines[2] ?? '', /^error usage .* Did you mean "pause"\?$/);
    },
    { perform },
  );
});

test('garbage is refused line by line', () =>
  withSocket(async ({ connect, commands }) => {
    const client = await connect();
    client.socket.write(Buffer.from([0xff, 0xfe, 0x80, 0x1b, 0x5b, 0x0a]));
    const [line = ''] = await client.lines(1);
    assert.match(line, /^error usage /);
    assert.ok(!line.includes('\u001b'));
    assert.equal(commands.length, 0);
  }));

test('a line of 100 MB is refused after 8 KiB, and is not kept', () =>
  withSocket(async ({ connect }) => {
    const client = await connect();
    const chunk = Buffer.alloc(1 << 20, 'x');
    const before = process.memoryUsage().rss;
    for (let sent = 0; sent < 100 && !client.socket.destroyed && client.heard === ''; sent++) {
      if (!client.socket.write(chunk)) await Promise.race([once(client.socket, 'drain'), client.lines(1)]);
    }
    assert.match((await client.lines(1)).join(), /^error usage A line is longer than 8192 bytes\.$/);
    assert.ok(process.memoryUsage().rss - before < 32 << 20);
  }));

test('a half line times out; no timer waits for who is silent or has said all', async () => {
  const clock = new ManualClock();
  await withSocket(
    async ({ connect }) => {
      const silent = await connect();
      const client = await connect();
      client.socket.write('status\n');
      await client.lines(2);
      assert.equal(clock.waiting, 0);
      client.socket.write('sta');
      while (clock.waiting === 0) await new Promise((resolve) => setImmediate(resolve));
      await clock.advance(29_999);
      client.socket.write('t');
      await clock.advance(1);
      const last = (await client.lines(3)).at(-1);
      assert.equal(last, 'error usage A line was not finished within 30 s.');
      await clock.advance(1_000);
      await client.over();
      assert.equal(clock.waiting, 0);
      assert.equal(silent.socket.destroyed, false);
    },
    { clock: clock as Clock },
  );
});

test('a half line that is not read on, because others wait for their turn, does not time out', async () => {
  const clock = new ManualClock();
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const perform = async () => {
    await gate;
    return [];
  };
  await withSocket(
    async ({ connect }) => {
      const client = await connect();
      client.socket.write(`${'pause\n'.repeat(100)}unpau`);
      await new Promise((resolve) => setTimeout(resolve, 50));
      await clock.advance(60_000);
      client.socket.write('se\n');
      open();
      assert.deepEqual(await client.lines(101), Array(101).fill('ok'));
      assert.equal(clock.waiting, 0);
    },
    { clock: clock as Clock, perform },
  );
});

test('a brace hands the connection on with what was read', async () => {
  const serveRpc = (socket: Socket, head: Buffer) => socket.end(`got ${head}`);
  await withSocket(
    async ({ connect }) => {
      const rpc = await connect();
      rpc.socket.write('{"id":1}');
      assert.equal(await rpc.over(), 'got {"id":1}');
    },
    { serveRpc },
  );
});

test('quit is refused like any other command, and then not obeyed', () => {
  const perform = async ({ name }: MonitorCommand) => {
    if (name !== 'quit') return ['running'];
    throw new Fault('denied', { user: 'eve', operation: 'monitor.quit', what: 'it may only look' });
  };
  const onQuit = () => assert.fail('it quit');
  return withSocket(
    async ({ connect }) => {
      const client = await connect();
      client.socket.write('quit\nstatus\n');
      assert.deepEqual(await client.lines(3), [
        'error denied User eve may not do "monitor.quit": it may only look.',
        'running',
        'ok',
      ]);
    },
    { perform, onQuit },
  );
});

test('quit is answered, then the socket goes away', async () => {
  let quit: (() => void) | undefined;
  const quitted = new Promise<void>((resolve) => {
    quit = resolve;
  });
  await withSocket(
    async ({ path, socket, connect }) => {
      const other = await connect();
      const client = await connect();
      client.socket.write('quit\npause\n');
      await quitted;
      await socket.close();
      assert.equal(await client.over(), 'ok\n');
      await other.over();
      assert.equal(existsSync(path), false);
    },
    { onQuit: () => quit?.() },
  );
});

test('a client that goes away in the middle does no harm', async () => {
  const begun = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  const perform = async (command: MonitorCommand) => {
    if (command.name !== 'shutdown') return [];
    begun.resolve();
    await done.promise;
    return [];
  };
  await withSocket(
    async ({ connect }) => {
      const client = await connect();
      client.socket.write('shutdown\nstatus\n');
      await begun.promise;
      client.socket.destroy();
      await new Promise((resolve) => setImmediate(resolve));
      done.resolve();
      const next = await connect();
      next.socket.write('pause\n');
      assert.deepEqual(await next.lines(1), ['ok']);
    },
    { perform },
  );
});

test('a path that is too long is refused, one that is taken too', () =>
  withSocket(async ({ path, socket }) => {
    const options = { uuid: UUID, clock: systemClock, log: silentLog, peerOf: () => PEER, perform: async () => [] };
    const more = { ...options, serveRpc: () => undefined, onQuit: () => undefined };
    const long = join(path, 'x'.repeat(107));
    await assert.rejects(MonitorSocket.open({ ...more, path: long }), (error) => isFault(error, 'socket.path_long'));
    await assert.rejects(MonitorSocket.open({ ...more, path: socket.path }), (error) => isFault(error, 'socket.busy'));
  }));

test('many clients are served side by side', () =>
  withSocket(async ({ connect, commands }) => {
    const clients = await Promise.all(Array.from({ length: 200 }, () => connect()));
    for (const client of clients) client.socket.write('pause\nstatus\n');
    for (const client of clients) assert.deepEqual(await client.lines(3), ['ok', 'running', 'ok']);
    assert.equal(commands.length, 400);
  }));
