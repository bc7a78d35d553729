/**
 * Kills the daemon by SIGKILL at every fail point of attach and detach, with a real guest, and proves that the next
 * daemon converges: the device is in the VM once or not at all, as wished; the audit trail is whole and closed.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeStick } from '../../lab/stick.ts';
import type { AuditVerification, AuditView } from '../../src/api/views.ts';
import { FAIL_POINTS } from '../../src/lib/fail-point.ts';
import { Stage, type StageVm } from '../support/stage.ts';

let stage: Stage;
let vm: StageVm;
let stick: string;
const PLACE = 'virtual:1-1';

before(async () => {
  stage = await Stage.set();
  stick = join(stage.home, 'stick.img');
  await makeStick(stick, { sizeMiB: 1 });
  await stage.startDaemon();
  vm = await stage.makeVm('work');
  await stage.usher('vm', 'start', 'work');
  await vm.ready();
  await stage.usher('usb', 'assign', 'work', PLACE, '--auto');
});
after(() => stage.strike());

for (const point of FAIL_POINTS) {
  test(`a daemon killed at ${point} is followed by one that converges`, async () => {
    const { handle } = await vm.details();
    const isAttach = point.startsWith('attach.');
    if (!isAttach) await plug(`S-${point}`);
    await stage.endDaemon('SIGTERM');
    await stage.startDaemon({ USHER_FAIL_POINT: point });
    const words = isAttach ? plugWords(`S-${point}`) : ['usb', 'unplug', PLACE];
    const cut = await stage.try(...words);
    assert.notEqual(cut.status, 0, `the daemon was not killed at ${point}: ${cut.stdout}`);
    await stage.daemonEnd();

    await stage.startDaemon();
    await stage.usher('usb', 'reconcile');
    await expectAttached(isAttach ? `S-${point}` : undefined);
    assert.equal((await vm.details()).handle, handle, 'the guest was disturbed');
    await expectTrailClosed();

    // What was left behind must not stand in the way of the next time.
    if (isAttach) await stage.usher('usb', 'unplug', PLACE);
    await expectAttached(undefined);
    await plug('again');
    await expectAttached('again');
    await stage.usher('usb', 'unplug', PLACE);
  });
}

function plugWords(serial: string): string[] {
  return ['usb', 'plug', '--at', PLACE, '--kind', 'storage', '--file', stick, '--serial', serial];
}

async function plug(serial: string): Promise<void> {
  await stage.usher(...plugWords(serial));
  await expectAttached(serial);
}

/** Compares what the hypervisor says and what the guest sees with what is wished: one device, or none. */
async function expectAttached(serial: string | undefined): Promise<void> {
  const { attachments } = await vm.details();
  const wished = serial === undefined ? [] : [`46f4:0001:${serial}:080650`];
  assert.deepEqual(
    attachments.map(({ deviceId }) => deviceId),
    wished,
  );
  const deadline = performance.now() + 15_000;
  for (;;) {
    const since = await vm.type('usb');
    const end = await vm.console.waitFor(/^USHER-GUEST usb-end/, { timeoutMs: 15_000, since });
    const seen = vm.console.lines
      .slice(since, end.index)
      .flatMap(({ text }) => /^USHER-GUEST usb= .* serial=(\S*)/.exec(text)?.[1] ?? []);
    const sticks = seen.filter((text) => text === 'again' || text.startsWith('S-'));
    if (sticks.join() === (serial ?? '')) return;
    assert.ok(performance.now() < deadline, `the guest sees ${sticks.join() || 'no stick'}, not ${serial ?? 'none'}`);
  }
}

async function expectTrailClosed(): Promise<void> {
  const rows = await stage.ask<AuditView[]>('audit', 'list', '--limit', '10000');
  const concluded = new Set(rows.map((row) => row.intent));
  const open = rows.filter((row) => row.kind === 'intent' && !concluded.has(row.row));
  assert.deepEqual(open, [], 'intents without an outcome');
  const byRow = new Map(rows.map((row) => [row.row, row]));
  for (const row of rows.filter((other) => other.details['closedAtStart'] === true)) {
    assert.notEqual(byRow.get(row.intent ?? 0)?.actor.pid, stage.daemonPid, 'a daemon closed a step of its own');
  }
  assert.ok((await stage.ask<AuditVerification>('audit', 'verify')).isIntact);
}
