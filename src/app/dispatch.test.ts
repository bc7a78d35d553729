import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../lib/clock.ts';
import { Fault, type FaultCode, isFault } from '../lib/fault.ts';
import { silentLog } from '../lib/log.ts';
import type { Actor, AuditTrail } from '../model/audit.ts';
import { Access } from './access.ts';
import { Denials } from './denials.ts';
import { Dispatcher, type Handlers } from './dispatch.ts';

const OWN: Actor = { uid: 500, pid: 1, user: 'own' };
const OTHER: Actor = { uid: 501, pid: 2, user: 'eve' };
const READER: Actor = { uid: 502, pid: 3, user: 'ada' };
const NOTHING_HEARD = { notify() {}, signal: new AbortController().signal };

type Intent = Parameters<AuditTrail['intend']>[0];
type Conclusion = Parameters<AuditTrail['conclude']>;

function stage(handlers: Partial<Record<keyof Handlers, () => Promise<unknown>>> = {}) {
  const clock = new ManualClock();
  const told: string[] = [];
  const intents: Intent[] = [];
  const conclusions: Conclusion[] = [];
  const trail = { isFull: false };
  const audit: AuditTrail = {
    intend(entry) {
      if (trail.isFull) throw new Fault('audit.unwritable', { operation: entry.action, what: 'the disk is full' });
      told.push(`intend ${entry.action}`);
      return intents.push(entry);
    },
    conclude(...conclusion) {
      told.push(`conclude ${conclusion[1]}`);
      conclusions.push(conclusion);
    },
  };
  const subjects = { vm: (name: string) => ({ name }), device: () => undefined };
  const handle = (name: string, work?: () => Promise<unknown>) => async () => {
    told.push(`handle ${name}`);
    return await work?.();
  };
  const all = new Proxy({}, { get: (_, name: keyof Handlers) => handle(name, handlers[name]) }) as Handlers;
  let looks = 0;
  const dispatcher = new Dispatcher({
    handlers: all,
    access: new Access({
      entries: [{ to: { user: READER.uid }, may: 'read' }],
      subjects,
      hasGroups: false,
      ownUid: OWN.uid,
    }),
    audit,
    denials: new Denials({ audit, clock, log: silentLog }),
    stateOf: () => ({ look: ++looks }),
    log: silentLog,
  });
  const perform = (operation: string, params: unknown, actor = OWN) =>
    dispatcher.perform(operation, params, { actor, ...NOTHING_HEARD });
  return { clock, dispatcher, perform, told, intents, conclusions, trail };
}

const failsWith = (code: FaultCode, promise: Promise<unknown>) =>
  assert.rejects(promise, (error) => isFault(error, code));

test('what changes something is between its intent and its outcome, with what was the case before and after', async () => {
  const { perform, told, intents, conclusions } = stage({ 'vm.pause': async () => ({ name: 'work' }) });
  assert.deepEqual(await perform('vm.pause', { vm: 'work' }), { name: 'work' });
  assert.deepEqual(told, ['intend vm.pause', 'handle vm.pause', 'conclude ok']);
  assert.deepEqual(intents[0]?.before, { look: 1 });
  assert.deepEqual(intents[0]?.details, { vm: 'work' });
  assert.deepEqual(conclusions[0], [1, 'ok', undefined, { look: 2 }]);
});

test('what fails has its outcome, too', async () => {
  const { perform, conclusions } = stage({
    'vm.pause': () => Promise.reject(new Fault('vm.not_found', { vm: 'work' })),
  });
  await failsWith('vm.not_found', perform('vm.pause', { vm: 'work' }));
  const error = { error: 'There is no VM named "work".', code: 'vm.not_found' };
  assert.deepEqual(conclusions, [[1, 'failed', error, { look: 2 }]]);
});

test('what cannot be audited is not begun; what only looks is', async () => {
  const { perform, told, trail } = stage();
  trail.isFull = true;
  await failsWith('audit.unwritable', perform('vm.destroy', { vm: 'work' }));
  assert.deepEqual(told, []);
  await perform('vm.list', {});
  assert.deepEqual(told, ['handle vm.list']);
});

