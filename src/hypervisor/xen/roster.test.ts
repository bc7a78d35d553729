import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import { silentLog } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import { type LivingDomain, Roster, type RosterParts } from './roster.ts';
import { Xl } from './xl.ts';

const HEADER =
  'Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label';
const uuidOf = (number: number) => `6f1c2d3e-0000-4000-8000-00000000000${number}` as VmUuid;

/** A row of `xl list -v`; a state such as `--p---`. */
function row(domid: number, state: string, name = `vm${domid}`, uuid: string = uuidOf(domid)): string {
  const reason = state[3] === 's' ? '-rscwS'.indexOf(state[4] ?? '') : '-';
  return `${name.padEnd(40)} ${domid}   192     1     ${state}       1.0 ${uuid} ${reason} -`;
}

/** An xl whose answers the test gives by hand. */
class HandXl extends Xl {
  readonly asked: PromiseWithResolvers<string>[] = [];

  override run(): Promise<string> {
    const answer = Promise.withResolvers<string>();
    this.asked.push(answer);
    return answer.promise;
  }

  /** Answers the look of that number, counted from 0. */
  answer(look: number, ...rows: string[]): void {
    const dom0 = row(0, 'r-----', 'Domain-0', '00000000-0000-0000-0000-000000000000');
    this.asked[look]?.resolve([HEADER, dom0, ...rows, ''].join('\n'));
  }
}

async function rig() {
  const xl = new HandXl();
  const clock = new ManualClock();
  const changes: (readonly [LivingDomain['run'] | undefined, LivingDomain['run'] | undefined, number | undefined])[] =
    [];
  const fires: (() => void)[] = [];
  const nodes = new Map<string, string>();
  const store: RosterParts['store'] = {
    read: async (path: string) => nodes.get(path),
    watch: async (path, heard) => {
      const listener = () => heard(path);
      fires.push(listener);
      return { path, close: () => void fires.splice(fires.indexOf(listener), 1) };
    },
    onResync: () => () => false,
  };
  const onChange = (before: LivingDomain | undefined, now: LivingDomain | undefined) =>
    changes.push([before?.run, now?.run, (now ?? before)?.domid]);
  const roster = await Roster.open({ xl, store, clock, log: silentLog, onChange });
  /** xenstore tells of an end. */
  const fire = () => fires[0]?.();
  /** xenstore tells of a new domain. */
  const introduce = () => fires[1]?.();
  return { xl, clock, roster, changes, fire, introduce, fires, nodes };
}

test('questions of one moment share a look, and one is enough until something changes', async () => {
  const { xl, roster } = await rig();
  const both = Promise.all([roster.find(uuidOf(1)), roster.all()]);
  assert.equal(xl.asked.length, 1);
  xl.answer(0, row(1, '-b----'));
  const [found, all] = await both;
  assert.deepEqual(found, { domid: 1, uuid: uuidOf(1), name: 'vm1', hasRun: true, run: 'running' });
  assert.deepEqual(all, [found]);
  await roster.find(uuidOf(2));
  assert.equal(xl.asked.length, 1);
});

test('an answer never comes from a look that began before the change', async () => {
  const { xl, roster, fire } = await rig();
  const first = roster.all();
  xl.answer(0);
  await first;
  roster.touch();
  const early = roster.find(uuidOf(1));
  fire();
  const late = roster.find(uuidOf(1));
  assert.equal(xl.asked.length, 3, 'the change made it look again; the question joins that');
  xl.answer(2, row(1, '---s--'));
  assert.equal((await late)?.run, 'shutdown');
  xl.answer(1, row(1, '------'));
  assert.equal((await early)?.run, 'running', 'it was asked before the change');
  assert.equal((await roster.find(uuidOf(1)))?.run, 'shutdown', 'the older look has not taken the place of the newer');
});

test('a domain that is introduced is looked at a little later, or with the next question', async () => {
  const { xl, roster, introduce, clock, changes } = await rig();
  introduce();
  await clock.advance(5_000);
  assert.equal(xl.asked.length, 0, 'nobody has asked for anything yet');
  const first = roster.all();
  xl.answer(0);
  await first;
  introduce();
  await clock.advance(500);
  introduce();
  assert.equal(xl.asked.length, 1);
  await clock.advance(1_000);
  assert.equal(xl.asked.length, 2);
  xl.answer(1, row(1, 'r-----'));
  await clock.advance(0);
  assert.deepEqual(changes, [[undefined, 'running', 1]]);
  introduce();
  const asked = roster.find(uuidOf(2));
  assert.equal(xl.asked.length, 3);
  xl.answer(2, row(1, 'r-----'), row(2, '--p---'));
  await asked;
  await clock.advance(1_500);
  assert.equal(xl.asked.length, 3, 'what was asked for has shown it already');
});

test('what came, went or changed is told once, by whatever look', async () => {
  const { xl, roster, fire, changes } = await rig();
  const first = roster.all();
  xl.answer(0, row(1, 'r-----'), row(2, '--p---'));
  await first;
  assert.deepEqual(changes, [], 'the first look tells nothing');
  fire();
  xl.answer(1, row(2, 'r-----'), row(3, '---sc-'));
  await roster.all();
  assert.deepEqual(changes, [
    ['running', undefined, 1],
    ['paused', 'running', 2],
    [undefined, 'shutdown', 3],
  ]);
  fire();
  xl.answer(2, row(2, '-b----'), row(3, '---sc-'));
  await roster.all();
  assert.equal(changes.length, 3);
});

