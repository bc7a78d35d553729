/** Holds the fault table: every test that it names is there, and everything that it plays is played. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Answer, FAULTS, type SimulatorAnswer, type Test } from '../faults/fault-table.ts';
import { INPUTS } from '../faults/input-table.ts';
import { MOMENTS } from '../faults/moments.ts';
import { PLAY_NAMES } from '../faults/plays.ts';

const ROOT = join(import.meta.dirname, '../..');

function missing([file, title]: Test): string[] {
  const path = join(ROOT, file);
  return existsSync(path) && readFileSync(path, 'utf8').includes(title) ? [] : [`${file}: ${title}`];
}

function namedBy(answer: Answer | SimulatorAnswer): readonly Test[] {
  return 'held' in answer ? answer.held : [];
}

test('every test that the fault table names is there', () => {
  const named = FAULTS.flatMap(({ simulator, qemu, xen }) => [simulator, qemu, xen].flatMap(namedBy));
  assert.deepEqual([...named, ...INPUTS.flatMap(({ held }) => held)].flatMap(missing), []);
  assert.ok(named.length > 50, `only ${named.length} tests are named`);
});

test('the fault table has every row, and each driver has its answer', () => {
  assert.deepEqual(
    [...new Set(FAULTS.map(({ no }) => no))],
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  for (const { fault, simulator, qemu, xen } of FAULTS) {
    for (const answer of [simulator, qemu, xen]) {
      if ('cannot' in answer) assert.ok(answer.cannot.length > 20, fault);
      if ('held' in answer) assert.ok(answer.held.length > 0, fault);
    }
    if ('play' in simulator && simulator.at !== undefined) {
      assert.ok(simulator.at.length < MOMENTS.length && (simulator.because?.length ?? 0) > 20, fault);
    }
  }
});

test('what can be played in a simulated world is in the fault table', () => {
  const played = new Set(FAULTS.flatMap(({ simulator }) => ('play' in simulator ? [simulator.play] : [])));
  assert.deepEqual(
    PLAY_NAMES.filter((name) => !played.has(name)),
    [],
  );
});
