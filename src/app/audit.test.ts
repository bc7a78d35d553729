import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../lib/clock.ts';
import { isFault } from '../lib/fault.ts';
import type { Actor } from '../model/audit.ts';
import { AuditLog } from './audit.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-audit-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const actor: Actor = { uid: 1000, pid: 42, user: 'ada' };
let number = 0;
const newPath = () => join(folder, `audit-${++number}.db`);
const open = (path = newPath()) => new AuditLog(path, { clock: new ManualClock() });

/** Does to the file what somebody with the right to write it could do. */
function tamper(path: string, ...sql: string[]): void {
  const database = new DatabaseSync(path);
  for (const each of ['is_added', 'is_not_changed', 'is_not_removed']) database.exec(`DROP TRIGGER entry_${each}`);
  for (const each of sql) database.exec(each);
  database.close();
}

function filled(rows: number): string {
  const path = newPath();
  const audit = open(path);
  for (let i = 0; i < rows; i++) audit.intend({ actor, action: 'vm.start', vm: 'work', details: { i } });
  audit.close();
  return path;
}

const verify = async (path: string, head?: string) => {
  const audit = open(path);
  const verification = await audit.verify({ head });
  audit.close();
  return verification;
};

test('writes an intent and its outcome, and gives them back after a restart', async () => {
  const path = newPath();
  const first = open(path);
  const intent = first.intend({
    actor,
    action: 'step.attach',
    vm: 'work',
    device: 'dom0:3-1',
    details: { b: 1, a: 2 },
  });
  first.conclude(intent, 'failed', { error: 'gone' });
  first.close();
  const audit = open(path);
  const [one, two, ...rest] = audit.list();
  const { hash, ...withoutHash } = one ?? assert.fail();
  assert.deepEqual(withoutHash, {
    ...{ row: 1, at: 1_000_000, kind: 'intent', actor, action: 'step.attach', vm: 'work', device: 'dom0:3-1' },
    details: { a: 2, b: 1 },
  });
  assert.match(hash, /^[0-9a-f]{64}$/);
  assert.equal(two?.intent, 1);
  assert.equal(two?.outcome, 'failed');
  assert.equal(two?.device, 'dom0:3-1');
  assert.deepEqual(two?.details, { error: 'gone' });
  assert.deepEqual(rest, []);
  assert.equal((await audit.verify()).head, two?.hash);
  audit.close();
});

test('tells which intents have no outcome, and takes one outcome each', () => {
  const path = newPath();
  const audit = open(path);
  const [one, two] = [audit.intend({ actor, action: 'vm.start' }), audit.intend({ actor, action: 'vm.pause' })];
  audit.conclude(one, 'ok');
  assert.throws(() => audit.conclude(one, 'ok'), RangeError);
  assert.throws(() => audit.conclude(99, 'ok'), RangeError);
  audit.close();
  const again = open(path);
  assert.deepEqual(
    again.openIntents().map((row) => [row.row, row.action]),
    [[two, 'vm.pause']],
  );
  again.conclude(two, 'unknown');
  assert.deepEqual(again.openIntents(), []);
  again.close();
});

test('lists by VM, device and time; the newest, oldest first', async () => {
  const clock = new ManualClock();
  const audit = new AuditLog(newPath(), { clock });
  for (const vm of ['work', 'play', 'work']) {
    audit.intend({ actor, action: 'x', vm, device: vm === 'play' ? 'dom0:1-1' : undefined });
    await clock.advance(1000);
  }
  const rows = (filter: Parameters<AuditLog['list']>[0]) => audit.list(filter).map((row) => row.row);
  assert.deepEqual(rows({}), [1, 2, 3]);
  assert.deepEqual(rows({ vm: ['work', 'some-uuid'] }), [1, 3]);
  assert.deepEqual(rows({ device: 'dom0:1-1' }), [2]);
  assert.deepEqual(rows({ since: 1_001_000 }), [2, 3]);
  assert.deepEqual(rows({ limit: 2 }), [2, 3]);
  audit.close();
});

