import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { areGlobsDisjoint, compileGlob, globCovers, matchesGlob } from './glob.ts';

const texts = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 6 });
const patterns = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 5 });

/** What a glob means, said by a regular expression. */
function means(pattern: string, text: string): boolean {
  const source = pattern
    .split('*')
    .map((part) => part.replaceAll('.', '\\.'))
    .join('.*');
  return new RegExp(`^${source}$`).test(text);
}

test('matches what the pattern means, compiled or not', () => {
  fc.assert(
    fc.property(patterns, texts, (pattern, text) => {
      assert.equal(matchesGlob(pattern, text), means(pattern, text));
      assert.equal(compileGlob(pattern)(text), means(pattern, text));
    }),
    { numRuns: 3_000 },
  );
});

test('a pattern that covers another matches whatever it matches; disjoint ones share no text', () => {
  let covered = 0;
  let disjoint = 0;
  fc.assert(
    fc.property(patterns, patterns, texts, (a, b, text) => {
      if (globCovers(a, b) && matchesGlob(b, text)) {
        covered++;
        assert.ok(matchesGlob(a, text));
      }
      if (areGlobsDisjoint(a, b)) {
        disjoint++;
        assert.ok(!(matchesGlob(a, text) && matchesGlob(b, text)));
      }
    }),
    { numRuns: 5_000 },
  );
  assert.ok(covered > 20 && disjoint > 100, `${covered} ${disjoint}`);
  assert.ok(globCovers('3-*', '3-1.*') && !globCovers('3-1.*', '3-*'));
  assert.ok(areGlobsDisjoint('a*', 'b*') && areGlobsDisjoint('*a', '*b') && !areGlobsDisjoint('a*', '*b'));
});

test('many stars cost no time', () => {
  const start = performance.now();
  assert.equal(matchesGlob(`${'*a'.repeat(500)}*b`, 'a'.repeat(2_000)), false);
  assert.ok(performance.now() - start < 10_000, 'it goes back and forth for ever');
});
