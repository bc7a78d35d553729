/** Holds the map of words in docs/architecture.md: every file is there, and has the name that the map gives. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');
const PAGE = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8');
const ROW = /^\| (?<words>[^|]+) \| [^|]+ \| (?<place>[^|]*) \| (?:`(?<name>\w+)` )?\|$/;

/** Words that the map may not lose. */
const WORDS = `VM domain host virtual domU usbvm driver backend frontend usbctrl controller port busid device attachment
  assignment rule policy hold monitor suspend checkpoint snapshot template disposable property operation command step plan
  observed desired reconcile log`.split(/\s+/);

const rows = PAGE.slice(PAGE.indexOf('\n## Words'))
  .split('\n')
  .map((line) => ROW.exec(line)?.groups)
  .filter((groups) => groups !== undefined);

test('every word is in its file', () => {
  assert.ok(rows.length > 40, `only ${rows.length} words were found: the pattern is broken`);
  for (const { words = '', place = '', name } of rows) {
    const file = /\(\.\.\/([^)]+)\)/.exec(place)?.[1];
    if (file === undefined) {
      assert.match(place, /\*later\*/, `"${words}" has neither a file nor the mark of what is to come`);
      continue;
    }
    assert.ok(name, `"${words}" has a file and no name in it`);
    assert.match(readFileSync(join(ROOT, file), 'utf8'), new RegExp(`\\b${name}`), `"${words}": no ${name} in ${file}`);
  }
});

test('no word is missing', () => {
  const mapped = new Set(rows.flatMap(({ words = '' }) => words.split(/[^\w]+/)));
  for (const word of WORDS) assert.ok(mapped.has(word), `the map has no "${word}"`);
});

test('every layer has its row', () => {
  for (const { name } of readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  )) {
    assert.ok(PAGE.includes(`\n| \`${name}\` |`), `the table of layers has no ${name}`);
  }
});
