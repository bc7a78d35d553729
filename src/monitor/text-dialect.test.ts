import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { asFault, Fault, isFault } from '../lib/fault.ts';
import { formatError, formatOk, parseCommand } from './text-dialect.ts';

test('lines become commands', () => {
  const cases: [string, string, object][] = [
    ['pause', 'pause', {}],
    ['  PAUSE  ', 'pause', {}],
    ['halt', 'shutdown', {}],
    ['reboot forced=true', 'restart', { isForced: true }],
    ['resume', 'unpause', {}],
    ['start paused=true', 'start', { isPaused: true }],
    ['shutdown timeout=1.5', 'shutdown', { timeoutSeconds: 1.5 }],
    ['suspend file=/x live=true', 'suspend', { file: '/x', isLive: true }],
    ['checkpoint /x live=false disks=ignore', 'checkpoint', { file: '/x', isLive: false, disks: 'ignore' }],
    ['restore disks=ignore', 'restore', { disks: 'ignore' }],
    ['suspend /x', 'suspend', { file: '/x' }],
    ['checkpoint /a=b', 'checkpoint', { file: '/a=b' }],
    ['checkpoint file="/my saves/x y"', 'checkpoint', { file: '/my saves/x y' }],
    ['suspend \'/it is/"q"\'', 'suspend', { file: '/it is/"q"' }],
    ['suspend /a\\ b', 'suspend', { file: '/a b' }],
    ['restore', 'restore', {}],
    ['restore file=/x paused=true delete=false', 'restore', { file: '/x', isPaused: true, isKept: true }],
    ['status', 'status', {}],
    ['quit', 'quit', {}],
  ];
  for (const [line, name, params] of cases) assert.deepEqual(parseCommand(line), { name, params }, line);
});

test('bad lines get a sentence that says what to do', () => {
  const cases: [string, RegExp][] = [
    ['shutdwon', /^error usage There is no command "shutdwon"\. Did you mean "shutdown"\?\n$/],
    ['xyzzy', /"help" lists the commands/],
    ['suspend', /"suspend" needs file=PATH\. Usage: suspend file=PATH/],
    ['suspend file=x', /^error params\.invalid .*"file".*absolute path/],
    ['suspend /x /y', /"file" is given twice/],
    ['pause now', /"pause" has no parameter "now"/],
    ['start color=red', /"start" has no parameter "color"\. Usage: start \[paused=true\|false\]/],
    ['start paused=yes', /true or false is expected/],
    ['shutdown timeout=-1', /a number of seconds/],
    ['shutdown timeout=1e9', /a number of seconds/],
    ['suspend "/x', /quote " is opened and not closed/],
    ['\u001b[31mpause\u202e', /"\\u\{1b\}\[31mpause\\u\{202e\}"/],
  ];
  for (const [line, expected] of cases) {
    assert.throws(
      () => parseCommand(line),
      (error) => expected.test(formatError(asFault(error))),
      line,
    );
  }
});

test('whatever the bytes, they are a command or a usage fault of one line', () => {
  const bytes = fc.uint8Array({ maxLength: 200 }).map((line) => Buffer.from(line).toString('utf8'));
  const line = fc.oneof(
    bytes,
    fc.string(),
    fc.tuple(fc.constantFrom('suspend', 'start'), bytes).map((words) => words.join(' ')),
  );
  fc.assert(
    fc.property(line, (untrustedLine) => {
      try {
        parseCommand(untrustedLine);
      } catch (error) {
        assert.ok(isFault(error, 'usage', 'params.invalid'));
        assert.match(formatError(error), /^error [a-z.]+ [^\n]*\n$/);
      }
    }),
  );
});

test('a quoted path is taken as it is', () => {
  const part = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !text.includes('\0'));
  fc.assert(
    fc.property(part, (name) => {
      const path = `/${name}`;
      const quoted = `"${path.replaceAll(/["\\]/g, '\\$&')}"`;
      assert.deepEqual(parseCommand(`suspend file=${quoted}`).params, { file: path });
    }),
  );
});

test('the longest setting of a config is told whole', () => {
  const setting = 'x'.repeat(8192);
  assert.equal(formatOk([setting]), `${setting}\nok\n`);
});

test('answers end with ok or are one error line, with nothing that harms a terminal', () => {
  assert.equal(formatOk([]), 'ok\n');
  assert.equal(formatOk(['a', 'b\u001b[2J\nok']), 'a\nb\\u{1b}[2J\\u{a}ok\nok\n');
  const fault = new Fault(
    'vm.state',
    { verb: 'pause', vm: 'w', state: 'halted', expected: 'running' },
    { hint: 'Start it.' },
  );
  assert.equal(
    formatError(fault),
    'error vm.state "pause" cannot be performed: VM w is shutdown, expected running. Start it.\n',
  );
});
