import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
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
  const pipe = join(folder, 'pipe.yaml');
  execFileSync('mkfifo', [pipe]);
  for (const path of [folder, pipe])
    await assert.rejects(loadSettings(path), (error) => isFault(error, 'file.unreadable'));
});

test('reads who may do what', () => {
  const text = [
    'access:',
    '  - { group: lab, may: control, vm: work }',
    '  - user: eve',
    '    may: attach',
    '    deviceClass: [storage, "0806"]',
    '  - { user: 1000, may: read, vm: [work, 11111111-1111-4111-8111-111111111111] }',
    '  - { user: "1001", may: write }',
  ].join('\n');
  const { settings, errors } = parseSettings(text, 'usherd.yaml');
  assert.deepEqual(errors, []);
  assert.deepEqual(settings?.access, [
    { to: { group: 'lab' }, may: 'control', vms: ['work'] },
    { to: { user: 'eve' }, may: 'attach', deviceClasses: ['storage', '0806'] },
    { to: { user: 1000 }, may: 'read', vms: ['work', '11111111-1111-4111-8111-111111111111'] },
    { to: { user: 1001 }, may: 'write' },
  ]);
  assert.deepEqual(parseSettings('access: []', 'x').settings?.access, []);
});

test('a right that is not understood is an error at its place: misspelt, a limit would be none', () => {
  // The mark ^ stands before the place that is to be told.
  for (const [marked, says] of [
    ['{ user: eve, may: attach, vms: ^work }', /has no "vms". Did you mean "vm"/],
    ['{ user: eve, may: ^everything }', /"may" is read, attach, control or write/],
    ['^{ user: eve }', /"may" is missing/],
    ['^{ may: read }', /either "user" or "group"/],
    ['^{ user: eve, group: lab, may: read }', /either "user" or "group"/],
    ['{ user: ^-1, may: read }', /"user" is a name or a number/],
    ['{ group: ^[a], may: read }', /"group" is a name or a number/],
    ['{ user: eve, may: read, vm: ^"" }', /"vm" is the name or the uuid of a VM/],
    ['{ user: eve, may: read, vm: [work, ^"*"] }', /"vm" is the name/],
    ['{ user: eve, may: read, vm: ^[] }', /"vm" is the name/],
    ['{ user: eve, may: attach, deviceClass: ^stick }', /"deviceClass" is audio/],
    ['{ user: eve, may: attach, deviceClass: ^0806 }', /quoted: '0806'/],
    ['^eve', /written as/],
  ] as const) {
    const column = `  - ${marked}`.indexOf('^') + 1;
    const [error = '', ...rest] = errorsOf(`access:\n  - ${marked.replace('^', '')}\n`);
    assert.ok(error.startsWith(`usherd.yaml:2:${column}: `), `${marked}: ${error}`);
    assert.match(error, says);
    assert.deepEqual(rest, [], marked);
  }
  assert.match(errorsOf('access:\n  - { user: eve, may: read, vm: }\n').join(), /"vm" is the name/);
  assert.match(errorsOf('access: eve').join(), /^usherd\.yaml:1:9: "access" is a list/);
  assert.match(errorsOf('access:').join(), /"access" is a list/);
  assert.equal(errorsOf('access:\n  - { user: eve, may: x, vm: 1 }\n  - { may: read }').length, 3, 'all are told');
});

test('no text makes the reading of settings throw', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json().map((json) => `access: ${json}`),
      ),
      (text) => {
        parseSettings(text, 'x');
      },
    ),
  );
});
