/** The audit trail as a person has it: who did what and why, taken elsewhere, tampered with, and on a disk that is full. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import type { AuditVerification, AuditView, DeviceView, TraceView, VmView } from '../../src/api/views.ts';
import { canonicalJson } from '../../src/lib/canonical-json.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { readAnchor } from '../../src/model/audit-anchor.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';
import { SystemLog } from '../support/system-log.ts';

let stage: Stage;
let world: WorldProcess;
let log: SystemLog;
let env: NodeJS.ProcessEnv;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  log = new SystemLog(join(stage.home, 'log'));
  env = { USHER_SIMULATOR_WORLD: world.socket };
  await writeFile(join(stage.home, 'usherd.yaml'), 'auditAnchorSeconds: 1\n');
  await stage.startDaemon(env);
  await makeVm(stage, 'work');
  await stage.usher('vm', 'start', 'work');
  await stage.usher('usb', 'plug', '--at', 'virtual:1-1', '--kind', 'tablet');
});
after(async () => {
  await stage.strike();
  await world.stop();
});

test('rows say who, what, on what, why, and how things stood before and after', async () => {
  await stage.usher('usb', 'assign', 'work', 'virtual:1-1', '--auto');
  await attached('virtual:1-1');
  const rows = await stage.ask<AuditView[]>('audit', 'list', '--since', '1h');
  const outcomeOf = (intent: AuditView | undefined) => rows.find((row) => row.intent === intent?.row);
  const assign = rows.find(({ action, kind }) => action === 'usb.assign' && kind === 'intent');
  assert.equal(assign?.actor.uid, process.getuid?.());
  const wish = { assignment: 1, vm: 'work', device: 'virtual:1-1', mode: 'auto' };
  assert.deepEqual(outcomeOf(assign)?.after, wish);
  const attach = rows.find(({ action, kind }) => action === 'step.attach' && kind === 'intent');
  assert.equal(attach?.actor.user, 'usher');
  assert.deepEqual(attach?.because, {
    ...{ by: 'assignment', assignment: 1 },
    says: 'assignment 1 gives it to work by port',
  });
  assert.deepEqual(attach?.before, { vm: null });
  assert.deepEqual(outcomeOf(attach)?.after, { vm: 'work', slot: '0-1' });
  const start = rows.find(({ action, kind }) => action === 'vm.start' && kind === 'intent');
  assert.equal(start?.before?.['power'], 'halted');
  assert.equal(outcomeOf(start)?.after?.['power'], 'running');
  await stage.usher('usb', 'unassign', '1');
  await stage.usher('usb', 'reconcile');
  const [gone, ...more] = (await stage.ask<AuditView[]>('audit', 'list', '--device', 'virtual:1-1')).filter(
    ({ action, kind }) => action === 'step.detach' && kind === 'intent',
  );
  assert.deepEqual(gone?.because, { by: 'nothing', says: 'nothing says that it belongs there' });
  assert.deepEqual(more, []);
  const removed = (await stage.ask<AuditView[]>('audit', 'list')).find(({ action }) => action === 'usb.unassign');
  assert.deepEqual(removed?.before, wish);
});

test('is listed by device, VM and time', async () => {
  const rows = (...words: string[]) => stage.ask<AuditView[]>('audit', 'list', ...words);
  assert.ok((await rows('--device', 'virtual:1-1')).every(({ device }) => device === 'virtual:1-1'));
  assert.ok((await rows('--vm', 'work')).length > 0);
  assert.deepEqual(await rows('--since', '0s'), []);
  assert.equal((await rows('--since', '1d')).length, (await rows()).length);
});

test('is exported a line a row, so that the chain can be checked by whoever reads docs/protocols/audit.md', async () => {
  const lines = (await stage.usher('audit', 'export')).split('\n').map((line) => JSON.parse(line) as AuditView);
  assert.deepEqual(lines, await stage.ask('audit', 'list', '-n', '10000'));
  let before = '0'.repeat(64);
  for (const [i, { hash, at, ...rest }] of lines.entries()) {
    assert.equal(rest.row, i + 1);
    const body = canonicalJson({ ...rest, at: Date.parse(at) });
    assert.equal(createHash('sha256').update(`${before}\n${body}`).digest('hex'), hash, `row ${rest.row}`);
    before = hash;
  }
  const since = await stage.usher('audit', 'export', '--since', '0s');
  assert.equal(since, '');
});

test('tells of one device what was seen of it and done about it, and goes on telling', async () => {
  const { entries, now } = await stage.ask<TraceView>('usb', 'trace', 'virtual:1-1');
  const says = entries.map(({ is, says: text }) => `${is} ${text}`);
  for (const [i, expected] of [
    /^asked root \(process \d+\) asks for usb\.plug /,
    /^seen plugged: .*\(0627:0001/,
    /^step attach work 0-1, for assignment 1 gives it to work by port$/,
    /^step attach: ok after \d+ ms \(of row \d+\)$/,
    /^seen attached to work 0-1: /,
    /^step detach work 0-1, for nothing says/,
    /^seen detached from work: /,
  ].entries()) {
    assert.ok(
      says.some((text) => expected.test(text)),
      `${i}: ${expected} is not in\n${says.join('\n')}`,
    );
  }
  assert.deepEqual(
    entries,
    entries.toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at)),
  );
  assert.deepEqual(now, ['left: nothing says that it belongs there']);
  const follower = spawn(
    join(import.meta.dirname, '../../bin/usher'),
    ['usb', 'trace', 'virtual:1-1', '-f', '--since', '0s'],
    {
      env: stage.env,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let heard = '';
  follower.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  try {
    await pollUntil({ what: 'The follower', timeoutMs: 20_000, everyMs: 300 }, async () => {
      await stage.usher('usb', 'attach', 'work', 'virtual:1-1');
      await stage.usher('usb', 'detach', 'virtual:1-1');
      const asked = heard.search(/asked {3}\S+ \(process \d+\) asks for usb\.attach/);
      return (
        (asked >= 0 && /attached to work[\s\S]*detach: ok[\s\S]*detached from work/.test(heard.slice(asked))) ||
        undefined
      );
    });
  } finally {
    follower.kill();
  }
  await stage.usher('usb', 'release', 'virtual:1-1');
});

describe('against the system log', () => {
  const logFile = () => {
    const file = join(stage.home, 'auth.log');
    writeFileSync(file, `${log.lines.join('\n')}\n`);
    return file;
  };
  const headRows = () => log.lines.flatMap((line) => readAnchor(line)?.row ?? []);

  test('the head is told every so often when it has changed, and at the end', async () => {
    const told = headRows().length;
    await stage.usher('vm', 'pause', 'work');
    await pollUntil(
      { what: 'An anchor', timeoutMs: 10_000, everyMs: 50 },
      async () => headRows().length > told || undefined,
    );
    await stage.usher('vm', 'unpause', 'work');
    const { rows, head } = await stage.ask<AuditVerification>('audit', 'verify');
    await stage.endDaemon('SIGTERM');
    const last = log.lines.map((line) => readAnchor(line)).at(-1);
    assert.deepEqual(last, { row: rows, hash: head, home: stage.home });
  });

  test('a trail is checked without a daemon, too', async () => {
    const { status, stdout, stderr } = await stage.try('audit', 'verify', '--anchors', logFile());
    assert.equal(status, 0, stderr);
    assert.match(stdout, /anchors agree, up to row \d+: up to there none was cut off\.$/m);
    assert.match(stderr, /No daemon runs/);
    const none = await stage.at(join(stage.home, 'empty')).try('audit', 'verify');
    assert.equal(none.status, 3);
    assert.ok(!existsSync(join(stage.home, 'empty/audit.db')), 'a check makes no trail');
  });

  test('a tail that is cut is missed by the system log, and by nothing else', async () => {
    const anchored = logFile();
    const head = log.lines.map((line) => readAnchor(line)?.hash).at(-1) ?? '';
    const database = new DatabaseSync(join(stage.home, 'audit.db'));
    for (const each of ['added', 'not_changed', 'not_removed']) database.exec(`DROP TRIGGER entry_is_${each}`);
    database.exec('DELETE FROM entry WHERE row > (SELECT max(row) - 4 FROM entry)');
    database.close();
    await stage.startDaemon(env);
    const alone = await stage.try('audit', 'verify');
    assert.equal(alone.status, 0);
    assert.match(alone.stdout, /Rows cut off at the end cannot be seen from the trail alone/);
    for (const proof of [
      ['--anchors', anchored],
      ['--head', head],
      ['--head', head, '--anchors', anchored],
    ]) {
      const found = await stage.try('audit', 'verify', ...proof);
      assert.equal(found.status, 1, found.stdout);
      assert.match(found.stdout, /cut off/);
    }
    // New rows in the place of the old ones do not hide it.
    for (let i = 0; i < 4; i++) await stage.usher('vm', 'set', 'work', '--autostart', i % 2 === 0 ? 'yes' : 'no');
    const covered = await stage.try('audit', 'verify', '--anchors', anchored);
    assert.equal(covered.status, 1);
    assert.match(covered.stdout, /is not the one that its anchor names: rows from \d+ on were made anew/);
  });

  test('anchors of other homes are left aside', async () => {
    const file = join(stage.home, 'other.log');
    const line = `usherd[1]: audit head row=1 hash=${'0'.repeat(64)} home=/elsewhere`;
    writeFileSync(file, `${line}\n`);
    const none = await stage.try('audit', 'verify', '--anchors', file);
    assert.equal(none.status, 2);
    assert.match(none.stderr, /none of 1 is of the trail of/);
  });
});

const canMount = process.getuid?.() === 0 && spawnSync('unshare', ['--mount', 'true']).status === 0;

describe('on a disk that is full', { skip: canMount ? false : 'only root can make a small disk' }, () => {
  let full: Stage;
  let home: string;
  const filler = () => join(home, 'filler');

  before(async () => {
    home = join(stage.home, 'small');
    mkdirSync(home);
    assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=0700', 'usher-test', home]).status, 0);
    full = stage.at(home);
    await full.startDaemon(env);
    await makeVm(full, 'tiny');
  });
  after(async () => {
    await full.endDaemon('SIGTERM');
    spawnSync('umount', ['--lazy', home]);
  });

  const fill = () => {
    const { bavail, bsize } = statfsSync(home);
    writeFileSync(filler(), Buffer.alloc(bavail * bsize));
  };

  test('what cannot be audited is not begun, and doctor says why', async () => {
    fill();
    const started = await full.try('vm', 'start', 'tiny');
    assert.equal(started.status, 1, started.stderr);
    assert.match(started.stderr, /The audit trail cannot be written, so "vm\.start" was not begun: .*full/);
    assert.equal((await full.ask<VmView[]>('vm', 'list'))[0]?.state, 'halted');
    const plugged = await full.try('usb', 'plug', '--at', 'virtual:5-1', '--kind', 'tablet');
    assert.equal(plugged.status, 1);
    assert.deepEqual(
      (await full.ask<DeviceView[]>('usb', 'list')).filter(({ device }) => device.startsWith('virtual:')),
      [],
    );
    assert.equal((await full.try('audit', 'verify')).status, 0, 'it can still be read');
    assert.match((await full.try('doctor')).stdout, /space: .* free/);
  });

  test('with room again everything goes on, and the trail is whole', async () => {
    rmSync(filler());
    await full.usher('vm', 'start', 'tiny');
    assert.equal((await full.ask<VmView[]>('vm', 'list'))[0]?.state, 'running');
    await full.usher('audit', 'verify');
  });

  test('a daemon does not start where it could not write the trail', async () => {
    await full.endDaemon('SIGTERM');
    assert.equal(spawnSync('mount', ['-o', 'remount,ro', home]).status, 0);
    const failed = await full.startDaemon(env).catch((error: Error) => error.message);
    assert.match(String(failed), /ended with 1[\s\S]*cannot be written: .*read-only file system/i);
  });
});

async function attached(device: string): Promise<void> {
  await pollUntil({ what: `The attaching of ${device}`, timeoutMs: 20_000, everyMs: 50 }, async () => {
    const found = (await stage.ask<DeviceView[]>('usb', 'list')).find((other) => other.device === device);
    return found?.state === 'attached' || undefined;
  });
}

async function makeVm(on: Stage, name: string): Promise<void> {
  const file = join(on.home, `${name}.cfg`);
  await writeFile(file, `name = ${name}\ndriver = simulator\nmemory = 64\n`);
  await on.usher('vm', 'create', file);
}