test('what is denied is not done, not even looked at, and written down', async () => {
  const { perform, told, intents, conclusions } = stage();
  await failsWith('denied', perform('vm.destroy', { vm: 'work', nonsense: [1] }, OTHER));
  await failsWith('denied', perform('usb.assign', { vm: 'work', device: '*:*' }, OTHER));
  await failsWith('denied', perform('vm.list', {}, OTHER));
  assert.ok(!told.some((line) => line.startsWith('handle')));
  assert.deepEqual(
    intents.map(({ action, vm, device, actor }) => [action, vm, device, actor.uid]),
    [
      ['vm.destroy', 'work', undefined, 501],
      ['usb.assign', 'work', undefined, 501],
      ['vm.list', undefined, undefined, 501],
    ],
  );
  assert.deepEqual(
    conclusions.map(([, outcome]) => outcome),
    ['denied', 'denied', 'denied'],
  );
});

test('it is denied also when that cannot be written down', async () => {
  const { perform, told, trail, intents, conclusions } = stage();
  trail.isFull = true;
  await failsWith('denied', perform('vm.destroy', { vm: 'work' }, OTHER));
  assert.deepEqual(told, []);
  trail.isFull = false;
  await failsWith('denied', perform('vm.destroy', { vm: 'work' }, OTHER));
  assert.equal(intents.length, 1);
  assert.equal(conclusions[0]?.[2]?.['unwritten'], 1, 'the one that is missing is counted');
});

test('rights are asked for before parameters are looked at', async () => {
  const { perform } = stage();
  await failsWith('params.invalid', perform('vm.pause', { vm: 5 }));
  await failsWith('denied', perform('vm.pause', { vm: 5 }, OTHER));
  await failsWith('denied', perform('vm.pause', 'x', OTHER));
  await failsWith('rpc.unknown_operation', perform('vm.paus', {}, OTHER));
});

test('denials of one user are written so often in a minute and no more; the next row has their number', async () => {
  const { perform, conclusions, clock } = stage();
  for (let i = 0; i < 100; i++) await failsWith('denied', perform('vm.list', {}, OTHER));
  assert.equal(conclusions.length, 30);
  await failsWith('denied', perform('vm.list', {}, { ...OTHER, uid: 503 }));
  assert.equal(conclusions.length, 31, 'another user has rows of his own');
  await clock.advance(60_000);
  await failsWith('denied', perform('vm.list', {}, OTHER));
  assert.equal(conclusions.at(-1)?.[2]?.['unwritten'], 70);
});

test('to end a monitor is audited, to look at its state is not', () => {
  const { dispatcher, told } = stage();
  dispatcher.admitApart('monitor.status', 'work', OWN);
  assert.deepEqual(told, []);
  dispatcher.admitApart('monitor.quit', 'work', OWN);
  assert.deepEqual(told, ['intend monitor.quit', 'conclude ok']);
  for (const action of ['monitor.status', 'monitor.quit'] as const) {
    assert.throws(
      () => dispatcher.admitApart(action, 'work', OTHER),
      (error) => isFault(error, 'denied'),
    );
  }
});

test('the content of a config is in the trail by its length', async () => {
  const { perform, intents } = stage();
  await perform('vm.create', { content: 'name = ä\n' });
  assert.deepEqual(intents[0]?.details, { contentBytes: 10 });
});

test('a preview tells what the operation would: who may not perform that is told nothing', async () => {
  const { perform, told } = stage();
  for (const params of [{ path: '/etc/shadow' }, { content: 'name = work' }]) {
    await failsWith('denied', perform('preview', { operation: 'vm.create', params }, READER));
  }
  await failsWith(
    'denied',
    perform('preview', { operation: 'usb.attach', params: { device: 'dom0:1-1', vm: 'x' } }, OTHER),
  );
  assert.ok(!told.includes('handle preview'));
  await perform('preview', { operation: 'vm.create', params: { path: '/etc/work.cfg' } });
  assert.ok(told.includes('handle preview'));
});
