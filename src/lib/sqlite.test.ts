import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isFault } from './fault.ts';
import { examineDatabase, isUniqueViolation, openDatabase } from './sqlite.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-sqlite-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const migrations = ['CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)'];
const open = (name: string, more = {}) =>
  openDatabase(join(folder, name), { migrations, synchronous: 'normal', ...more });

test('makes a private file in a private folder', () => {
  const database = open('sub/private.db');
  database.prepare('INSERT INTO word (text) VALUES (?)').run('one');
  assert.equal(statSync(join(folder, 'sub')).mode & 0o777, 0o700);
  for (const end of ['', '-wal', '-shm']) assert.equal(statSync(`${database.path}${end}`).mode & 0o777, 0o600);
  database.close();
});

test('gives rows, keys and the number of changes', () => {
  const database = open('rows.db');
  const insert = database.prepare('INSERT INTO word (text) VALUES (?)');
  assert.deepEqual(insert.run('one'), { changes: 1, lastId: 1 });
  assert.deepEqual(insert.run('two'), { changes: 1, lastId: 2 });
  const select = database.prepare<{ text: string }>('SELECT text FROM word ORDER BY id');
  assert.deepEqual(
    select.all().map((row) => row.text),
    ['one', 'two'],
  );
  assert.deepEqual(
    [...select.iterate()].map((row) => row.text),
    ['one', 'two'],
  );
  assert.throws(() => insert.run('two'), isUniqueViolation);
  database.close();
});

test('a transaction happens whole or not at all, and joins the one around it', () => {
  const database = open('transaction.db');
  const insert = database.prepare('INSERT INTO word (text) VALUES (?)');
  const count = database.prepare<{ n: number }>('SELECT count(*) AS n FROM word');
  assert.throws(
    () =>
      database.transaction(() => {
        insert.run('one');
        database.transaction(() => insert.run('two'));
        throw new Error('stop');
      }),
    /stop/,
  );
  assert.equal(count.get()?.n, 0);
  database.transaction(() => database.transaction(() => insert.run('one')));
  assert.equal(count.get()?.n, 1);
  assert.throws(() => database.transaction(() => Promise.resolve()), TypeError);
  database.close();
});

test('brings an old database to the newest form, and keeps what is in it', () => {
  const first = open('old.db');
  first.prepare('INSERT INTO word (text) VALUES (?)').run('one');
  first.close();
  const newer = [...migrations, 'ALTER TABLE word ADD COLUMN meaning TEXT'];
  const second = open('old.db', { migrations: newer });
  assert.equal(second.prepare<{ text: string }>('SELECT text, meaning FROM word').get()?.text, 'one');
  second.close();
  assert.throws(
    () => open('old.db'),
    (error) => isFault(error, 'store.newer') && error.hint !== undefined,
  );
});

test('a migration that fails changes nothing', () => {
  open('half.db').close();
  assert.throws(() => open('half.db', { migrations: [...migrations, 'CREATE TABLE other (id); nonsense'] }));
  const database = open('half.db');
  assert.equal(database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'other'").get(), undefined);
  database.close();
});

test('says what to do about a file that is no database, or is damaged', () => {
  writeFileSync(join(folder, 'junk.db'), 'x'.repeat(8192));
  assert.throws(
    () => open('junk.db'),
    (error) => isFault(error, 'store.broken') && error.hint?.includes('backup') === true,
  );
  const database = open('torn.db');
  for (let i = 0; i < 500; i++) database.prepare('INSERT INTO word (text) VALUES (?)').run(`${'x'.repeat(100)}${i}`);
  database.close();
  const bytes = Buffer.alloc(statSync(join(folder, 'torn.db')).size - 8192, 0xff);
  writeFileSync(join(folder, 'torn.db'), bytes, { flag: 'r+', flush: true });
  assert.throws(
    () => open('torn.db').prepare('SELECT * FROM word').all(),
    (error) => isFault(error, 'store.broken'),
  );
});

test('says when the file cannot be made, read, or changed', () => {
  writeFileSync(join(folder, 'file'), '');
  assert.throws(
    () => open('file/x.db'),
    (error) => isFault(error, 'file.unwritable'),
  );
  assert.throws(
    () => open('missing.db', { isReadOnly: true }),
    (error) => isFault(error, 'file.unreadable'),
  );
  open('read.db').close();
  const database = open('read.db', { isReadOnly: true });
  assert.throws(
    () => database.prepare('INSERT INTO word (text) VALUES (?)').run('one'),
    (error) => isFault(error, 'file.unwritable'),
  );
  database.close();
});

test('waits for another writer, and says so when that takes too long', () => {
  const one = open('busy.db');
  const two = open('busy.db', { busyTimeoutMs: 50 });
  const insert = two.prepare('INSERT INTO word (text) VALUES (?)');
  one.transaction(() => {
    assert.throws(
      () => two.transaction(() => insert.run('two')),
      (error) => isFault(error, 'store.busy'),
    );
  });
  two.transaction(() => insert.run('two'));
  one.close();
  two.close();
});

test('a damaged database is told by its examination, a sound one and a missing one are not', () => {
  const path = join(folder, 'examined.db');
  assert.equal(examineDatabase(path), undefined);
  const database = open('examined.db');
  database.transaction(() => {
    for (let i = 0; i < 2000; i++) database.prepare('INSERT INTO word (text) VALUES (?)').run(`${i} ${'x'.repeat(99)}`);
  });
  database.close();
  assert.equal(examineDatabase(path), undefined);
  writeFileSync(path, readFileSync(path).fill(0xff, 8192, 16_384));
  assert.match(examineDatabase(path) ?? '', /./);
});

test('what is not flushed is there for others at once, and later transactions are flushed again', () => {
  const database = open('unflushed.db', { synchronous: 'full' });
  const other = open('unflushed.db', { synchronous: 'full' });
  const synchronous = () => database.prepare<{ synchronous: number }>('PRAGMA synchronous').get()?.synchronous;
  const full = synchronous();
  let during: number | undefined;
  database.unflushed(() => {
    during = synchronous();
    database.prepare('INSERT INTO word (text) VALUES (?)').run('one');
  });
  assert.notEqual(during, full);
  assert.equal(other.prepare('SELECT text FROM word').all().length, 1);
  assert.equal(synchronous(), full);
  const failing = () => {
    throw new Error('no');
  };
  assert.throws(() => database.unflushed(failing), /no/);
  assert.equal(synchronous(), full);
  other.close();
  database.close();
});
