import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Anchor, formatAnchor, readAnchor, thinAnchors } from './audit-anchor.ts';

const hash = 'ab'.repeat(32);

test('property: an anchor is read back out of whatever a log puts around it', () => {
  const home = fc.string({ unit: 'grapheme' }).map((name) => `/home/${name}`);
  const anchor = fc.tuple(fc.nat(), home).map(([row, where]): Anchor => ({ row, hash, home: where }));
  const around = fc.constantFrom(
    (text: string) => `Nov 21 10:00:00 host usherd[12]: ${text}`,
    (text: string) => JSON.stringify({ MESSAGE: text, _PID: '12' }),
    (text: string) => text,
  );
  fc.assert(fc.property(anchor, around, (one, put) => assert.deepEqual(readAnchor(put(formatAnchor(one))), one)));
});

test('what is no anchor is none', () => {
  for (const line of [
    '',
    'audit head',
    `audit head row=1 hash=${hash.slice(1)} home=/x`,
    `audit head row= hash=${hash} home=/x`,
    `audit head row=1 hash=${hash} home=%E0%A4%A`,
    `unaudit head row=1 hash=${hash} home=/x`,
  ]) {
    assert.equal(readAnchor(line), undefined, line);
  }
});

test('property: of too many anchors the newer half stays, and of the others some', () => {
  fc.assert(
    fc.property(fc.nat({ max: 200 }), fc.integer({ min: 2, max: 50 }), (number, most) => {
      const anchors = Array.from({ length: number }, (_, row) => ({ row, hash, home: '/' }));
      const kept = thinAnchors(anchors, most).map(({ row }) => row);
      assert.equal(kept.length, Math.min(number, most));
      assert.deepEqual(
        kept,
        [...new Set(kept)].sort((a, b) => a - b),
      );
      assert.deepEqual(
        kept.slice(-Math.ceil(most / 2)),
        anchors.slice(-Math.ceil(most / 2)).map(({ row }) => row),
      );
      if (number > 0) assert.equal(kept[0], 0, 'the first is among them');
    }),
  );
});
