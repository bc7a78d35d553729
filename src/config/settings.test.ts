import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { formatDiagnostic } from './diagnostics.ts';
import { DEFAULT_SETTINGS, loadSettings } from './settings.ts';
import { parseSettings } from './settings-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-settings-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const errorsOf = (text: string) => parseSettings(text, 'usherd.yaml').errors.map(formatDiagnostic);

test('a daemon without a file, or with an empty one, has the defaults', async () => {
  assert.deepEqual(await loadSettings(join(folder, 'missing.yaml')), { settings: DEFAULT_SETTINGS, warnings: [] });
  for (const text of ['', '# nothing\n', '---\n'])
    assert.deepEqual(parseSettings(text, 'x').settings, DEFAULT_SETTINGS);
});

test('takes what the file says, and warns of what it does not know', async () => {
  const file = join(folder, 'usherd.yaml');
  writeFileSync(file, 'defaultDriver: xen # here\nsweepSecond: 5\nmaxRestarts: 0\n');
  const { settings, warnings } = await loadSettings(file);
  assert.deepEqual(settings, { ...DEFAULT_SETTINGS, defaultDriver: 'xen', maxRestarts: 0 });
  assert.deepEqual(warnings, [`${file}:2:1: There is no setting "sweepSecond". Did you mean "sweepSeconds"?`]);
});

test('tells all errors with their places', () => {
  assert.deepEqual(errorsOf('logLevel: loud\nsweepSeconds: 0\nmaxRestarts: [1]\ndefaultDriver:\n'), [
    'usherd.yaml:1:11: "logLevel" is debug, info, warn or error.',
    'usherd.yaml:2:15: "sweepSeconds" is a whole number from 1 to 86400.',
    'usherd.yaml:3:1: "maxRestarts" is a whole number from 0 to 1000.',
    'usherd.yaml:4:15: "defaultDriver" is auto, simulator, qemu or xen.',
  ]);
  assert.deepEqual(errorsOf('just words'), ['usherd.yaml:1:1: Settings are written as "name: value", one a line.']);
  assert.match(errorsOf('logLevel: info\nlogLevel: info').join(), /^usherd\.yaml:2:1: /);
  assert.match(errorsOf('a: [').join(), /^usherd\.yaml:1:\d+: /);
});

test('refuses a file with errors, and one that cannot be read', async () => {
  const file = join(folder, 'bad.yaml');
  writeFileSync(file, 'logLevel: loud\n');
  await assert.rejects(
    loadSettings(file),
    (error) => isFault(error, 'config.invalid') && error.message.includes(':1:11:'),
  );
  await assert.rejects(loadSettings(folder), (error) => isFault(error, 'file.unreadable'));
});
