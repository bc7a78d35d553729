import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { ClassMatch } from './policy.ts';
import {
  areSetsDisjoint,
  CLASS_WORDS,
  compileClass,
  exampleOf,
  isInSet,
  readClassPattern,
  setCovers,
  setsOf,
} from './policy-class.ts';

const numberOf = (triple: string) => Number.parseInt(triple, 16);
const isClass = (asked: ClassMatch, ...interfaces: string[]) => compileClass(asked)(interfaces.map(numberOf));

suite('readClassPattern', () => {
  const good = {
    storage: 'storage',
    Keyboard: 'keyboard',
    '03': '03',
    '0301': '0301',
    '030101': '030101',
    E0: 'e0',
    '08*': '08',
    '0806**': '0806',
    '03**01': '03*01',
    '03*01': '03*01',
    '*01': '*01',
    '0*': '0*',
    '*': '*',
    '******': '*',
    '030*': '030*',
  };
  for (const [text, value] of Object.entries(good)) {
    test(`${text} is ${value}`, () => {
      assert.deepEqual(readClassPattern(text), { value });
      assert.deepEqual(readClassPattern(value), { value });
    });
  }
  const bad = {
    storge: /Did you mean "storage"\?/,
    xyzxyz: /The words are audio, cdc/,
    '': /no class ""/,
    '8': /two, four or six/,
    '030': /two, four or six/,
    '03010101': /two, four or six/,
    '03***01*': /not hex digits/,
    '03******': /two, four or six/,
    constructor: /no class/,
    '\u001b[2J': /no class "\\u\{1b\}/,
  };
  for (const [text, wrong] of Object.entries(bad)) {
    test(`"${text}" is refused`, () => {
      const read = readClassPattern(text);
      assert.ok('wrong' in read);
      assert.match(read.wrong, wrong);
    });
  }

  test('the pattern of every word can be read, and its example is of it', () => {
    for (const [word, { patterns, companions = [] }] of Object.entries(CLASS_WORDS)) {
      for (const pattern of [...patterns, ...companions])
        assert.deepEqual(readClassPattern(pattern), { value: pattern });
      assert.ok(isClass({ any: [word] }, exampleOf(word)), word);
    }
  });
});

test('any, all and only, of composite devices', () => {
  const keyboardStick = ['030101', '080650'];
  assert.ok(isClass({ any: ['keyboard'] }, ...keyboardStick));
  assert.ok(isClass({ any: ['printer', 'storage'] }, ...keyboardStick));
  assert.ok(!isClass({ any: ['printer'] }, ...keyboardStick));
  assert.ok(isClass({ all: ['keyboard', 'storage'] }, ...keyboardStick));
  assert.ok(!isClass({ all: ['keyboard', 'printer'] }, ...keyboardStick));
  assert.ok(!isClass({ only: ['keyboard'] }, ...keyboardStick));
  assert.ok(isClass({ only: ['hid', 'storage', 'printer'] }, ...keyboardStick));
  assert.ok(isClass({ any: ['keyboard'], only: ['hid', 'storage'] }, ...keyboardStick));
  for (const part of ['any', 'all', 'only']) assert.ok(!isClass({ [part]: ['hid'] }), 'no interface, no class');
});

test('only bears what belongs to a serial port or a network adapter, and any does not take it for one', () => {
  assert.ok(isClass({ only: ['serial'] }, '020201', '0a0000'));
  assert.ok(isClass({ only: ['network'] }, '020600', '0a0000'));
  assert.ok(!isClass({ only: ['serial'] }, '020600', '0a0000'));
  assert.ok(!isClass({ any: ['serial'] }, '0a0000'));
});

test('a keyboard is one by its protocol, boot or not; a device that does not say is only hid', () => {
  for (const triple of ['030101', '030001']) assert.ok(isClass({ any: ['keyboard'] }, triple), triple);
  assert.ok(!isClass({ any: ['keyboard', 'mouse'] }, '030000'));
  assert.ok(isClass({ any: ['hid'] }, '030000'));
});

test('sets that cover or exclude one another do so for every interface', () => {
  const digit = fc.constantFrom(...'03');
  const hex = fc.tuple(digit, digit, digit, digit, digit, digit).map((digits) => digits.join(''));
  const patterns = fc
    .tuple(hex, fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 6 }))
    .map(([text, a, b]) => `${text.slice(0, Math.min(a, b))}*${text.slice(Math.max(a, b))}`)
    .map((text) => readClassPattern(text))
    .filter((read) => 'value' in read)
    .map(({ value }) => setsOf(value)[0])
    .filter((set) => set !== undefined);
  let covered = 0;
  let disjoint = 0;
  fc.assert(
    fc.property(patterns, patterns, hex, (a, b, triple) => {
      const [inA, inB] = [a, b].map((set) => isInSet(set, numberOf(triple)));
      if (setCovers(a, b) && inB) {
        covered++;
        assert.ok(inA);
      }
      if (areSetsDisjoint(a, b)) {
        disjoint++;
        assert.ok(!(inA && inB));
      } else {
        const both = (a.value | b.value) & (a.mask | b.mask);
        assert.ok(isInSet(a, both) && isInSet(b, both), 'what is not disjoint has an interface in both');
      }
    }),
    { numRuns: 3_000 },
  );
  assert.ok(covered > 20 && disjoint > 100, `${covered} ${disjoint}`);
});
