/** Holds docs/policy.md to the code: its example can be loaded, and its tables have every word. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatDiagnostic } from '../../src/config/diagnostics.ts';
import { parsePolicy } from '../../src/config/policy-file.ts';
import { MATCH_FIELDS, RULE_ACTIONS } from '../../src/model/policy.ts';
import { CLASS_WORDS } from '../../src/model/policy-class.ts';

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/policy.md'), 'utf8');
const VMS = new Set(['work', 'play', 'net']);

test('the example can be loaded: nothing is wrong with it, and it does what it says', () => {
  const examples = [...PAGE.matchAll(/```yaml\n(.*?)```/gs)].map(([, text = '']) => text);
  assert.equal(examples.length, 1);
  for (const text of examples) {
    const { policy, errors, warnings } = parsePolicy(text, 'policy.yaml', VMS);
    assert.deepEqual([...errors, ...warnings].map(formatDiagnostic), []);
    assert.ok((policy?.rules.length ?? 0) > 5 && (policy?.expect.length ?? 0) > 4);
  }
});

test("the table of classes is the code's", () => {
  const rows = new Map(
    [...PAGE.matchAll(/^\| `([a-z]+)` \| ([0-9a-f\\*, ]+) \| (.+) \|$/gm)].map(([, word, ...rest]) => [word, rest]),
  );
  assert.deepEqual([...rows.keys()], Object.keys(CLASS_WORDS));
  for (const [word, { patterns, meaning }] of Object.entries(CLASS_WORDS)) {
    const [interfaces = '', what = ''] = rows.get(word) ?? [];
    assert.equal(interfaces.replaceAll('\\', ''), patterns.join(', '), word);
    assert.ok(what.replaceAll('`', '').startsWith(meaning.split(';')[0] ?? ''), `${word}: ${what}`);
  }
});

test('every field, action and condition has its row', () => {
  for (const field of MATCH_FIELDS) assert.match(PAGE, new RegExp(`^\\| (\`vendor\`, )?\`${field}\``, 'm'), field);
  for (const action of RULE_ACTIONS) assert.match(PAGE, new RegExp(`^\\| \`${action}: `, 'm'), action);
  for (const condition of ['running', 'time', 'days', 'atMost']) {
    assert.match(PAGE, new RegExp(`^\\| \`${condition}: `, 'm'), condition);
  }
});
