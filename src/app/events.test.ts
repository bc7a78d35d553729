import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { ManualClock } from '../lib/clock.ts';
import { isFault } from '../lib/fault.ts';
import type { UsherEvent } from '../model/event.ts';
import { EventLog } from './events.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-events-'));
after(() => rmSync(folder, { recursive: true, force: true }));

let number = 0;
const newPath = () => join(folder, `events-${++number}.db`);
const open = (path = newPath(), more = {}) =>
  new EventLog(path, { clock: new ManualClock(), bootId: 'boot-1', ...more });
const say = (events: EventLog, what: string) => events.publish('usb.changed', { what });
const whats = (events: readonly UsherEvent[]) =>
  events.map((event) => `${event.seq} ${(event.body as { what: string }).what}`);
const isGone = (error: unknown) => isFault(error, 'events.gone');

test('an event leaves once it is written, in order, at the end of the turn', async () => {
  const path = newPath();
  const events = open(path);
  const heard: UsherEvent[] = [];
  const stop = events.subscribe((event) => {
    const other = new DatabaseSync(path, { readOnly: true });
    assert.ok(other.prepare('SELECT 1 FROM event WHERE seq = ?').get(event.seq));
    other.close();
    heard.push(event);
  });
  say(events, 'a');
  say(events, 'b');
  assert.deepEqual(heard, []);
  await turn();
  assert.deepEqual(heard[0], { seq: 1, at: 1_000_000, kind: 'usb.changed', body: { what: 'a' } });
  assert.deepEqual(whats(heard), ['1 a', '2 b']);
  stop();
  say(events, 'c');
  await turn();
  assert.equal(heard.length, 2);
  events.close();
});

test('a listener resumes over a restart without loss and without hearing anything twice', async () => {
  const path = newPath();
  const first = open(path);
  for (const what of ['a', 'b', 'c']) say(first, what);
  first.close();
  const events = open(path);
  say(events, 'd');
  const heard: UsherEvent[] = [];
  events.subscribe((event) => heard.push(event), 1);
  say(events, 'e');
  await turn();
  assert.deepEqual(whats(heard), ['2 b', '3 c', '4 d', '5 e']);
  assert.equal(events.head, 5);
  assert.deepEqual(whats(events.since(4)), ['5 e']);
  assert.deepEqual(events.since(5), []);
  events.close();
});

test('who subscribes without a number hears nothing of what was before', async () => {
  const events = open();
  const heard: UsherEvent[] = [];
  say(events, 'before');
  events.subscribe((event) => heard.push(event));
  say(events, 'after');
  await turn();
  assert.deepEqual(whats(heard), ['2 after']);
  events.close();
});

test('prunes, says so to who comes too late, and gives what is kept to who asks for all', () => {
  const path = newPath();
  const events = open(path, { keep: 100 });
  for (let i = 1; i <= 1000; i++) say(events, String(i));
  const kept = events.since(0);
  assert.equal(kept.length, 100);
  assert.equal(kept[0]?.seq, 901);
  assert.equal(events.since(900).length, 100);
  assert.throws(() => events.since(899), isGone);
  assert.throws(() => events.subscribe(() => undefined, 5), isGone);
  assert.throws(() => events.since(1001), isGone, 'a number that was never given comes from another log');
  events.close();
});

test('no number means two events, whatever was lost when the host went down', () => {
  const path = newPath();
  const first = open(path);
  say(first, 'a');
  assert.equal(first.head, 1);
  // The daemon dies here; in the same boot nothing is lost.
  const second = open(path);
  say(second, 'b');
  assert.equal(second.head, 2);
  // The host goes down here.
  const third = open(path, { bootId: 'boot-2' });
  say(third, 'c');
  assert.equal(third.head, 1_000_003);
  assert.deepEqual(whats(third.since(2)), ['1000003 c']);
  third.close();
  // The host went down in peace.
  const fourth = open(path, { bootId: 'boot-3' });
  say(fourth, 'd');
  assert.equal(fourth.head, 1_000_004);
  fourth.close();
});

test('a listener may publish, ask and subscribe while it listens: all hear everything once, in order', async () => {
  const events = open();
  const heard: UsherEvent[] = [];
  const late: UsherEvent[] = [];
  events.subscribe((event) => {
    if (event.seq !== 1) return;
    say(events, 'c');
    assert.equal(events.head, 3);
    events.subscribe((each) => late.push(each), 0);
  });
  events.subscribe((event) => heard.push(event));
  say(events, 'a');
  say(events, 'b');
  await turn();
  assert.deepEqual(whats(heard), ['1 a', '2 b', '3 c']);
  assert.deepEqual(whats(late), ['1 a', '2 b', '3 c']);
  events.close();
});

test('a listener that throws does not keep others from hearing', async () => {
  const events = open();
  const heard: UsherEvent[] = [];
  events.subscribe(() => assert.fail('deaf'));
  events.subscribe((event) => heard.push(event));
  say(events, 'a');
  await turn();
  assert.equal(heard.length, 1);
  events.close();
});

test('what cannot be written now leaves later', async () => {
  const path = newPath();
  const events = open(path);
  const heard: UsherEvent[] = [];
  events.subscribe((event) => heard.push(event));
  const other = new DatabaseSync(path);
  other.exec("CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'full'); END");
  say(events, 'a');
  await turn();
  assert.deepEqual(heard, []);
  other.exec('DROP TRIGGER full');
  other.close();
  say(events, 'b');
  await turn();
  assert.deepEqual(whats(heard), ['1 a', '2 b']);
  events.close();
});

test('a disk that is full at the end keeps nobody from letting go', () => {
  const path = newPath();
  const events = open(path);
  const other = new DatabaseSync(path);
  other.exec("CREATE TRIGGER full BEFORE INSERT ON note BEGIN SELECT RAISE(ABORT, 'full'); END");
  events.close();
  other.exec('DROP TRIGGER full');
  other.close();
  open(path).close();
});
