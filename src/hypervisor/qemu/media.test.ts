import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMedia, withMedium } from './media.ts';

test('of each drive the last medium is kept', () => {
  const [a, b] = ['/a.iso', '/b.iso'].map((file) => ({ target: 'hdc', file }));
  assert.ok(a && b);
  const other = { target: 'hdd', file: '/c.iso' };
  assert.deepEqual(withMedium(withMedium(withMedium([], a), other), b), [other, b]);
  assert.deepEqual(withMedium([b], { target: 'hdc' }), [{ target: 'hdc' }]);
});

test('what no save of ours says of media is not taken', () => {
  const good = [{ target: 'hdc', file: '/a.iso' }, { target: 'sdb' }];
  assert.deepEqual(parseMedia(JSON.parse(JSON.stringify(good))), good);
  for (const bad of [
    {},
    ['hdc'],
    [null],
    [{ target: '../x' }],
    [{ target: 'hdc', file: 'a.iso' }],
    [{ target: 'hdc', file: 7 }],
  ]) {
    assert.equal(parseMedia(bad), undefined, JSON.stringify(bad));
  }
});
