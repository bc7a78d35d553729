import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OPERATIONS } from './operations.ts';
import { isPreviewed, PREVIEWED } from './previewed.ts';

test('all that changes something has a preview, and nothing else has', () => {
  const changing = Object.entries(OPERATIONS).filter(([, row]) => row.class !== 'read');
  assert.deepEqual(
    changing.map(([name]) => name).filter((name) => !isPreviewed(name)),
    ['vm.console'],
  );
  assert.deepEqual(
    PREVIEWED.filter((name) => (OPERATIONS[name].class as string) === 'read'),
    [],
  );
});
