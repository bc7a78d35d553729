/** What somebody with the right to write audit.db could do to it, and whether a check finds it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../lib/clock.ts';
import type { Anchor } from '../model/audit-anchor.ts';
import { AuditLog } from './audit.ts';
import { ChainCheck, chain, FIRST_LINK, type Proof, type StoredRow } from './audit-chain.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-tampering-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const HOME = '/var/lib/usher';

/** A trail as it was written. */
function written(texts: readonly string[]): StoredRow[] {
  let before = FIRST_LINK.hash;
  return texts.map((text, i) => {
    const row = i + 1;
    const body = JSON.stringify({ row, text });
    before = chain(before, body);
    return { row, body, hash: before };
  });
}

function check(rows: readonly StoredRow[], proof: Proof = {}) {
  const one = new ChainCheck(proof);
  rows.every((row) => one.take(row));
  return one.verdict();
}

const anchorAt = ({ row, hash }: StoredRow): Anchor => ({ row, hash, home: HOME });

/** Makes the hashes of all rows from one on anew, as somebody would who knows how they are made. */
function rehash(rows: readonly StoredRow[], from: number): StoredRow[] {
  const made: StoredRow[] = rows.slice(0, from);
  for (const { body } of rows.slice(from)) {
    const row = made.length + 1;
    const own = JSON.stringify({ ...(JSON.parse(body) as object), row });
    made.push({ row, body: own, hash: chain(made.at(-1)?.hash ?? FIRST_LINK.hash, own) });
  }
  return made;
}

const text = fc.string({ maxLength: 5 });
const trail = fc.array(text, { minLength: 1, maxLength: 12 }).map(written);
const place = fc.nat({ max: 1_000 });

/** Each gives the tampered trail, or `undefined` where it would change nothing. */
const TAMPERINGS: Readonly<Record<string, (rows: StoredRow[], at: number, other: string) => StoredRow[] | undefined>> =
  {
    'a row is edited': (rows, at, other) => {
      const { row, body, hash } = rows[at] as StoredRow;
      const edited = JSON.stringify({ row, text: other });
      return edited === body ? undefined : rows.with(at, { row, body: edited, hash });
    },
    'a row is edited, and its hash made anew': (rows, at, other) => {
      const { row, body } = rows[at] as StoredRow;
      const edited = JSON.stringify({ row, text: other });
      const hash = chain(rows[at - 1]?.hash ?? FIRST_LINK.hash, edited);
      // Of the last row there is none after it that would tell.
      return edited === body || at === rows.length - 1 ? undefined : rows.with(at, { row, body: edited, hash });
    },
    'the hash of a row is changed': (rows, at) => {
      const { row, body, hash } = rows[at] as StoredRow;
      return rows.with(at, { row, body, hash: hash.replace(/^./, (digit) => (digit === '0' ? '1' : '0')) });
    },
    'a row is removed': (rows, at) => (at === rows.length - 1 ? undefined : rows.toSpliced(at, 1)),
    'a row is removed, and the others are numbered anew': (rows, at) => {
      if (at === rows.length - 1) return undefined;
      return rows.toSpliced(at, 1).map((row, i) => ({ ...row, row: i + 1 }));
    },
    'two rows are swapped': (rows, at) => {
      const [one, two] = [rows[at], rows[at + 1]];
      if (one === undefined || two === undefined) return undefined;
      return rows.with(at, { ...two, row: one.row }).with(at + 1, { ...one, row: two.row });
    },
    'a row is doubled': (rows, at) => rows.toSpliced(at, 0, rows[at] as StoredRow),
  };

/** What only shows from outside: the chain is whole. */
const HIDDEN: typeof TAMPERINGS = {
  'the tail is cut': (rows, at) => (at === 0 ? undefined : rows.slice(0, at)),
  'the tail is cut, and others are written in its place': (rows, at) =>
    rehash([...rows.slice(0, at), ...written(['x', 'y', 'z', ...rows.slice(at).map(() => 'more')])], at),
  'a row is edited, and all from there on are made anew': (rows, at, other) => {
    const { row, body, hash } = rows[at] as StoredRow;
    const edited = JSON.stringify({ row, text: other });
    return edited === body ? undefined : rehash(rows.with(at, { row, body: edited, hash }), at);
  },
  'a row is removed, and all from there on are made anew': (rows, at) =>
    at === rows.length - 1 ? undefined : rehash(rows.toSpliced(at, 1), at),
  'the trail is replaced': (rows) => written(rows.map(() => 'another')),
};

