import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SaveFollower } from './save-follower.ts';
import { sampleConfig, sampleSave } from './testing/sample-save.ts';

test('a file that gets shorter while it is read ends there', { timeout: 10_000 }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-follower-'));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, 'web.save');
  const bytes = sampleSave({ config: sampleConfig('6f1c2d3e-0000-4000-8000-000000000001'), pages: [] });
  await writeFile(path, bytes);
  await using follower = new SaveFollower(await open(path, 'r'));
  let reads = 0;
  const stage = await follower.look(() => {
    // Whoever asks a second time for what is not there never comes to an end.
    assert.ok(++reads < 100, 'it reads without an end');
    truncateSync(path, 0);
  });
  assert.notEqual(stage, 'whole');
});
