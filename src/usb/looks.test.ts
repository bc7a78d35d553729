import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ManualClock } from '../lib/clock.ts';
import { Looks, type Sight } from './looks.ts';

function bench() {
  const clock = new ManualClock(0);
  const begun: string[] = [];
  const sights: string[] = [];
  const pending = new Map<string, (value: number) => void>();
  const looks = new Looks<string, number>({
    what: (subject) => `Looking at ${subject}`,
    timeoutMs: 1_000,
    clock,
    look: (subject) => {
      begun.push(subject);
      return new Promise((resolve) => pending.set(subject, resolve));
    },
    onSight: (subject, sight: Sight<number>) => {
      sights.push('value' in sight ? `${subject} ${sight.value}` : `${subject} ${sight.fault.code}`);
    },
  });
  const answer = async (subject: string, value: number) => {
    pending.get(subject)?.(value);
    await clock.advance(0);
  };
  return { clock, begun, sights, looks, answer };
}

suite('Looks', () => {
  test('requests during a look share exactly one look after it', async () => {
    const { looks, begun, sights, answer } = bench();
    const first = looks.request('a');
    const second = looks.request('a');
    assert.equal(looks.request('a'), second);
    assert.deepEqual(begun, ['a']);
    await answer('a', 1);
    await first;
    assert.deepEqual(begun, ['a', 'a']);
    const third = looks.request('a');
    assert.notEqual(third, second);
    await answer('a', 2);
    await second;
    assert.deepEqual(begun, ['a', 'a', 'a']);
    await answer('a', 3);
    await third;
    assert.ok(!looks.isBusy);
    assert.deepEqual(sights, ['a 1', 'a 2', 'a 3']);
  });

  test('a look that hangs ends at its deadline and holds up no other', async () => {
    const { looks, sights, clock, answer } = bench();
    const slow = looks.request('slow');
    const quick = looks.request('quick');
    await answer('quick', 1);
    await quick;
    await clock.advance(1_000);
    await slow;
    assert.deepEqual(sights, ['quick 1', 'slow timeout']);
    assert.ok(!looks.isBusy);
  });

  test('closed: nothing is told any more', async () => {
    const { looks, sights, answer } = bench();
    const look = looks.request('a');
    looks.close();
    await answer('a', 1);
    await look;
    assert.deepEqual(sights, []);
  });
});
