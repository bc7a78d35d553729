import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { FaultStage } from '../../test/faults/fault-stage.ts';
import { ManualClock } from '../lib/clock.ts';
import { Fault, isFault } from '../lib/fault.ts';
import type { Actor } from '../model/audit.ts';
import { AuditLog } from './audit.ts';
import { AuditGroups } from './audit-groups.ts';

const root = mkdtempSync(join(tmpdir(), 'usher-groups-'));
after(() => rmSync(root, { recursive: true }));

const actor: Actor = { uid: 0, pid: 1, user: 'usher' };
const PORTS = 8;

function open(): { audit: AuditLog; groups: AuditGroups; path: string } {
  const path = join(mkdtempSync(join(root, 'test-')), 'audit.db');
  const audit = new AuditLog(path, { clock: new ManualClock() });
  return { audit, groups: new AuditGroups(audit), path };
}

/** Empties the journal, so that commits can be counted from here on. */
function forgetCommits(path: string): void {
  const database = new DatabaseSync(path);
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  database.close();
}

/** Counts the commits in the journal, each of which was flushed: frames that say how many pages there are now (sqlite.org/fileformat2.html, 4.1). */
function commitsIn(path: string): number {
  const wal = readFileSync(`${path}-wal`);
  if (wal.length === 0) return 0;
  const frame = 24 + wal.readUInt32BE(8);
  let commits = 0;
  for (let at = 32; at + frame <= wal.length; at += frame) {
    const isOfNow = wal.subarray(at + 8, at + 16).equals(wal.subarray(16, 24));
    if (isOfNow && wal.readUInt32BE(at + 4) > 0) commits++;
  }
  return commits;
}

/** Has a whole Usher attach devices that are plugged in one moment. */
async function attachAtOnce(count: number): Promise<{ commits: number; openAtFirst: number; outcomes: number }> {
  const stage = new FaultStage({ latencyMs: { attachDevice: 0 } });
  try {
    await stage.openDaemon();
    for (let vm = 0; vm * PORTS < count; vm++) {
      await stage.makeVm(`vm${vm}`);
      await stage.do('usb.assign', { vm: `vm${vm}`, device: `0951:1666:V${vm}-*:*`, mode: 'auto' });
    }
    await stage.pass(1_000);
    const { audit } = stage.engine;
    const before = audit.head().row;
    forgetCommits(stage.places.auditFile);
    let openAtFirst = 0;
    stage.arm('in the VM', 'dom0:1-1', () => {
      openAtFirst = audit.openIntents().length;
    });
    for (let i = 0; i < count; i++) stage.plug(`1-${i + 1}`, `V${Math.floor(i / PORTS)}-${i}`);
    await stage.struck();
    await stage.pass(1_000);
    const commits = commitsIn(stage.places.auditFile);
    const rows = audit.list({ after: before });
    const outcomes = rows.filter(({ action, outcome }) => action === 'step.attach' && outcome === 'ok').length;
    const verdict = await stage.finish(audit.verify());
    assert.ok(verdict.isIntact, verdict.says);
    return { commits, openAtFirst, outcomes };
  } finally {
    await stage.clear();
  }
}

test('a hundred devices at once cost no more flushes than one, and no attach waits for the flush of another', async () => {
  assert.deepEqual(await attachAtOnce(1), { commits: 2, openAtFirst: 1, outcomes: 1 });
  assert.deepEqual(await attachAtOnce(100), { commits: 2, openAtFirst: 100, outcomes: 100 });
});

test('an intent is on the disk when it is told, before its outcome is taken, and rows are in the order of asking', async () => {
  const { audit, groups, path } = open();
  const told: number[] = [];
  const begun = ['a', 'b', 'c'].map(async (device) => {
    const intent = await groups.intend({ actor, action: 'step.attach', device });
    const asOnDisk = new AuditLog(path, { isReadOnly: true });
    told.push(asOnDisk.head().row);
    asOnDisk.close();
    await groups.conclude({ intent, outcome: device === 'b' ? 'failed' : 'ok', after: { vm: device } });
    assert.ok(!audit.openIntents().some(({ row }) => row === intent));
  });
  assert.equal(audit.head().row, 0, 'those who ask in one go share a flush');
  const asked = audit.intend({ actor, action: 'usb.assign' });
  await Promise.all(begun);
  assert.equal(asked, 1, 'who must know at once does not wait for a group');
  assert.deepEqual(told, [4, 4, 4]);
  assert.deepEqual(
    audit.list({ after: 1 }).map(({ kind, device, intent, outcome }) => [kind, device, intent, outcome]),
    [
      ['intent', 'a', undefined, undefined],
      ['intent', 'b', undefined, undefined],
      ['intent', 'c', undefined, undefined],
      ['outcome', 'a', 2, 'ok'],
      ['outcome', 'b', 3, 'failed'],
      ['outcome', 'c', 4, 'ok'],
    ],
  );
  assert.ok((await audit.verify()).isIntact);
  audit.close();
});

test('one that cannot be written by a bug takes no other with it', async () => {
  const { audit, groups } = open();
  const intend = (details: Record<string, unknown>) => groups.intend({ actor, action: 'step.attach', details });
  const begun = await Promise.allSettled([intend({}), intend({ n: 1n }), intend({})]);
  assert.deepEqual(
    begun.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  const conclude = (intent: number) => groups.conclude({ intent, outcome: 'ok' });
  const ended = await Promise.allSettled([conclude(1), conclude(99), conclude(2), conclude(2)]);
  assert.deepEqual(
    ended.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'rejected'],
  );
  assert.deepEqual([audit.openIntents(), audit.head().row], [[], 4]);
  audit.close();
});

test('a disk that is full refuses all of them, and is tried once', async () => {
  let tries = 0;
  const groups = new AuditGroups({
    intendAll() {
      tries++;
      throw new Fault('audit.unwritable', { operation: 'step.attach', what: 'the disk is full' });
    },
    concludeAll() {},
  });
  const begun = await Promise.allSettled([1, 2, 3].map(() => groups.intend({ actor, action: 'step.attach' })));
  for (const one of begun) assert.ok(one.status === 'rejected' && isFault(one.reason, 'audit.unwritable'));
  assert.equal(tries, 1);
});
