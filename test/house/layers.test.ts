/** Holds the import matrix of docs/architecture.md: reads every import of src/ and refuses what points the wrong way. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');
const IMPORT = /(?:^|\n)\s*(import|export)(\s+type)?\s[^;'"]*?from\s+'([^']+)'|(import)\('([^']+)'\)/g;
const DRIVER = 'src/hypervisor/driver.ts';
const ROOM = { folders: ['model', 'config', 'lib'], typesOf: [DRIVER] };

/** What a layer may import of ours besides itself; `lazily`: only by a dynamic import. */
const MATRIX: Record<string, { folders: string[]; typesOf?: string[]; lazily?: string[]; files?: string[] }> = {
  lib: { folders: [] },
  model: { folders: ['lib'] },
  config: { folders: ['model', 'lib'] },
  wire: { folders: ['lib'] },
  hypervisor: { folders: ['model', 'wire', 'config', 'lib'] },
  usb: ROOM,
  inventory: ROOM,
  monitor: { ...ROOM, folders: [...ROOM.folders, 'wire'] },
  api: { folders: ['model', 'lib'] },
  app: { folders: ['lib', 'model', 'config', 'wire', 'hypervisor', 'usb', 'inventory', 'monitor', 'api'] },
  cli: { folders: ['api', 'model', 'config', 'lib'], lazily: ['app'] },
};

test('imports point one way', () => {
  const wrong: string[] = [];
  let seen = 0;
  for (const file of globSync('src/**/*.ts', { cwd: ROOT })) {
    const layer = file.split('/')[1] ?? '';
    const rule = MATRIX[layer];
    assert.ok(rule, `${file} lies in a layer that the matrix does not know`);
    for (const found of readFileSync(join(ROOT, file), 'utf8').matchAll(IMPORT)) {
      const path = found[3] ?? found[5] ?? '';
      if (!path.startsWith('.')) continue;
      const target = normalize(join(dirname(file), path));
      const to = target.startsWith('src/') ? (target.split('/')[1] ?? '') : target;
      const isTest = file.endsWith('.test.ts') || file.includes('/testing/');
      const isAllowed =
        to === layer ||
        isTest ||
        rule.folders.includes(to) ||
        (rule.typesOf?.includes(target) && found[2] !== undefined) ||
        (rule.lazily?.includes(to) && found[4] !== undefined);
      if (!isAllowed) wrong.push(`${file} imports ${target}`);
      seen++;
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(seen > 100, `only ${seen} imports were found: the pattern is broken`);
});

test('nothing imports tests or the lab, SQLite and the native module have one home', () => {
  for (const file of globSync('src/**/*.ts', { cwd: ROOT })) {
    if (file.endsWith('.test.ts')) continue;
    const text = readFileSync(join(ROOT, file), 'utf8');
    assert.doesNotMatch(text, /from '(\.\.\/)+(test|lab|scripts)\//, file);
    if (file !== 'src/lib/sqlite.ts') assert.doesNotMatch(text, /from 'node:sqlite'/, file);
    if (file !== 'src/lib/native.ts') assert.doesNotMatch(text, /['"]koffi['"]/, file);
  }
});
