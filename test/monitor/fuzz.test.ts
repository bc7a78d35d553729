/**
 * Mutated input at a monitor's socket, in all three dialects: it answers or hangs up, in time, and nothing is asked of the
 * VM that was not understood as a whole. USHER_RUNS says how many inputs, USHER_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { OPERATIONS } from '../../src/api/operations.ts';
import { RpcConnection } from '../../src/api/rpc.ts';
import { knownOperation, validParams } from '../../src/app/dispatch.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { withDeadline } from '../../src/lib/deadline.ts';
import { silentLog } from '../../src/lib/log.ts';
import { parseUuid } from '../../src/model/ids.ts';
import { COMMANDS, type MonitorCommand, spellings } from '../../src/monitor/commands.ts';
import { formatFrame } from '../../src/monitor/framed-rpc.ts';
import { MonitorSocket } from '../../src/monitor/socket.ts';

const RUNS = Number(process.env['USHER_RUNS'] ?? 4000);
const SEED = Number(process.env['USHER_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const AT_ONCE = 32;
/** Of the event loop: from one piece to the next, so that each is read by itself; and what is done takes longer than that. */
const SENDING_TURNS = 3;
const DOING_TURNS = 5;
/** However busy the machine is: what takes longer hangs. */
const HANG_MS = 60_000;
const UUID = parseUuid('0b7b6e35-6d3c-4b5e-9a6c-0a4e4a1f0c11');

/** Lines that are good, one at least for every command, and the same in frames and as RPC. */
const LINES = [
  ...spellings().map(([spelling]) => spelling),
  'start paused=true',
  'shutdown timeout=1.5 forced=false',
  'reboot forced=true auto-start=true',
  'suspend file="/srv/a b.save" live=true',
  "suspend '/srv/a\\ b'",
  'restore file=/srv/x paused=true delete=false',
  'checkpoint /srv/x=y disks=ignore',
  'get field=memory',
  'set field=memory value=64',
  'disk-add physpath=/a.img virtpath=hda mode=r',
  'nic-add id=1 bridge=xenbr0 mac=00:16:3e:00:00:01',
  'pci-add 0000:02:1d.7 id=1',
  'cd-insert virtpath=hdc physpath=/a.iso',
  'cd-eject hdc',
  'set-mem-target mb=128',
  'trigger params=power',
  'read-config path=/a.cfg',
];
const BARE: Readonly<Record<string, string>> = { 'pci-add': 'pci', 'cd-eject': 'virtpath' };
const SEEDS: readonly Buffer[] = [
  ...LINES.map((line) => Buffer.from(`${line}\n`)),
  Buffer.from('status\nhelp\nsubscribe\nsubscribe\nstatus\n'),
  ...LINES.map((line) => formatFrame({ jsonrpc: '2.0', ...asRequest(line), id: 1 })),
  formatFrame({ method: 'start', params: { paused: true }, id: 'x' }),
  Buffer.concat([formatFrame({ method: 'reset', id: 1 }), formatFrame({ method: 'pause', id: 2 })]),
  ...Object.keys(OPERATIONS).map((method) => rpc({ id: 1, method, params: { vm: 'work' } })),
  rpc({ id: 'a', method: 'vm.suspend', params: { vm: 'work', file: '/x' } }),
  rpc({ id: null, method: 'hello', params: { client: 'x', protocol: 1 } }),
];
/** Too much of something: sent once, for mutants of them would be as large. */
const LARGE: readonly Buffer[] = [
  Buffer.from(`{"id":1,"x":"${'x'.repeat(4 * 1024 * 1024)}`),
  Buffer.concat(Array.from({ length: 200 }, (_, id) => rpc({ id, method: 'vm.list', params: {} }))),
  Buffer.from('status\n'.repeat(200)),
  ...[{ file: `/${'x'.repeat(4096)}` }, { file: '/\0' }].map((params) => formatFrame({ method: 'suspend', params })),
  ...['x'.repeat(8001), '\u0001'].map((value) => formatFrame({ method: 'set', params: { field: 'memory', value } })),
  formatFrame({ method: 'x'.repeat(41), id: 1 }),
  rpc({ id: 1, method: 'x'.repeat(65) }),
  Buffer.from('{"id":1,"method":"doctor"}\nnull\n5\n[]\n"x"\n'),
];
/** What is worth to be put in anywhere. */
const WORDS = ['"', "'", '\\', '=', '\n', '\r\n', '\0', ' ', '\t', '{', '}', '[', ']', 'null', 'true', '-1', '1e9'].map(
  (word) => Buffer.from(word),
);
const MORE_WORDS = [
  Buffer.from('\u202e☃'),
  Buffer.of(0xff, 0xfe),
  Buffer.alloc(9000, 'x'),
  Buffer.of(0, 0, 0, 0),
  Buffer.of(0, 0xff, 0xff, 0xff),
  Buffer.from(' file=/x'),
  Buffer.from('"params":[]'),
  Buffer.from('{"id":{},"method":5}\n'),
  formatFrame([]),
  formatFrame({ id: [], method: 'pause' }),
  formatFrame({ id: 1, method: 'pause', params: null }),
  formatFrame({ id: 1, method: 'suspend', params: { file: ['/x'] } }),
  formatFrame({ id: 1 }),
  Buffer.concat([Buffer.of(0, 0, 0, 2), Buffer.of(0xff, 0xff)]),
];

