/** Holds docs/reference/ to the tables of the code that it is written from. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { referencePages } from '../../scripts/reference.ts';

const ROOT = join(import.meta.dirname, '../..');

test('the reference pages say what the tables say', () => {
  const pages = referencePages();
  for (const [path, text] of pages) {
    let written = '';
    try {
      written = readFileSync(join(ROOT, path), 'utf8');
    } catch {}
    assert.ok(written === text, `${path} is behind the code: npm run reference`);
  }
  assert.deepEqual(globSync('docs/reference/*', { cwd: ROOT }).sort(), [...pages.keys()].sort());
});

test('every operation has its parameters and its answer in the page', () => {
  const page = referencePages().get('docs/reference/operations.md') ?? '';
  assert.doesNotMatch(page, /answers `nothing`/);
  assert.match(page, /### usb\.plug\n[^#]*`kind` \| `storage`, `keyboard`/);
});