test('property: a trail as it was written is whole, whatever of it is anchored', () => {
  fc.assert(
    fc.property(trail, fc.array(place), (rows, places) => {
      const anchors = places.map((at) => anchorAt(rows[at % rows.length] as StoredRow));
      const head = rows.at(-1)?.hash.toUpperCase();
      for (const proof of [{}, { anchors }, { head }, { head, anchors }]) {
        const { isIntact, rows: number, says } = check(rows, proof);
        assert.ok(isIntact, says);
        assert.equal(number, rows.length);
      }
      assert.match(check(rows).says, /cannot be seen from the trail alone/);
    }),
  );
});

for (const [name, tamper] of Object.entries(TAMPERINGS)) {
  test(`property: ${name}: found without an anchor and with one, and where`, () => {
    let tried = 0;
    fc.assert(
      fc.property(trail, place, text, (rows, at, other) => {
        const tampered = tamper(rows, at % rows.length, other);
        if (tampered === undefined) return;
        tried++;
        for (const anchors of [undefined, [anchorAt(rows.at(-1) as StoredRow)]]) {
          const { isIntact, rows: whole, says } = check(tampered, { anchors });
          assert.equal(isIntact, false);
          assert.ok(whole >= at % rows.length && whole <= (at % rows.length) + 1, says);
        }
      }),
    );
    assert.ok(tried > 20);
  });
}

for (const [name, tamper] of Object.entries(HIDDEN)) {
  test(`property: ${name}: found by an anchor of a row behind that place, and by no other`, () => {
    let tried = 0;
    fc.assert(
      fc.property(trail, place, text, fc.nat({ max: 11 }), (rows, at, other, anchored) => {
        const where = at % rows.length;
        const tampered = tamper(rows, where, other);
        const anchor = rows[anchored % rows.length] as StoredRow;
        if (tampered === undefined || tampered[anchor.row - 1]?.hash === rows[anchor.row - 1]?.hash) return;
        tried++;
        assert.ok(check(tampered).isIntact, 'the chain alone shows nothing');
        assert.match(check(tampered).says, /cannot be seen/);
        const before = rows.slice(0, where).map(anchorAt);
        if (name !== 'the trail is replaced' && before.length > 0)
          assert.ok(check(tampered, { anchors: before }).isIntact);
        for (const proof of [
          { anchors: [anchorAt(anchor)] },
          { anchors: [...before, anchorAt(anchor)] },
          { head: anchor.hash },
        ]) {
          assert.equal(check(tampered, proof).isIntact, false);
        }
      }),
      { numRuns: 300 },
    );
    assert.ok(tried > 20, `${tried} were tried`);
  });
}

test('says which rows are missing, and since when they are others', () => {
  const rows = written(['a', 'b', 'c', 'd', 'e']);
  const [, second, third, , last] = rows as [StoredRow, StoredRow, StoredRow, StoredRow, StoredRow];
  assert.match(check(rows.slice(0, 3), { anchors: [anchorAt(last)] }).says, /rows 4 to 5 were cut off/);
  const others = rehash([...rows.slice(0, 2), ...written(['x', 'y', 'z'])], 2);
  const { says } = check(others, { anchors: [anchorAt(second), anchorAt(third), anchorAt(last)] });
  assert.match(says, /row 3 is not the one that its anchor names: rows from 3 on were made anew/);
  assert.match(
    check(rows, { anchors: [anchorAt(third)] }).says,
    /1 anchor agree.*Whether any after row 3 were, cannot be seen/,
  );
  const forged = { ...anchorAt(third), hash: 'f'.repeat(64) };
  assert.equal(check(rows, { anchors: [anchorAt(third), forged] }).isIntact, false, 'one of the two is wrong');
});

