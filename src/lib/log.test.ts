import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isFault } from './fault.ts';
import { openLog, silentLog } from './log.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-log-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const linesOf = (file: string) => readFileSync(file, 'utf8').trimEnd().split('\n');

test('writes one JSON object a line, from its level on, with the fields of its children', () => {
  const file = join(folder, 'usher.log');
  const log = openLog({ level: 'info', file });
  log.debug('not this');
  log.info('started', { vms: 3 });
  log.child({ vm: 'work' }).error('died', { error: new Error('pulled') });
  const [first, second] = linesOf(file).map((line) => JSON.parse(line));
  assert.equal(first.level, 'info');
  assert.equal(first.msg, 'started');
  assert.equal(first.vms, 3);
  assert.ok(!Number.isNaN(Date.parse(first.time)));
  assert.equal(second.vm, 'work');
  assert.equal(second.error.message, 'pulled');
  assert.match(second.error.stack, /log\.test/);
  assert.equal(statSync(file).mode & 0o777, 0o600);
});

test('no string of a device reaches the terminal as it is, and none is lost', () => {
  const file = join(folder, 'marks.log');
  const untrusted = 'a\u001b[2J\u009b\u202e\nb\u{e0041}é';
  openLog({ level: 'info', file }).info(untrusted, { serial: untrusted });
  const lines = linesOf(file);
  assert.equal(lines.length, 1);
  assert.doesNotMatch(lines[0] ?? '', /[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]/u);
  assert.equal(JSON.parse(lines[0] ?? '').serial, untrusted);
  assert.equal(JSON.parse(lines[0] ?? '').msg, untrusted);
});

test('a log that cannot be written stops nothing', () => {
  const log = openLog({ level: 'info', file: '/dev/full' });
  for (let i = 0; i < 100; i++) log.info('lost');
  silentLog.child({}).info('nothing');
});

test('a log whose file cannot be opened is refused', () => {
  assert.throws(
    () => openLog({ level: 'info', file: join(folder, 'no', 'folder.log') }),
    (error) => isFault(error, 'file.unwritable'),
  );
});