test('a domid with another uuid is one gone and one come', async () => {
  const { xl, roster, fire, changes } = await rig();
  const first = roster.all();
  xl.answer(0, row(1, 'r-----'));
  await first;
  fire();
  xl.answer(1, row(1, '--p---', 'other', uuidOf(9)));
  await roster.all();
  assert.deepEqual(changes, [
    ['running', undefined, 1],
    [undefined, 'paused', 1],
  ]);
});

test('what is older than some seconds is given at once by find, and looked at again; all waits for it', async () => {
  const { xl, roster, clock, changes } = await rig();
  const first = roster.all();
  xl.answer(0, row(1, 'r-----'));
  await first;
  await clock.advance(10_000);
  assert.equal((await roster.find(uuidOf(1)))?.run, 'running');
  await clock.advance(1_000);
  assert.equal(xl.asked.length, 2);
  const all = roster.all();
  xl.answer(1, row(1, '--p---'));
  assert.equal((await all)[0]?.run, 'paused');
  assert.deepEqual(changes, [['running', 'paused', 1]]);
});

test('a look that fails is a fault for who asks, and is tried again for who does not', async () => {
  const { xl, roster, fire, clock, changes } = await rig();
  const first = roster.all();
  xl.answer(0, row(1, 'r-----'));
  await first;
  fire();
  const asked = roster.all();
  xl.asked[1]?.reject(new Fault('hypervisor.failed', { what: 'busy' }));
  await assert.rejects(asked, (error) => isFault(error, 'hypervisor.failed'));
  await clock.advance(1_000);
  assert.equal(xl.asked.length, 3);
  xl.asked[2]?.resolve('nonsense\n');
  await clock.advance(3_000);
  assert.equal(xl.asked.length, 4);
  xl.answer(3, row(1, '---sr-'));
  await clock.advance(0);
  assert.deepEqual(changes, [['running', 'shutdown', 1]]);
  await clock.advance(60_000);
  assert.equal(xl.asked.length, 4);
});

test('who gives up waiting hears of it at once, and the look goes on for the others', async () => {
  const { xl, roster } = await rig();
  const controller = new AbortController();
  const given = roster.find(uuidOf(1), { signal: controller.signal });
  const other = roster.find(uuidOf(1));
  controller.abort();
  await assert.rejects(given, (error) => isFault(error, 'aborted'));
  xl.answer(0, row(1, 'r-----'));
  assert.equal((await other)?.run, 'running');
});

test('nobody’s domains, dying ones and half-received ones do not count; of remains the last do', async () => {
  const { xl, roster } = await rig();
  const all = roster.all();
  const rows = [
    row(1, 'r-----', 'vm1--incoming'),
    row(2, '--p--d'),
    row(3, 'r-----', 'xenstore', '00000000-0000-0000-0000-000000000000'),
    row(4, 'r-----', '(null)'),
  ];
  xl.answer(0, ...rows);
  assert.deepEqual(
    (await all).map(({ domid, name }) => [domid, name]),
    [[4, uuidOf(4)]],
  );
  const remains = roster.remainsOf(uuidOf(1));
  xl.answer(1, ...rows);
  assert.deepEqual(
    (await remains).map(({ domid }) => domid),
    [1],
  );
});

test('a domid is proved by its node, else by a new look', async () => {
  const { xl, roster, nodes } = await rig();
  const domain = { domid: 1, uuid: uuidOf(1), name: 'vm1' };
  nodes.set('/local/domain/1/vm', `/vm/${uuidOf(1)}`);
  await roster.prove(domain);
  assert.equal(xl.asked.length, 0);
  nodes.clear();
  const proved = roster.prove(domain);
  await new Promise(setImmediate);
  xl.answer(0, row(1, 'r-----'));
  await proved;
  const refused = roster.prove(domain);
  await new Promise(setImmediate);
  xl.answer(1, row(1, 'r-----', 'vm1', uuidOf(2)));
  await assert.rejects(refused, (error) => isFault(error, 'vm.no_domain'));
});

test('a roster that is closed watches nothing and looks no more', async () => {
  const { xl, roster, fire, fires, clock } = await rig();
  const first = roster.all();
  xl.answer(0);
  await first;
  fire();
  xl.asked[1]?.reject(new Fault('hypervisor.failed', { what: 'busy' }));
  await clock.advance(0);
  roster.close();
  assert.deepEqual(fires, []);
  await clock.advance(60_000);
  assert.equal(xl.asked.length, 2);
});

test('a domain that lies suspended is looked at and told of until it goes on: no watch tells that', async () => {
  const { xl, clock, roster, changes } = await rig();
  const first = roster.all();
  xl.answer(0, row(1, '---ss-'));
  await first;
  await clock.advance(3_000);
  xl.answer(1, row(1, '---ss-'));
  await clock.advance(0);
  assert.deepEqual(changes, [['shutdown', 'shutdown', 1]]);
  await clock.advance(3_000);
  xl.answer(2, row(1, '-b----'));
  await clock.advance(0);
  assert.deepEqual(changes.at(-1), ['shutdown', 'running', 1]);
  await clock.advance(60_000);
  assert.equal(xl.asked.length, 3);
});

test('whether a domain lies suspended is asked anew each time', async () => {
  const { xl, roster } = await rig();
  const first = roster.all();
  xl.answer(0, row(1, '---ss-'));
  await first;
  const found = roster.find(uuidOf(1));
  await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  xl.answer(1, row(1, '-b----'));
  assert.equal((await found)?.run, 'running');
});
