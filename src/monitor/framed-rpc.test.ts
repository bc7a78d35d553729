import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../lib/fault.ts';
import {
  FrameReader,
  formatFrame,
  formatFramedError,
  formatFramedResult,
  MAX_FRAME_BYTES,
  parseFramedRequest,
} from './framed-rpc.ts';

const REQUESTS = [
  { jsonrpc: '2.0', method: 'pause', params: {}, id: 1 },
  { jsonrpc: '2.0', method: 'suspend', params: { file: '/srv/ä ☃.save', live: 'true' }, id: 'a' },
  { method: 'status' },
];

test('a frame is read wherever it is cut, and what comes behind it is not looked at', () => {
  for (const request of REQUESTS) {
    const frame = formatFrame(request);
    const body = frame.subarray(4);
    for (let cut = 0; cut <= frame.length; cut++) {
      const reader = new FrameReader();
      const first = reader.push(frame.subarray(0, cut));
      assert.equal(first.is, cut === frame.length ? 'frame' : 'need more');
      const state = reader.push(Buffer.concat([frame.subarray(cut), Buffer.from('more')]));
      assert.ok(state.is === 'frame' && state.body.equals(body));
      assert.equal(reader.push(frame), state);
    }
  }
});

test('byte by byte, and in any pieces', () => {
  const frame = formatFrame(REQUESTS[1] ?? {});
  fc.assert(
    fc.property(fc.array(fc.nat({ max: frame.length }), { maxLength: 100 }), (cuts) => {
      const reader = new FrameReader();
      const places = [0, ...cuts.toSorted((a, b) => a - b), frame.length];
      const states = places.slice(1).map((place, i) => reader.push(frame.subarray(places[i], place)));
      assert.equal(states.at(-1)?.is, 'frame');
    }),
  );
  const reader = new FrameReader();
  const states = [...frame].map((byte) => reader.push(Buffer.of(byte)).is);
  assert.equal(states.indexOf('frame'), frame.length - 1);
});

test('a length that is too great, or nothing, breaks it as soon as it is read', () => {
  for (const [length, why] of [
    [MAX_FRAME_BYTES + 1, /longer than 65536 bytes/],
    [0x00ff_ffff, /longer/],
    [0, /empty/],
  ] as const) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(length);
    const reader = new FrameReader();
    assert.equal(reader.push(bytes.subarray(0, 3)).is, 'need more');
    const state = reader.push(bytes.subarray(3));
    assert.ok(state.is === 'broken' && why.test(state.why));
  }
});

test('a request is a command, or a refusal with its id', () => {
  const parse = (request: unknown) => parseFramedRequest(Buffer.from(JSON.stringify(request)));
  assert.deepEqual(parse(REQUESTS[1]), {
    id: 'a',
    command: { name: 'suspend', params: { file: '/srv/ä ☃.save', isLive: true } },
  });
  assert.deepEqual(parse({ method: 'start', params: { paused: true }, id: 7 }), {
    id: 7,
    command: { name: 'start', params: { isPaused: true } },
  });
  const cases: [unknown, number | null, RegExp][] = [
    [[], null, /not an object/],
    ['x', null, /not an object/],
    [null, null, /not an object/],
    [{ id: {} }, null, /"id" is neither/],
    [{ id: 'x'.repeat(257) }, null, /"id" is neither/],
    [{ id: 3 }, 3, /"method" is missing/],
    [{ id: 3, method: 5 }, 3, /"method" is missing/],
    [{ id: 3, method: 'fly' }, 3, /unknown RPC "fly"/],
    [{ id: 3, method: 'x'.repeat(100) }, 3, /unknown RPC/],
    [{ id: 3, method: 'pause', params: [] }, 3, /"params" is not an object/],
    [{ id: 3, method: 'pause', params: null }, 3, /"params" is not an object/],
    [{ id: 3, method: 'pause', params: { now: '1' } }, 3, /has no parameter "now"/],
    [{ id: 3, method: 'suspend', params: { file: ['/x'] } }, 3, /a string is expected/],
    [{ id: 3, method: 'suspend', params: { file: 'x' } }, 3, /absolute path/],
  ];
  for (const [request, id, why] of cases) {
    const { refusal, ...rest } = parse(request);
    assert.deepEqual(rest, { id }, JSON.stringify(request));
    assert.match(refusal?.message ?? '', why);
  }
  for (const body of ['{', '', '\u0000', 'pause']) assert.match(refusalOf(Buffer.from(body)), /not JSON/);
  assert.match(refusalOf(Buffer.of(0x22, 0xff, 0x22)), /not JSON/);
});

test('answers are bare JSON texts, with the code and the state words of the original', () => {
  assert.deepEqual(JSON.parse(formatFramedResult(1, [])), { jsonrpc: '2.0', result: null, id: 1 });
  assert.deepEqual(JSON.parse(formatFramedResult('a', ['x', 'y'])), { jsonrpc: '2.0', result: 'x\ny', id: 'a' });
  const details = { verb: 'start', vm: 'w', state: 'stopping', expected: 'halted, suspended or crashed' };
  assert.deepEqual(JSON.parse(formatFramedError(2, new Fault('vm.state', details))), {
    jsonrpc: '2.0',
    error: {
      code: -32602,
      message: '"start" cannot be performed: VM w is shutdowning, expected shutdown or suspended.',
      data: 'vm.state',
    },
    id: 2,
  });
});

function refusalOf(body: Buffer): string {
  return parseFramedRequest(body).refusal?.message ?? '';
}
