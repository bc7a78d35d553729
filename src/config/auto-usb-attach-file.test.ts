import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { completeWords, isHubName, joinWords } from './auto-usb-attach.ts';
import { parseAutoAttachFile } from './auto-usb-attach-file.ts';
import { formatDiagnostic } from './diagnostics.ts';

const FILE = `domain: foo
hubs:
  - usb1
  - 1-1.4
devices: [0951:1666, 05E3:0723]
qmp-socket: /run/q.sock
usb-version: 2
wait-on-shutdown: true
wait-for-domain: false
log-file: /tmp/log
`;

test('every key is read', () => {
  const { words, errors, warnings } = parseAutoAttachFile(FILE, 'f');
  assert.deepEqual([errors, warnings], [[], []]);
  assert.deepEqual(words, {
    domain: 'foo',
    hubs: ['usb1', '1-1.4'],
    devices: ['0951:1666', '05e3:0723'],
    qmpSocket: '/run/q.sock',
    usbVersion: 2,
    isWaitingOnShutdown: true,
    isWaitingForDomain: false,
    logFile: '/tmp/log',
  });
});

test('a list may be a single value; a file may be empty', () => {
  assert.deepEqual(parseAutoAttachFile('hubs: 1-1', 'f').words, { hubs: ['1-1'] });
  assert.deepEqual(parseAutoAttachFile('', 'f').words, {});
});

test('all errors are told at once, each at its place, and a key that there is not is a warning', () => {
  const { words, errors, warnings } = parseAutoAttachFile(
    'domain: 3\nhubs: [usb1, hub]\nusb-version: 4\nhubz: 1\n',
    'f',
  );
  assert.equal(words, undefined);
  assert.deepEqual(errors.map(formatDiagnostic), [
    'f:1:9: "domain" is the name of a VM.',
    'f:2:14: "hubs" is hubs, each "usb3" (a whole bus) or "1-1" (a place).',
    'f:3:14: "usb-version" is 1, 2 or 3.',
  ]);
  assert.deepEqual(warnings.map(formatDiagnostic), ['f:4:1: There is no key "hubz". Did you mean "hubs"?']);
  assert.match(parseAutoAttachFile('- a\n- b\n', 'f').errors.map(formatDiagnostic).join(), /^f:1:1: /);
  assert.match(parseAutoAttachFile('a: "\n', 'f').errors.map(formatDiagnostic).join(), /^f:\d+:\d+: /);
});

test('no text makes the parser throw', () => {
  fc.assert(fc.property(fc.string(), (text) => void parseAutoAttachFile(text, 'f')));
});

test('the line goes before the file, but for lists, which come together', () => {
  const file = { domain: 'a', hubs: ['usb1', 'usb2'], usbVersion: 2, isWaitingOnShutdown: true } as const;
  assert.deepEqual(joinWords(file, { domain: 'b', hubs: ['usb2', '1-1'], devices: ['1234:5678'] }), {
    ...{ domain: 'b', hubs: ['usb1', 'usb2', '1-1'], devices: ['1234:5678'] },
    ...{ usbVersion: 2, isWaitingOnShutdown: true },
  });
});

test('what is missing is said; the rest has its default', () => {
  assert.ok('missing' in completeWords({ hubs: ['usb1'] }));
  assert.ok('missing' in completeWords({ domain: 'a', hubs: [] }));
  assert.deepEqual(completeWords({ domain: 'a', devices: ['1234:5678'] }), {
    ...{ domain: 'a', hubs: [], devices: ['1234:5678'] },
    ...{ isWaitingOnShutdown: false, isWaitingForDomain: true },
  });
});

test('names of hubs', () => {
  for (const hub of ['usb1', 'usb12', '1-1', '3-1.4.2']) assert.ok(isHubName(hub), hub);
  for (const text of ['', 'usb', 'usb1234', '1', '1-', '1-1.', '1-*', 'dom0:1-1', 'USB1']) {
    assert.ok(!isHubName(text), text);
  }
});
