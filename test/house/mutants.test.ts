/** Holds that every mutant still fits the code that it changes: `npm run test:mutants`, which tries them, takes its time. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { MUTANTS, misplaced } from '../mutants/all.ts';

const ROOT = join(import.meta.dirname, '../..');

test('the text that a mutant changes is in its file once, and its test is there', () => {
  assert.deepEqual(
    MUTANTS.flatMap((mutant) => misplaced(mutant, ROOT)),
    [],
  );
  assert.ok(MUTANTS.length > 100, `only ${MUTANTS.length} mutants`);
});

test('a mutant that does not fit is told', () => {
  const test = { file: 'test/house/mutants.test.ts', name: 'a mutant that does not fit is told' };
  const mutant = { breaks: 'nothing', off: 'nothing', file: 'test/mutants/mutant.ts', from: 'readonly', to: 'x', test };
  const [twice] = misplaced(mutant, ROOT);
  assert.match(twice ?? '', /its text is there \d+ times: test\/mutants\/mutant\.ts:\d+, .*: "readonly"$/);
  assert.deepEqual(misplaced({ ...mutant, file: 'no/file.ts' }, ROOT), ['nothing, nothing: there is no no/file.ts']);
  const gone = { file: 'test/mutants/mutant.ts', name: 'no such test' };
  assert.deepEqual(misplaced({ ...mutant, from: 'export interface', to: 'export interface', test: gone }, ROOT), [
    'nothing, nothing: it changes nothing',
    'nothing, nothing: test/mutants/mutant.ts has no test "no such test"',
  ]);
});
