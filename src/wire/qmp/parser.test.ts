/** The parser against recorded talk cut everywhere, and against peers that are no QMP servers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type QmpMessage, QmpParser, type QmpParserLimits } from './parser.ts';
import { eventLine, GREETING, readTranscripts } from './testing.ts';

const TRANSCRIPTS = readTranscripts();

function parse(chunks: readonly (Buffer | string)[], limits?: QmpParserLimits) {
  const parser = new QmpParser(limits);
  const messages: QmpMessage[] = [];
  for (const chunk of chunks) messages.push(...parser.push(Buffer.from(chunk)));
  return { messages, broken: parser.broken, isMidMessage: parser.isMidMessage };
}

function serverLines(name: string): string[] {
  const lines = TRANSCRIPTS.get(name) ?? [];
  return lines.filter(({ from }) => from === 'server').map(({ text }) => `${text}\r\n`);
}

for (const name of TRANSCRIPTS.keys()) {
  test(`reads the transcript "${name}", cut at every byte`, () => {
    const lines = serverLines(name);
    const whole = parse([lines.join('')]);
    assert.equal(whole.broken, undefined);
    assert.equal(whole.messages.length, lines.length);
    assert.equal(whole.messages[0]?.kind, 'greeting');
    // A message depends on its own bytes alone, so each cut is tried between its neighbours, not in the whole.
    for (const [at, line] of lines.entries()) {
      const [before, after] = [lines[at - 1] ?? '', lines[at + 1] ?? ''];
      const bytes = Buffer.from(before + line + after);
      const expected = whole.messages.slice(Math.max(0, at - 1), at + 2);
      const first = Buffer.byteLength(before);
      for (let cut = first; cut <= first + Buffer.byteLength(line); cut++) {
        const got = parse([bytes.subarray(0, cut), bytes.subarray(cut)]);
        if (got.messages.length !== expected.length) assert.fail(`cut at ${cut} of ${line}`);
        if (cut % 16 === 0) assert.deepEqual(got.messages, expected);
      }
    }
    const byteByByte = parse([...Buffer.from(lines.join(''))].map((byte) => Buffer.from([byte])));
    assert.deepEqual(byteByByte, whole);
  });
}

test('reads the same from arbitrary chunks', () => {
  const bytes = Buffer.from([...TRANSCRIPTS.keys()].map((name) => serverLines(name).join('')).join(''));
  const whole = parse([bytes]);
  const cuts = fc.array(fc.nat(bytes.length), { maxLength: 40 });
  fc.assert(
    fc.property(cuts, (places) => {
      const sorted = [0, ...places.sort((a, b) => a - b), bytes.length];
      const chunks = sorted.slice(1).map((end, at) => bytes.subarray(sorted[at], end));
      assert.deepEqual(parse(chunks), whole);
    }),
    { numRuns: 40 },
  );
});

test('gives back any value of a reply, and any id', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (value, id) => {
      const { messages } = parse([`${JSON.stringify({ return: value, id })}\n`]);
      assert.deepEqual(messages, [{ kind: 'return', ...(JSON.parse(JSON.stringify({ id, value })) as object) }]);
    }),
    { numRuns: 200 },
  );
});

test('never throws, whatever comes', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 80 })), (chunks) => {
      parse(chunks.map((chunk) => Buffer.from(chunk)));
    }),
    { numRuns: 200 },
  );
});

test('reads each kind of message', () => {
  const { messages } = parse([
    `${JSON.stringify(GREETING)}\r\n`,
    '{"return": {"a": 1}, "id": 7}\r\n{"return": []}\n',
    '{"id": "x", "error": {"class": "DeviceNotFound", "desc": "no"}}\r\n',
    `${JSON.stringify(eventLine('STOP'))}\r\n${JSON.stringify(eventLine('X', { y: 1 }))}\r\n`,
  ]);
  assert.deepEqual(messages, [
    {
      kind: 'greeting',
      version: { qemu: { major: 7, minor: 2, micro: 22 }, package: 'fake' },
      capabilities: ['oob'],
    },
    { kind: 'return', id: 7, value: { a: 1 } },
    { kind: 'return', id: undefined, value: [] },
    { kind: 'error', id: 'x', class: 'DeviceNotFound', desc: 'no' },
    { kind: 'event', name: 'STOP', data: {}, atMs: 1500 },
    { kind: 'event', name: 'X', data: { y: 1 }, atMs: 1500 },
  ]);
});

test('tolerates blank lines, white space, bare line feeds and UTF-8 that is not escaped', () => {
  const bytes = Buffer.from('\r\n\n  \t\r\n  {"return": "größe 😀"} \t\n{ "return" : 1 }\r\r\n');
  for (let cut = 0; cut <= bytes.length; cut++) {
    const { messages, broken } = parse([bytes.subarray(0, cut), bytes.subarray(cut)]);
    assert.equal(broken, undefined);
    assert.deepEqual(
      messages.map((message) => message.kind === 'return' && message.value),
      ['größe 😀', 1],
    );
  }
});

const GOOD = '{"return": 1}\n';
const BROKEN: readonly (readonly [string, string | Buffer, RegExp])[] = [
  ['garbage', 'SSH-2.0-OpenSSH_9.2\r\n', /not JSON: SSH-2\.0/],
  ['harmful garbage', '\u001b[2J\n', /\\u\{1b\}/],
  ['a number', '7\n', /no QMP message/],
  ['an array', '[{"return": 1}]\n', /no QMP message/],
  ['null', 'null\n', /no QMP message/],
  ['an object of no kind', '{"hello": 1}\n', /no QMP message/],
  ['a reply and an error at once', '{"return": 1, "error": {"class": "a", "desc": "b"}}\n', /no QMP message/],
  ['an error without words', '{"error": {"class": "a"}}\n', /no QMP message/],
  ['an error that is text', '{"error": "no"}\n', /no QMP message/],
  ['an event without time', '{"event": "STOP"}\n', /no QMP message/],
  [
    'an event whose data is a list',
    '{"event": "A", "data": [], "timestamp": {"seconds": 1, "microseconds": 1}}\n',
    /no/,
  ],
  ['a greeting without version', '{"QMP": {"capabilities": []}}\n', /no QMP message/],
  ['a greeting whose version is text', '{"QMP": {"version": {"qemu": "7"}, "capabilities": []}}\n', /no QMP message/],
  ['two objects in a line', '{"return": 1}{"return": 2}\n', /not JSON/],
  ['a byte order mark', '\ufeff{"return": 1}\n', /not JSON/],
  ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d, 0x0a]), /not UTF-8/],
  ['half a character at the end of a line', Buffer.from([0xf0, 0x9f, 0x0a, 0x98, 0x80]), /not UTF-8/],
  ['10 000 nested arrays', `{"return": ${'['.repeat(10_000)}${']'.repeat(10_000)}}\n`, /deeper than 1024/],
  ['4 MiB less a bit of brackets', `${'['.repeat(4_194_300)}\n`, /deeper than 1024/],
];

for (const [what, bytes, reason] of BROKEN) {
  test(`breaks at ${what}, and stays broken`, () => {
    for (const chunks of [
      [GOOD, bytes, GOOD],
      [Buffer.concat([Buffer.from(GOOD), Buffer.from(bytes), Buffer.from(GOOD)])],
    ]) {
      const { messages, broken, isMidMessage } = parse(chunks);
      assert.match(broken ?? '', reason);
      assert.equal(messages.length, 1, 'what came before counts, what comes after does not');
      assert.equal(isMidMessage, false);
    }
  });
}

test('takes deep but sane values, and brackets in strings', () => {
  const deep = `{"return": ${'['.repeat(1000)}${']'.repeat(1000)}}\n`;
  const text = `{"return": "${'[{\\"'.repeat(5000)}"}\n`;
  const { messages, broken } = parse([deep, text]);
  assert.equal(broken, undefined);
  assert.equal(messages.length, 2);
});

test('gives up a 10 MB line at 4 MiB, cheaply, wherever the chunks are cut', () => {
  const began = performance.now();
  const chunk = Buffer.alloc(65_536, 0x61);
  const parser = new QmpParser();
  assert.equal(parser.push(Buffer.from(GOOD)).length, 1);
  for (let sent = 0; sent < 10_000_000; sent += chunk.length) assert.deepEqual(parser.push(chunk), []);
  assert.match(parser.broken ?? '', /longer than 4194304 bytes/);
  assert.ok(performance.now() - began < 10_000, 'each chunk costs as much as all before');

  const long = `${GOOD}{"return": "${'x'.repeat(100)}"}\n${GOOD}`;
  for (const chunks of [[long], [long.slice(0, 20), long.slice(20)]]) {
    const { messages, broken } = parse(chunks, { maxLineBytes: 64 });
    assert.equal(messages.length, 1);
    assert.match(broken ?? '', /longer than 64/);
  }
});

test('tells that the stream ended in the middle of a message', () => {
  assert.equal(parse(['{"return": 1}\r\n{"retu']).isMidMessage, true);
  assert.equal(parse(['{"return": 1}\r\n']).isMidMessage, false);
});
