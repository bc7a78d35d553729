/** Requests that are given up, by their deadline or their signal, and what comes of a late answer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { faultOf } from '../testing/fault-of.ts';
import { decodeNumber } from './payloads.ts';
import type { Question } from './requests.ts';
import { openedFake, read, settle } from './testing/fake-xenstored.ts';

test('gives up a request at its deadline, drops its late answer, and goes on', async () => {
  const clock = new ManualClock();
  const { fake, session } = await openedFake({ clock, timeoutMs: 1000, maxUnderWay: 2 });
  const held = session.request(read('/held'), { timeoutMs: 60_000 });
  const first = await fake.next();
  const late = faultOf(session.request(read('/late')), 'timeout');
  const never = faultOf(session.request(read('/never-sent'), { timeoutMs: 1500 }), 'timeout');
  const sent = await fake.next();
  await clock.advance(999);
  const patient = session.request(read('/patient'), { timeoutMs: 60_000 });
  await clock.advance(1);
  assert.match((await late).message, /reply of fake to READ of \/late took longer than 1 s/);
  await clock.advance(500);
  assert.match((await never).message, /never-sent took longer than 1\.5 s/);
  assert.equal(fake.unread, 0, 'what was not answered is under way still');
  fake.reply(sent, 'too late');
  fake.reply(first, 'held');
  assert.equal(await held, 'held');
  const next = await fake.next();
  assert.equal(next.body.toString(), '/patient\0');
  fake.reply(next, 'here');
  assert.equal(await patient, 'here');
  assert.equal(clock.waiting, 0, 'an idle session has no timer');
});

test('ends when it may send nothing any more, for all that is under way was given up', async () => {
  const clock = new ManualClock();
  const { fake, session } = await openedFake({ clock, timeoutMs: 1000, maxUnderWay: 2 });
  const late = [1, 2].map((i) => faultOf(session.request(read(`/${i}`)), 'timeout'));
  const waiting = faultOf(session.request(read('/3'), { timeoutMs: 60_000 }), 'wire.closed');
  await clock.advance(1000);
  await Promise.all(late);
  assert.match((await waiting).message, /answers nothing any more/);
  assert.equal(session.isOpen, false);
  await settle();
  assert.equal(fake.unread, 2, 'the third was never sent');
});

test('hands over what came too late to whom it concerns', async () => {
  const clock = new ManualClock();
  const { fake, session } = await openedFake({ clock });
  const late: number[] = [];
  const question: Question<number> = {
    name: 'TRANSACTION_START',
    text: '\0',
    decode: decodeNumber,
    onLate: (id) => void late.push(id),
  };
  const timeouts = [1, 2].map(() => faultOf(session.request(question, { timeoutMs: 10 }), 'timeout'));
  const sent = [await fake.next(), await fake.next()];
  await clock.advance(10);
  await Promise.all(timeouts);
  fake.reply(sent[0] as (typeof sent)[0], '41\0');
  fake.refuse(sent[1] as (typeof sent)[0], 'ENOSPC');
  await settle();
  assert.deepEqual(late, [41]);
  assert.equal(session.isOpen, true);
});

test('gives up a request by its signal, before, while and after it is under way', async () => {
  const { fake, session } = await openedFake();
  const abort = new AbortController();
  const asked = session.request(read('/a'), { signal: abort.signal });
  const sent = await fake.next();
  abort.abort(new Error('enough'));
  const fault = await faultOf(asked, 'aborted');
  assert.equal((fault.cause as Error).message, 'enough');
  await faultOf(session.request(read('/b'), { signal: abort.signal }), 'aborted');
  fake.reply(sent, 'late');
  await settle();
  assert.equal(fake.unread, 0);

  const calm = new AbortController();
  const done = session.request(read('/c'), { signal: calm.signal });
  fake.reply(await fake.next(), 'v');
  assert.equal(await done, 'v');
  calm.abort();
  assert.equal(session.isOpen, true);
});