test('an outcome that cannot be written is owed, and written before anything else is begun', async () => {
  const path = join(folder, 'owed.db');
  const audit = new AuditLog(path, { clock: new ManualClock(), busyTimeoutMs: 1 });
  const actor = { uid: 1, pid: 1, user: 'ada' };
  const one = audit.intend({ actor, action: 'vm.start', vm: 'work' });
  const two = audit.intend({ actor, action: 'vm.start', vm: 'play' });
  const other = new DatabaseSync(path);
  other.exec('BEGIN IMMEDIATE');
  audit.conclude(one, 'ok', {}, { power: 'running' });
  audit.conclude(two, 'failed');
  assert.equal(audit.owed, 2);
  assert.throws(() => audit.conclude(one, 'ok'), RangeError, 'owed is as good as written');
  assert.throws(
    () => audit.intend({ actor, action: 'vm.pause' }),
    (error) => (error as { code?: string }).code === 'audit.unwritable',
  );
  assert.equal(audit.owed, 2);
  other.exec('ROLLBACK');
  other.close();
  audit.intend({ actor, action: 'vm.pause' });
  assert.equal(audit.owed, 0);
  assert.deepEqual(
    audit.list().map(({ kind, intent, outcome }) => [kind, intent, outcome]),
    [
      ['intent', undefined, undefined],
      ['intent', undefined, undefined],
      ['outcome', one, 'ok'],
      ['outcome', two, 'failed'],
      ['intent', undefined, undefined],
    ],
  );
  assert.deepEqual(audit.list()[2]?.after, { power: 'running' });
  assert.ok((await audit.verify()).isIntact);
  audit.close();
});

test('what is owed is written by itself when it can be, though nothing else is begun', async () => {
  const path = join(folder, 'later.db');
  const clock = new ManualClock();
  const audit = new AuditLog(path, { clock, busyTimeoutMs: 1 });
  const intent = audit.intend({ actor: { uid: 1, pid: 1, user: 'ada' }, action: 'vm.start' });
  const other = new DatabaseSync(path);
  other.exec('BEGIN IMMEDIATE');
  audit.conclude(intent, 'ok');
  await clock.advance(30_000);
  assert.equal(audit.owed, 1);
  other.exec('ROLLBACK');
  other.close();
  await clock.advance(10_000);
  assert.equal(audit.owed, 0);
  assert.deepEqual(audit.openIntents(), []);
  audit.close();
  assert.equal(clock.waiting, 0);
});

test('what is owed at the end is written then, or closed by the next daemon', () => {
  const path = join(folder, 'ends.db');
  const open = () => new AuditLog(path, { clock: new ManualClock(), busyTimeoutMs: 1 });
  const actor = { uid: 1, pid: 1, user: 'ada' };
  const audit = open();
  const intent = audit.intend({ actor, action: 'vm.start' });
  const other = new DatabaseSync(path);
  other.exec('BEGIN IMMEDIATE');
  audit.conclude(intent, 'ok');
  audit.close();
  other.exec('ROLLBACK');
  other.close();
  const next = open();
  assert.deepEqual(
    next.openIntents().map(({ row }) => row),
    [intent],
  );
  next.conclude(intent, 'unknown');
  next.close();
});

test('listeners hear every row that was written, after it was', () => {
  const audit = new AuditLog(join(folder, 'heard.db'), { clock: new ManualClock() });
  const actor = { uid: 1, pid: 1, user: 'ada' };
  const heard: string[] = [];
  const stop = audit.onRow((row) => {
    heard.push(`${row.row} ${row.kind} ${audit.head().row}`);
    if (row.row === 1) throw new Error('a listener that fails harms nobody');
  });
  audit.conclude(audit.intend({ actor, action: 'x' }), 'ok');
  stop();
  audit.intend({ actor, action: 'y' });
  assert.deepEqual(heard, ['1 intent 1', '2 outcome 2']);
  audit.close();
});

test('rows are read on from a number', () => {
  const audit = new AuditLog(join(folder, 'pages.db'), { clock: new ManualClock() });
  for (let i = 0; i < 5; i++)
    audit.intend({ actor: { uid: 1, pid: 1, user: 'ada' }, action: 'x', vm: i < 3 ? 'a' : 'b' });
  const rows = (filter: Parameters<AuditLog['list']>[0]) => audit.list(filter).map(({ row }) => row);
  assert.deepEqual(rows({ after: 0, limit: 2 }), [1, 2]);
  assert.deepEqual(rows({ after: 2, limit: 2 }), [3, 4]);
  assert.deepEqual(rows({ after: 4, limit: 2 }), [5]);
  assert.deepEqual(rows({ after: 5 }), []);
  assert.deepEqual(rows({ after: 1, vm: ['b'], limit: 1 }), [4]);
  audit.close();
});
