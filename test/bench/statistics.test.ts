/** The benchmarks' statistics: percentiles, ratios with their range, and taking turns. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureInTurns, percentile, ratioAt, summarize } from './statistics.ts';

test('percentiles are samples that occurred', () => {
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
  assert.deepEqual(summarize(hundred), { count: 100, min: 1, p50: 50, p99: 99, max: 100 });
  assert.deepEqual(summarize([7]), { count: 1, min: 7, p50: 7, p99: 7, max: 7 });
  assert.equal(percentile([1, 2, 3], 0.99), 3);
  assert.throws(() => summarize([]), RangeError);
});

test('samples are left in the order in which they were taken', () => {
  const samples = [3, 1, 2];
  summarize(samples);
  assert.deepEqual(samples, [3, 1, 2]);
});

test('a ratio is that of the medians, one wild sample does not move it', () => {
  const floor = [10, 10, 10, 10, 10];
  assert.deepEqual(ratioAt(0.5, [15, 15, 15, 15, 15], floor), { value: 1.5, low: 1.5, high: 1.5 });
  assert.equal(ratioAt(0.5, [15, 15, 15, 15, 9000], floor).value, 1.5);
});

test('the range of a ratio holds it, is wider for wider samples, and the same in every run', () => {
  const floor = Array.from({ length: 60 }, (_, i) => 10 + (i % 5));
  const narrow = ratioAt(
    0.5,
    floor.map((value) => value * 1.2),
    floor,
  );
  const wide = ratioAt(
    0.5,
    floor.map((value, i) => value * (i % 2 === 0 ? 0.8 : 1.6)),
    floor,
  );
  for (const { low, value, high } of [narrow, wide])
    assert.ok(low <= value && value <= high, `${low} ${value} ${high}`);
  assert.ok(wide.high - wide.low > narrow.high - narrow.low);
  assert.deepEqual(ratioAt(0.5, floor, floor), ratioAt(0.5, floor, floor));
});

test('what is compared is measured in turns, and warm-ups are not kept', async () => {
  const order: string[] = [];
  const measure = (name: string) => (round: number) => {
    order.push(`${name}${round}`);
    return round;
  };
  const samples = await measureInTurns({ a: measure('a'), b: measure('b') }, { rounds: 2, warmUps: 1 });
  assert.deepEqual(order, ['a0', 'b0', 'b1', 'a1', 'a2', 'b2']);
  assert.deepEqual(samples, { a: [1, 2], b: [1, 2] });
});

test('when the time is over no round is begun, but for the first three', async () => {
  let rounds = 0;
  await measureInTurns({ a: () => ++rounds }, { rounds: 10, warmUps: 1, budgetMs: 0 });
  assert.equal(rounds, 1 + 3);
});
