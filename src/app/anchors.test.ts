import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../lib/clock.ts';
import { silentLog } from '../lib/log.ts';
import { readAnchor } from '../model/audit-anchor.ts';
import { Anchors } from './anchors.ts';

function stage() {
  const clock = new ManualClock();
  const told: string[] = [];
  const state = { row: 0, trouble: undefined as string | undefined };
  const hashOf = (row: number) => String(row).padStart(64, '0');
  const warnings: string[] = [];
  const anchors = new Anchors({
    head: () => ({ row: state.row, hash: hashOf(state.row) }),
    home: '/var/lib/usher',
    tell(text) {
      if (state.trouble === undefined) told.push(text);
      return state.trouble;
    },
    clock,
    log: { ...silentLog, warn: (message) => warnings.push(message) },
    everyMs: 60_000,
  });
  return { clock, state, anchors, warnings, rows: () => told.map((line) => readAnchor(line)?.row), told };
}

test('the head is told at the start, every minute when it has changed, and at the end', async () => {
  const { clock, state, anchors, rows } = stage();
  anchors.start();
  assert.deepEqual(rows(), [], 'an empty trail has no head');
  state.row = 3;
  await clock.advance(59_999);
  assert.deepEqual(rows(), []);
  await clock.advance(1);
  assert.deepEqual(rows(), [3]);
  await clock.advance(300_000);
  assert.deepEqual(rows(), [3], 'what has not changed is not told again');
  state.row = 5;
  await clock.advance(60_000);
  state.row = 6;
  anchors.close();
  assert.deepEqual(rows(), [3, 5, 6]);
  await clock.advance(300_000);
  assert.equal(clock.waiting, 0);
});

test('what is there at the start is told at once', () => {
  const { state, anchors, told } = stage();
  state.row = 7;
  anchors.start();
  anchors.close();
  assert.deepEqual(told, [`audit head row=7 hash=${'7'.padStart(64, '0')} home=/var/lib/usher`]);
});

test('a system log that does not answer is told of once, and tried again', async () => {
  const { clock, state, anchors, rows, warnings } = stage();
  state.row = 1;
  state.trouble = '/dev/log: there is no such socket';
  anchors.start();
  await clock.advance(180_000);
  assert.equal(warnings.length, 1);
  assert.equal(anchors.trouble, state.trouble);
  state.trouble = undefined;
  await clock.advance(60_000);
  assert.deepEqual(rows(), [1]);
  assert.equal(anchors.trouble, undefined);
  anchors.close();
});
