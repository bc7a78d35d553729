import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { parsePolicy } from './policy-file.ts';

const read = (text: string) => parsePolicy(text, 'policy.yaml');
const field = (line: string) => `rules:\n  - match:\n      ${line}\n    attach: work\n`;

suite('nothing hangs', () => {
  const lines = (count: number, line: (i: number) => string) =>
    Array.from({ length: count }, (_, i) => line(i)).join('');
  const good: Record<string, string> = {
    rules: `rules:\n${'  - { match: everything, deny: true }\n'.repeat(2_000)}`,
    'rules that have to be compared': `rules:\n${lines(1_500, (i) => `  - { match: { product: ["a*b*${i}", "*x*y${i}"] }, deny: true }\n`)}`,
    'lists that have to be compared': `rules:\n${lines(30, (i) => `  - { match: { product: [${lines(200, (j) => `"*${i}x${j}*", `)}] }, deny: true }\n`)}`,
    stars: field(`product: ["${'*a'.repeat(60)}*"]`),
  };
  const bad: Record<string, string> = {
    'a line of a megabyte': `mode: ${'x'.repeat(1_000_000)}`,
    'a long line': `mode: ${'x'.repeat(200_000)}`,
    brackets: '['.repeat(50_000),
    braces: '{a: '.repeat(12_000),
    'lists in lists': '- '.repeat(30_000),
    nonsense: '- [}{:'.repeat(20_000),
    keys: lines(20_000, (i) => `k${i}:\n`),
    'one key': 'a:\n'.repeat(20_000),
    patterns: field(`id: [${'0951:1666, '.repeat(10_000)}]`),
    aliases: `a: &a [x]\n${'b: [*a, *a, *a, *a, *a, *a, *a, *a]\n'.repeat(1_000)}`,
    'a bomb': `a0: &a0 [x, x]\n${lines(40, (i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}, *a${i}]\n`)}`,
    'deep maps': lines(200, (i) => `${' '.repeat(i)}a:\n`),
  };
  for (const [what, text] of Object.entries({ ...good, ...bad })) {
    test(what, () => {
      const start = process.cpuUsage();
      const { errors, warnings } = read(text);
      const { user, system } = process.cpuUsage(start);
      assert.ok(user + system < 8e6, `${(user + system) / 1e6} s`);
      assert.ok(errors.length + warnings.length <= 202, 'findings are counted, not all told');
      assert.equal(errors.length > 0, what in bad);
    });
  }

  test('of many errors the first are told, and how many more there are', () => {
    const { errors } = read(bad['keys'] ?? '');
    assert.equal(errors.length, 101);
    assert.equal(errors.at(-1)?.message, 'And 19900 more.');
  });
});
