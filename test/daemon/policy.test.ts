/** The policy as a person uses it: check, load, explain, diff, observe, on trial; a bad one changes nothing. Simulated VMs. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type { AuditView, DeviceView, ExplainView, PolicyDiffView, PolicyView, TrialView } from '../../src/api/views.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import type { UsherEvent } from '../../src/model/event.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

const TABLETS = `rules:
  - name: tablets
    match: { id: "0627:*" }
    attach: work
expect:
  - device: { id: 0627:0001 }
    to: work
`;
const NOTHING = 'rules:\n  - name: none\n    match: everything\n    deny: not here\n';

let stage: Stage;
let world: WorldProcess;
let env: NodeJS.ProcessEnv;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  env = { USHER_SIMULATOR_WORLD: world.socket };
  await stage.startDaemon(env);
  for (const name of ['work', 'play']) {
    const file = join(stage.home, `${name}.cfg`);
    await writeFile(file, `name = ${name}\ndriver = simulator\nmemory = 64\n`);
    await stage.usher('vm', 'create', file);
    await stage.usher('vm', 'start', name);
  }
  await stage.usher('usb', 'plug', '--at', 'virtual:1-1', '--kind', 'tablet', '--serial', 'T1');
});
beforeEach(async () => {
  await policy('rules: []\n');
  await stage.usher('policy', 'load');
  await deviceIs('left');
});
after(async () => {
  await stage.strike();
  await world.stop();
});

test('a rule attaches what it matches, and says so with its line; without it the device goes back', async () => {
  await policy(TABLETS);
  assert.match(await stage.usher('policy', 'load'), /1 rules, 1 expectations, mode enforce/);
  await deviceIs('attached', 'work');
  const { why } = await device();
  assert.equal(why, 'rule 1 "tablets" (line 2)');
  const view = await stage.ask<ExplainView>('usb', 'explain', 'virtual:1-1');
  assert.match(
    view.because.join(' '),
    /Rule 1 "tablets" \(line 2\) says: work\. It matches by id 0627:\*.* \(.*, claimed\)/,
  );
  assert.deepEqual(
    view.rules.map(({ decides }) => decides),
    [true],
  );
  const rows = await stage.usher('audit', 'list', '--device', 'virtual:1-1', '--json');
  assert.match(rows, /"at": "policy.yaml:2",\s+"by": "rule",\s+"rule": "tablets"/);
});

test('a policy with errors is refused with every place, and what held holds on, over a restart too', async () => {
  await policy(TABLETS);
  await stage.usher('policy', 'load');
  await deviceIs('attached', 'work');
  await policy('rules:\n  - macth: everything\n    deny: true\n  - match: everything\n    attach: 5 5\n');
  const refused = await stage.try('policy', 'load');
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /policy\.yaml:2:5: [\s\S]*policy\.yaml:5:\d+: /);
  await deviceIs('attached', 'work');
  await stage.endDaemon('SIGKILL');
  await stage.startDaemon(env);
  await deviceIs('attached', 'work');
  const shown = await stage.ask<PolicyView>('policy', 'show');
  assert.match(shown.problem ?? '', /policy\.yaml:2:5/);
  assert.match(shown.text, /tablets/);
});

test('what is no file, or endless, is refused at once, and holds up neither the daemon nor its start', async () => {
  await policy(TABLETS);
  await stage.usher('policy', 'load');
  const file = join(stage.home, 'policy.yaml');
  await rm(file);
  execFileSync('mkfifo', [file]);
  const refused = await stage.try('policy', 'load');
  assert.match(refused.stderr, /policy\.yaml cannot be read: it is not a regular file/);
  await stage.endDaemon('SIGKILL');
  await stage.startDaemon(env);
  await deviceIs('attached', 'work');
  await rm(file);
  await writeFile(file, '');
  await truncate(file, 3 * 1024 ** 3);
  assert.match((await stage.try('policy', 'load')).stderr, /policy\.yaml cannot be read: it is longer than/);
  await rm(file);
});

test('the trail has which policy held before and after: of a load, of a file changed while no daemon ran, of a trial undone', async () => {
  const policyRows = async () =>
    (await stage.ask<AuditView[]>('audit', 'list')).filter(({ action }) => /^(policy\.load|trial\.undo)$/.test(action));
  const seen = (await policyRows()).at(-1)?.row ?? 0;
  await policy(TABLETS);
  await stage.usher('policy', 'load');
  await stage.endDaemon('SIGTERM');
  await policy(NOTHING);
  await stage.startDaemon(env);
  await policy('rules: []\n');
  await stage.usher('policy', 'load', '--confirm', '1s');
  await pollUntil({ what: 'The end of the trial', timeoutMs: 15_000, everyMs: 100 }, async () =>
    (await stage.ask<TrialView[]>('trials')).length === 0 ? true : undefined,
  );
  const rows = (await policyRows()).filter(({ row }) => row > seen);
  const ends = rows
    .filter(({ kind }) => kind === 'outcome')
    .map((end) => {
      const intent = rows.find(({ row }) => row === end.intent);
      return {
        action: end.action,
        by: intent?.because?.by,
        before: intent?.before?.['sha256'],
        after: end.after?.['sha256'],
      };
    });
  const [empty, tablets, nothing] = ['rules: []\n', TABLETS, NOTHING].map((text) =>
    createHash('sha256').update(text).digest('hex'),
  );
  assert.deepEqual(ends, [
    { action: 'policy.load', by: undefined, before: empty, after: tablets },
    { action: 'policy.load', by: 'start', before: tablets, after: nothing },
    { action: 'policy.load', by: undefined, before: nothing, after: empty },
    { action: 'trial.undo', by: 'trial', before: undefined, after: nothing },
  ]);
});

test('an expectation that does not hold is an error with its line; check and test need no daemon', async () => {
  const file = join(stage.home, 'other.yaml');
  await writeFile(file, TABLETS.replace('to: work', 'to: play'));
  const refused = await stage.try('policy', 'check', file);
  assert.equal(refused.status, 2);
  assert.match(refused.stdout, /other\.yaml:6:\d+: .*work.*rule 1 "tablets" \(line 2\)/);
  await writeFile(file, TABLETS);
  await stage.endDaemon('SIGTERM');
  assert.match(await stage.usher('policy', 'test', file), /^1 expectations hold; 1 rules/);
  await stage.startDaemon(env);
});

test('what another policy would change is told before it is loaded', async () => {
  await policy(TABLETS);
  await stage.usher('policy', 'load');
  await deviceIs('attached', 'work');
  const file = join(stage.home, 'other.yaml');
  await writeFile(file, NOTHING);
  const { changes } = await stage.ask<PolicyDiffView>('policy', 'diff', file);
  assert.deepEqual(
    changes.map(({ device: key, before: was, after: is, isEffective }) => [key, was.action, is.action, isEffective]),
    [['virtual:1-1', 'work', 'deny', true]],
  );
  await deviceIs('attached', 'work');
  await policy(NOTHING);
  assert.match(await stage.usher('policy', 'load', '--dry-run'), /virtual:1-1 would be left with its backend/);
  await deviceIs('attached', 'work');
});

test('a policy that observes moves nothing, and tells what it would, apart from what no rule matches', async () => {
  await stage.usher('usb', 'plug', '--at', 'virtual:1-9', '--kind', 'serial', '--serial', 'X');
  await policy(`mode: observe\n${TABLETS}`);
  await stage.usher('policy', 'load');
  const observed = await pollUntil({ what: 'The event', timeoutMs: 5000, everyMs: 20 }, async () => {
    const events = (await stage.usher('events', '--since', '0', '--once', '--json')).trim().split('\n');
    const found = events.map((line) => JSON.parse(line) as UsherEvent).filter(({ kind }) => kind === 'usb.observed');
    return found.length > 0 ? found : undefined;
  });
  assert.deepEqual(
    observed.map(({ body }) => body),
    [{ device: 'virtual:1-1', rule: 'rule 1 "tablets" (line 3)', says: 'work' }],
  );
  assert.equal((await device()).state, 'left');
  await stage.usher('usb', 'unplug', 'virtual:1-9');
});

test('on trial the former policy comes back by itself; confirmed, the new one stays', async () => {
  await policy(TABLETS);
  assert.match(await stage.usher('policy', 'load', '--confirm', '1s'), /on trial \(\d+\) until/);
  await deviceIs('attached', 'work');
  await deviceIs('left');
  assert.deepEqual(await stage.ask<TrialView[]>('trials'), []);
  await stage.endDaemon('SIGTERM');
  await stage.startDaemon(env);
  assert.match((await stage.ask<PolicyView>('policy', 'show')).problem ?? '', /not confirmed/);
  assert.equal((await device()).state, 'left');
  await stage.usher('policy', 'load', '--confirm', '60s');
  await deviceIs('attached', 'work');
  await stage.usher('confirm');
  await stage.endDaemon('SIGKILL');
  await stage.startDaemon(env);
  await deviceIs('attached', 'work');
});

test('what comes back was not on trial itself, and what is loaded for good ends the trial', async () => {
  await policy(TABLETS);
  await stage.usher('policy', 'load', '--confirm', '1s');
  await policy(TABLETS.replaceAll('work', 'play'));
  await stage.usher('policy', 'load', '--confirm', '2s');
  await deviceIs('attached', 'play');
  assert.equal((await stage.ask<TrialView[]>('trials')).length, 1);
  await deviceIs('left');
  assert.equal((await stage.ask<PolicyView>('policy', 'show')).rules, 0, 'neither of the two that were tried');
  await stage.usher('policy', 'load', '--confirm', '1s');
  await stage.usher('policy', 'load');
  assert.deepEqual(await stage.ask<TrialView[]>('trials'), []);
  await deviceIs('attached', 'play');
  await policy('rules: []\n');
  await stage.usher('policy', 'load');
  await stage.usher('usb', 'attach', 'work', 'virtual:1-1', '--confirm', '60s');
  await stage.usher('usb', 'attach', 'play', 'virtual:1-1', '--confirm', '1s');
  await deviceIs('left');
  assert.deepEqual(await stage.ask<TrialView[]>('trials'), []);
});

test('what is on trial when the daemon dies is undone by the next one', async () => {
  await policy(TABLETS);
  await stage.usher('policy', 'load', '--confirm', '60s');
  await deviceIs('attached', 'work');
  await stage.endDaemon('SIGKILL');
  await stage.startDaemon(env);
  await deviceIs('left');
  const byHand = await stage.usher('usb', 'attach', 'play', 'virtual:1-1', '--confirm', '1s');
  assert.match(byHand, /attached play .*\non trial/);
  await deviceIs('left');
  await stage.usher('usb', 'assign', 'play', 'virtual:1-1', '--auto', '--confirm', '1s');
  await deviceIs('attached', 'play');
  await deviceIs('left');
});

test('a file "observe" beside the settings has the daemon move nothing by itself', async () => {
  await policy(TABLETS);
  await stage.usher('policy', 'load');
  await deviceIs('attached', 'work');
  await stage.usher('usb', 'unplug', 'virtual:1-1');
  const file = join(stage.home, 'observe');
  await writeFile(file, '');
  await stage.endDaemon('SIGTERM');
  await stage.startDaemon(env);
  await stage.usher('usb', 'plug', '--at', 'virtual:1-1', '--kind', 'tablet', '--serial', 'T1');
  assert.equal((await device()).state, 'left');
  assert.match((await stage.ask<PolicyView>('policy', 'show')).observing ?? '', /the file .*observe is there/);
  await stage.usher('usb', 'attach', 'play', 'virtual:1-1');
  await stage.usher('usb', 'release', 'virtual:1-1');
  await rm(file);
  await stage.endDaemon('SIGTERM');
  await stage.startDaemon(env);
  await deviceIs('attached', 'work');
});

function policy(text: string): Promise<void> {
  return writeFile(join(stage.home, 'policy.yaml'), text);
}

async function device(): Promise<DeviceView> {
  const found = (await stage.ask<DeviceView[]>('usb', 'list')).find((row) => row.device === 'virtual:1-1');
  assert.ok(found);
  return found;
}

async function deviceIs(state: string, vm?: string): Promise<void> {
  const what = `virtual:1-1 being ${state} ${vm ?? ''}`;
  await pollUntil({ what, timeoutMs: 10_000, everyMs: 20 }, async () => {
    const now = await device();
    return now.state === state && now.vm === vm ? true : undefined;
  });
}