/** As they are, once; from then on, mutants. */
const FIRST = [...SEEDS, ...LARGE];

test(`${RUNS} mutated inputs with the seed ${SEED}`, { timeout: 3_600_000 }, async (t) => {
  t.diagnostic(`USHER_SEED=${SEED} USHER_RUNS=${RUNS}`);
  const random = randomOf(SEED);
  const bench = await openBench();
  const counts = { text: 0, framed: 0, rpc: 0, performed: 0, refused: 0, cutOff: 0 };
  try {
    for (let begun = 0; begun < RUNS; begun += AT_ONCE) {
      const inputs = Array.from(
        { length: Math.min(AT_ONCE, RUNS - begun) },
        (_, i) => FIRST[begun + i] ?? mutate(random),
      );
      await bench.check(
        inputs.map((input) => ({ input, cut: random() })),
        counts,
      );
    }
    // It goes on as ever.
    assert.match(await bench.say(Buffer.from('status\n')), /^did 1 of \d+\nok\n$/);
  } finally {
    await bench.close();
  }
  t.diagnostic(JSON.stringify(counts));
  if (RUNS >= 1000) for (const [name, count] of Object.entries(counts)) assert.ok(count > 0, name);
});

async function openBench() {
  const folder = await mkdtemp(join(tmpdir(), 'usher-fuzz-'));
  const path = join(folder, 'vm.sock');
  const bugs: unknown[] = [];
  /** How often something was asked of the VM by a connection, by the number that it has here. */
  const asked = new Map<number, number>();
  let quits = 0;
  const log = { ...silentLog, error: (message: string, fields: object = {}) => void bugs.push({ message, ...fields }) };
  /** Counts; the answer says how much it was, and of which connection. */
  const ask = async (number: number) => {
    const count = (asked.get(number) ?? 0) + 1;
    asked.set(number, count);
    // More of the input comes while something is done.
    await turns(DOING_TURNS);
    return `did ${count} of ${number}`;
  };
  let connections = 0;
  const socket = await MonitorSocket.open({
    ...{ path, uuid: UUID, clock: systemClock, log },
    peerOf: () => ({ uid: 0, pid: ++connections, user: 'root' }),
    async perform(command: MonitorCommand, { pid }, caller) {
      assert.ok(Object.hasOwn(COMMANDS, command.name));
      if (command.name === 'quit') return [];
      if (command.name === 'subscribe') caller.notify({ code: 61_440, parts: ['vm', 'state', 'running'] });
      return [await ask(pid)];
    },
    serveRpc(connection, head, { pid }) {
      const served = new RpcConnection({
        async dispatch(operation, params, { notify }) {
          validParams(knownOperation(operation), params);
          if (operation === 'doctor') throw new TypeError('a bug');
          notify('progress', {});
          return await ask(pid);
        },
        write: (text) => connection.write(text),
        end: () => connection.end(),
      });
      connection.on('data', (chunk: Buffer) => served.push(chunk));
      connection.on('close', () => served.close());
      served.push(head);
    },
    onQuit: () => void quits++,
  });

  /** Sends bytes in two pieces and gives all that is answered, until the end; `isCutOff`: by it, or while we still sent. */
  const say = (input: Buffer, cut = 0): Promise<{ readonly heard: string; readonly isCutOff: boolean }> =>
    withDeadline({ what: `The answer to ${JSON.stringify(input.toString('latin1'))}`, timeoutMs: HANG_MS }, () => {
      const isRpc = input[0] === 0x7b;
      return new Promise((resolve) => {
        let heard = '';
        let isCutOff = false;
        const client = connect({ path, allowHalfOpen: true }, async () => {
          for (const piece of pieces(input, cut)) {
            client.write(piece);
            await turns(SENDING_TURNS);
          }
          if (isRpc) client.write('\n{"id":"the end","method":"hello","params":{"client":"x","protocol":1}}\n');
          else client.end();
        });
        const finish = () => {
          client.destroy();
          resolve({ heard, isCutOff });
        };
        client.on('data', (chunk: Buffer) => {
          heard += chunk.toString();
          if (isRpc && heard.includes('"id":"the end"')) finish();
        });
        client.on('end', () => {
          // What is too much for it ends a connection, and then what is under way is not answered.
          isCutOff = isRpc || heard.includes('A line is longer than');
          finish();
        });
        client.on('error', () => {
          isCutOff = true; // It hung up while we still sent.
          finish();
        });
      });
    });

  type Counts = Record<'text' | 'framed' | 'rpc' | 'performed' | 'refused' | 'cutOff', number>;
  /** Gives how much the VM was asked for, by the answers, and the number of the connection if they tell it. */
  const checkOne = async (input: Buffer, cut: number, counts: Counts) => {
    const quitsBefore = quits;
    const { heard, isCutOff } = await say(input, cut);
    const what = JSON.stringify(input.toString('latin1'));
    assert.deepEqual(bugs, [], what);
    const [first] = input;
    counts[first === 0x7b ? 'rpc' : first === 0 ? 'framed' : 'text']++;
    const done = [...heard.matchAll(/\bdid (\d+) of (\d+)/g)];
    const did = done.length;
    const refused = (heard.match(/^error |"error":/gm) ?? []).length;
    counts.performed += did;
    counts.refused += refused;
    counts.cutOff += isCutOff ? 1 : 0;
    // An answer for each thing done, in order.
    assert.deepEqual(
      done.map(([, number]) => Number(number)).toSorted((a, b) => a - b),
      Array.from({ length: did }, (_, i) => i + 1),
      what,
    );
    if (first === 0)
      assert.equal(did + refused + (quits > quitsBefore ? 1 : 0) >= 1 || heard.includes('result'), true, what);
    for (const line of heard.split('\n').slice(0, -1)) {
      if (first === 0 || first === 0x7b) JSON.parse(line);
      else assert.match(line, LINE_OF_ANSWER, what);
    }
    const connection = done[0]?.[2];
    return { what, did, isCutOff, ...(connection === undefined ? {} : { connection: Number(connection) }) };
  };

  return {
    say: async (input: Buffer) => (await say(input)).heard,
    /** Sends all at once. What was refused has asked nothing of the VM: all that was asked of it is in an answer. */
    async check(inputs: readonly { readonly input: Buffer; readonly cut: number }[], counts: Counts) {
      asked.clear();
      const before = connections;
      const all = await Promise.all(inputs.map(({ input, cut }) => checkOne(input, cut, counts)));
      for (const { what, did, isCutOff, connection } of all) {
        if (connection === undefined) continue;
        if (!isCutOff) assert.equal(asked.get(connection), did, `more was asked of the VM than is answered: ${what}`);
        asked.delete(connection);
      }
      // Who was cut off may have asked and never heard of it.
      const silent = all.filter(({ connection }) => connection === undefined);
      const unanswered = [...asked.keys()].filter((connection) => connection > before).length;
      assert.ok(
        unanswered <= silent.filter(({ isCutOff }) => isCutOff).length,
        `something was asked of the VM and is not answered, by one of ${silent.map(({ what }) => what).join('\n')}`,
      );
    },
    async close() {
      await socket.close();
      await rm(folder, { recursive: true });
    },
  };
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Two pieces, or, of every tenth input, the first hundred bytes one by one. */
function pieces(input: Buffer, cut: number): readonly Buffer[] {
  if (cut >= 0.1) return [input.subarray(0, cut * input.length), input.subarray(cut * input.length)];
  return [...[...input.subarray(0, 100)].map((byte) => Buffer.of(byte)), input.subarray(100)];
}

/** A good answer's lines, its end, a bad answer, a notification, help. */
const LINE_OF_ANSWER = /^(did \d+ of \d+|ok|error [a-z_]+(\.[a-z_]+)? .+|[0-9a-f-]{36}:\d+:.*|[a-z0-9-]+ .*)$/;

function asRequest(line: string): { method: string; params: Record<string, string> } {
  const [method = '', ...words] = line.split(' ');
  const params = words.map((word): [string, string] => {
    const equals = word.indexOf('=');
    return equals > 0 ? [word.slice(0, equals), word.slice(equals + 1)] : [BARE[method] ?? 'file', word];
  });
  return { method, params: Object.fromEntries(params) };
}

function rpc(request: object): Buffer {
  return Buffer.from(`${JSON.stringify({ jsonrpc: '2.0', ...request })}\n`);
}

function mutate(random: () => number): Buffer {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  let bytes: Buffer = Buffer.from(pick(SEEDS));
  for (let times = 1 + Math.floor(random() * 4); times > 0; times--) {
    const at = Math.floor(random() * (bytes.length + 1));
    const to = Math.min(bytes.length, at + Math.floor(random() * 8));
    const [before, cut, after] = [bytes.subarray(0, at), bytes.subarray(at, to), bytes.subarray(to)];
    const kinds: (() => Buffer)[] = [
      () => Buffer.concat([before, after]),
      () => Buffer.concat([before, cut, cut, after]),
      () => Buffer.concat([before, pick(random() < 0.7 ? WORDS : MORE_WORDS), cut, after]),
      () => Buffer.concat([before, Buffer.of(Math.floor(random() * 256)), after]),
      () => Buffer.concat([bytes, pick(SEEDS)]),
      () => Buffer.concat([before, pick(SEEDS)]),
      () => pick(MORE_WORDS),
      () => before,
    ];
    bytes = pick(kinds)();
  }
  // A frame whose body has changed is told its length again, half of the time: else nearly all would be cut off.
  if (bytes[0] === 0 && bytes.length > 4 && random() < 0.7) {
    bytes = Buffer.from(bytes);
    bytes.writeUInt32BE(bytes.length - 4);
  }
  return bytes;
}

/** mulberry32: numbers from 0 to 1 that a seed repeats. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
