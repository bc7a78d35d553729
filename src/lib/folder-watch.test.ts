import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, suite, test } from 'node:test';
import { pollUntil } from './deadline.ts';
import { watchFolders } from './folder-watch.ts';

let root = '';
let seen: string[] = [];
let stop = () => {};

function begin(): void {
  seen = [];
  stop = watchFolders(root, (folder, name) => seen.push(join(folder, name ?? '').slice(root.length)));
}

function told(path: string): Promise<true> {
  return pollUntil({ what: path, timeoutMs: 5_000, everyMs: 2 }, () => seen.includes(path) || undefined);
}

suite('watchFolders', () => {
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'usher-watch-'));
    mkdirSync(join(root, '001'));
    writeFileSync(join(root, '001/002'), '');
  });
  afterEach(() => {
    stop();
    rmSync(root, { recursive: true, force: true });
  });

  test('tells what goes and comes in a folder that was there, and in one that is new', async () => {
    begin();
    rmSync(join(root, '001/002'));
    await told('/001/002');
    mkdirSync(join(root, '002'));
    await told('/002');
    writeFileSync(join(root, '002/001'), '');
    await told('/002/001');
  });

  test('a folder that was made anew is followed anew', async () => {
    begin();
    rmSync(join(root, '001'), { recursive: true });
    await told('/001');
    seen = [];
    mkdirSync(join(root, '001'));
    await told('/001');
    writeFileSync(join(root, '001/003'), '');
    await told('/001/003');
  });

  test('tells nothing after its end, and a missing root is fine', async () => {
    begin();
    stop();
    rmSync(join(root, '001'), { recursive: true });
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(seen, []);
    stop = watchFolders(join(root, 'missing'), () => assert.fail('an event of nothing'));
  });
});