test('two writers make one chain', async () => {
  const path = newPath();
  const [one, two] = [open(path), open(path)];
  for (let i = 0; i < 10; i++) {
    const intent = one.intend({ actor, action: 'x' });
    two.intend({ actor, action: 'y' });
    two.conclude(intent, 'ok');
  }
  one.close();
  assert.equal((await two.verify()).isIntact, true);
  assert.equal(two.head().row, 30);
  two.close();
});

test('the file refuses changes that are mistakes', () => {
  const database = new DatabaseSync(filled(2));
  for (const sql of [
    "UPDATE entry SET body = '{}'",
    'DELETE FROM entry',
    "INSERT OR REPLACE INTO entry (row, body, hash) VALUES (1, '{}', '')",
    "INSERT INTO entry (row, body, hash) VALUES (9, '{}', '')",
  ]) {
    assert.throws(() => database.exec(sql), /only ever added to/);
  }
  database.close();
});

test('names the row that was changed, removed or moved', async () => {
  const says = async (...sql: string[]) => {
    const path = filled(5);
    tamper(path, ...sql);
    const { isIntact, says: sentence } = await verify(path);
    assert.equal(isIntact, false);
    return sentence;
  };
  assert.match(await says(`UPDATE entry SET body = replace(body, 'ada', 'eve') WHERE row = 3`), /^Row 3 was changed/);
  assert.match(await says(`UPDATE entry SET body = replace(body, 'ada', 'eve') WHERE row = 1`), /^Row 1 was changed/);
  assert.match(await says(`UPDATE entry SET hash = '00' WHERE row = 3`), /^Row 3 was changed/);
  assert.match(await says('DELETE FROM entry WHERE row = 2'), /^Row 2 is missing/);
  assert.match(await says('DELETE FROM entry WHERE row < 3'), /^Rows 1 to 2 are missing/);
  assert.match(
    await says(
      'UPDATE entry SET row = 99 WHERE row = 2',
      'UPDATE entry SET row = 2 WHERE row = 3',
      'UPDATE entry SET row = 3 WHERE row = 99',
    ),
    /^Row 2 holds what was row 3: rows were moved/,
  );
  assert.match(await says(`UPDATE entry SET body = 'no JSON' WHERE row = 4`), /^Row 4 holds/);
  const path = filled(2);
  tamper(path, `UPDATE entry SET body = 'no JSON' WHERE row = 2`);
  const audit = open(path);
  assert.throws(
    () => audit.list(),
    (error) => isFault(error, 'audit.broken'),
  );
  audit.close();
});

test('says that a cut tail is seen only against a former head, and sees it so', async () => {
  const path = filled(5);
  const { head, says } = await verify(path);
  assert.match(says, /cannot be seen from the trail alone/);
  assert.match((await verify(path, head.toUpperCase())).says, /the head you gave is row 5/);
  tamper(path, 'DELETE FROM entry WHERE row > 3');
  assert.equal((await verify(path)).isIntact, true);
  const cut = await verify(path, head);
  assert.equal(cut.isIntact, false);
  assert.match(cut.says, /none has the head you gave/);
});

test('property: any text is kept as it was, and any change of a row is found', async () => {
  const text = fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 12 })
    .map((units) => String.fromCharCode(...units));
  const entry = fc.record(
    { vm: text, device: text, details: fc.dictionary(text, fc.oneof(text, fc.integer(), fc.constant(null))) },
    { requiredKeys: [], noNullPrototype: true },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { minLength: 2, maxLength: 8 }), fc.nat(), text, async (entries, at, other) => {
      const path = newPath();
      const audit = open(path);
      for (const each of entries) audit.intend({ actor, action: 'x', ...each });
      assert.deepEqual(
        audit.list().map(({ vm, device, details }) => ({ vm, device, details })),
        entries.map(({ vm, device, details }) => ({
          vm,
          device,
          details: JSON.parse(JSON.stringify(details ?? {})) as object,
        })),
      );
      assert.equal((await audit.verify()).isIntact, true);
      audit.close();
      const row = 1 + (at % entries.length);
      const changed = JSON.stringify({ other }).replaceAll("'", "''");
      tamper(path, `UPDATE entry SET body = '${changed}' WHERE row = ${row}`);
      const { isIntact, rows } = await verify(path);
      assert.equal(isIntact, false);
      assert.equal(rows, row - 1);
    }),
    { numRuns: 20 },
  );
});
