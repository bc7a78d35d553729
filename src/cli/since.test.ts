import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { parseSince } from './since.ts';

const NOW = new Date(2026, 10, 21, 12, 0, 0).getTime();
const parse = (text: string) => parseSince(text, '--since', NOW);

test('reads how long ago', () => {
  for (const [text, seconds] of [
    ['0s', 0],
    ['90s', 90],
    ['15m', 900],
    ['2h', 7200],
    ['1d12h', 129_600],
    ['1w', 604_800],
  ] as const) {
    assert.equal(parse(text), NOW - seconds * 1000, text);
  }
  assert.equal(parse('999999999w'), 0, 'further than 1970 is all there is');
});

test('reads dates, of this place unless they say otherwise', () => {
  assert.equal(parse('2026-11-21'), new Date(2026, 10, 21).getTime());
  assert.equal(parse('2026-11-21T10:00'), new Date(2026, 10, 21, 10).getTime());
  assert.equal(parse('2026-11-21 10:00:30'), new Date(2026, 10, 21, 10, 0, 30).getTime());
  assert.equal(parse('2026-11-21T10:00:00Z'), Date.UTC(2026, 10, 21, 10));
  assert.equal(parse('2026-11-21T10:00:00.500+02:00'), Date.UTC(2026, 10, 21, 8, 0, 0, 500));
});

test('refuses what is no time', () => {
  for (const text of [
    '',
    'soon',
    'yesterday',
    '5',
    '2 h',
    '-1h',
    '1y',
    '2026',
    '11/21/2026',
    '2026-11-21T',
    '2026-13-45T10:00',
    '2026-02-31',
  ]) {
    assert.throws(
      () => parse(text),
      (error) => isFault(error, 'usage') && error.message.includes('2h'),
      text,
    );
  }
});
