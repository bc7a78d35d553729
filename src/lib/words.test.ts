import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isFault } from './fault.ts';
import { joinWords, splitWords } from './words.ts';

test('quotes and backslashes keep blanks', () => {
  assert.deepEqual(splitWords(`  a "b c" 'd "e"'\tf\\ g "h\\"i" ''`), ['a', 'b c', 'd "e"', 'f g', 'h"i', '']);
  assert.deepEqual(splitWords(''), []);
  for (const line of ['"a', "b 'c"])
    assert.throws(
      () => splitWords(line),
      (error) => isFault(error, 'usage'),
    );
});

test('words that are joined are split into the same words', () => {
  const words = fc.array(fc.oneof(fc.string(), fc.string({ unit: 'grapheme' })));
  fc.assert(
    fc.property(words, (all) => {
      assert.deepEqual(splitWords(joinWords(all)), all);
    }),
  );
});
