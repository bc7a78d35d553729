import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readDeath } from './death.ts';

/** As Debian's QEMU 7.2 writes them. */
const STARTED = 'runstate_set current_run_state 6 (prelaunch) new_state 9 (running)\n';
const REQUESTED = 'qemu_system_shutdown_request reason=6\n';
const ENDED = 'runstate_set current_run_state 9 (running) new_state 11 (shutdown)\n';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-death-'));
});
after(() => rm(folder, { recursive: true }));

async function deathOf(trace: string, cause?: 'guest-reset' | 'guest-shutdown'): Promise<string | undefined> {
  const file = join(folder, 'trace.log');
  await writeFile(file, trace);
  return (await readDeath('shutdown', file, cause))?.reason;
}

test('the trace tells a halt from a reboot', async () => {
  assert.equal(await deathOf(STARTED + REQUESTED + ENDED), 'halt');
  assert.equal(await deathOf(STARTED + ENDED), 'reboot');
});

test('only what belongs to the last end counts', async () => {
  assert.equal(await deathOf(STARTED + REQUESTED + ENDED + STARTED + ENDED), 'reboot');
  assert.equal(await deathOf(REQUESTED + STARTED + ENDED), 'reboot');
});

test('without a trace the event tells, and without an event it is a halt', async () => {
  assert.equal(await deathOf('', 'guest-reset'), 'reboot');
  assert.equal(await deathOf(STARTED, 'guest-shutdown'), 'halt');
  assert.equal(await deathOf(''), 'halt');
  assert.equal((await readDeath('shutdown', join(folder, 'missing'), undefined))?.reason, 'halt');
});

test('other run states', async () => {
  assert.equal((await readDeath('guest-panicked', '', undefined))?.reason, 'crash');
  assert.equal((await readDeath('internal-error', '', undefined))?.reason, 'crash');
  assert.equal(await readDeath('running', '', undefined), undefined);
  assert.equal(await readDeath('paused', '', undefined), undefined);
});
