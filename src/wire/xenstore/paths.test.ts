/** Which paths may be sent, and how far one lies below another. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isFault } from '../../lib/fault.ts';
import { checkPath, levelsBelow } from './paths.ts';

const part = fc.stringMatching(/^[A-Za-z0-9_@-]{1,12}$/);
const plainPart = fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/);

const isRefused = (path: string, allowsSpecial?: boolean) => {
  try {
    checkPath(path, allowsSpecial);
    return false;
  } catch (error) {
    if (!isFault(error, 'params.invalid')) throw error;
    return true;
  }
};

test('takes whatever xenstore.txt allows', () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), plainPart, (parts, first) => {
      checkPath(`/${parts.join('/')}`);
      checkPath([first, ...parts].join('/'));
    }),
  );
  for (const path of ['/', '/a', '/local/domain/0/backend/qusb/1/0/port/1', 'device/vusb', '/@x/y@z', '/a-b_C9'])
    checkPath(path);
});

const REFUSED: readonly (readonly [path: string, why: RegExp])[] = [
  ['', /is empty/],
  ['//', /empty part/],
  ['/a//b', /empty part/],
  ['a//b', /empty part/],
  ['/a/', /ends in a slash/],
  ['a/', /ends in a slash/],
  ['/a b', /character/],
  ['/a.b', /character/],
  ['/../etc', /character/],
  ['/a\0b', /character/],
  ['/a\n', /character/],
  ['/ä', /character/],
  ['/a:1', /character/],
  ['@releaseDomain', /is an event/],
  [`/${'a'.repeat(3072)}`, /has 3073 characters, and 3072/],
  ['a'.repeat(2049), /has 2049 characters, and 2048/],
];

for (const [path, why] of REFUSED) {
  test(`refuses ${JSON.stringify(path.slice(0, 20))}`, () => {
    assert.throws(
      () => checkPath(path),
      (error) => isFault(error, 'params.invalid') && why.test(error.message),
    );
  });
}

test('takes the longest paths', () => {
  checkPath(`/${'a'.repeat(3071)}`);
  checkPath('a'.repeat(2048));
});

test('takes special paths only where they mean something', () => {
  for (const path of ['@releaseDomain', '@introduceDomain', '@releaseDomain/7']) {
    assert.equal(isRefused(path), true);
    assert.equal(isRefused(path, true), false);
  }
  for (const path of ['@', '@/a', '@a/', '@a b']) assert.equal(isRefused(path, true), true, path);
});

test('refuses anything with another character, wherever it stands', () => {
  fc.assert(
    fc.property(part, part, fc.string({ minLength: 1, unit: 'binary' }), (before, after, other) => {
      fc.pre(/[^\w@/-]/.test(other));
      assert.equal(isRefused(`/${before}${other}${after}`), true);
    }),
  );
});

test('does not need long for a path that was made to take long', () => {
  const began = performance.now();
  assert.equal(isRefused(`/${'a/'.repeat(500_000)}`), true);
  assert.equal(isRefused(`/${'a'.repeat(1_000_000)}.`), true);
  assert.ok(performance.now() - began < 20_000, 'it goes back and forth for ever');
});

test('counts levels', () => {
  assert.equal(levelsBelow('/a', '/a'), 0);
  assert.equal(levelsBelow('/a', '/a/b'), 1);
  assert.equal(levelsBelow('/a', '/a/b/c'), 2);
  assert.equal(levelsBelow('/', '/a'), 1);
  assert.equal(levelsBelow('/', '/a/b'), 2);
  assert.equal(levelsBelow('/', '/'), 0);
  assert.equal(levelsBelow('/a', '/ab'), undefined);
  assert.equal(levelsBelow('/a/b', '/a'), undefined);
  assert.equal(levelsBelow('a', 'a/b'), 1);
});
