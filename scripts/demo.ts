/**
 * `npm run demo`: boots two real guests, routes USB devices, breaks things, shows them heal. Prints what it does and what
 * the guests' own consoles said, and fails if they said something else. `-- --keep` leaves everything running.
 */
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { styleText } from 'node:util';
import { makeStick } from '../lab/stick.ts';
import type { AuditVerification, DeviceView, ExplainView } from '../src/api/views.ts';
import { messageOf } from '../src/lib/fault.ts';
import { Stage, type StageVm } from '../test/support/stage.ts';

const SOON = { timeoutMs: 60_000 };
const isKept = process.argv.includes('--keep');
let passed = 0;
let failed = 0;

const stage = await Stage.set();
const stick = join(stage.home, 'stick.img');
const content = randomBytes(1024 * 1024);
const checksum = createHash('sha256').update(content).digest('hex');
try {
  await play();
} catch (error) {
  failed++;
  console.log(styleText('red', `  FAILED ${messageOf(error)}`));
  console.log(stage.log.split('\n').slice(-15).join('\n'));
}
if (isKept) {
  stage.leave();
  const bin = join(import.meta.dirname, '../bin');
  console.log(`\nIt goes on. Talk to it:\n  export USHER_HOME=${stage.home} PATH=${bin}:$PATH`);
  console.log('  usher usb list\n  usher vm console work      # leave with Ctrl-]\nClear it away:');
  console.log(`  usher vm destroy work; usher vm destroy play; kill ${stage.daemonPid}; rm -r ${stage.home}`);
} else {
  await stage.strike();
}
console.log(`\ndemo: ${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

async function play(): Promise<void> {
  await makeStick(stick, { files: { 'STICK.BIN': content } });

  scene('Two VMs start');
  await stage.startDaemon();
  const work = await stage.makeVm('work', ['on_crash = restart']);
  const other = await stage.makeVm('play');
  await Promise.all([work, other].map(async (vm) => run('vm', 'start', vm.name)));
  await Promise.all([work.ready(), other.ready()]);
  console.log(await stage.usher('vm', 'list'));
  check('both guests have booted', true);

  scene('A stick is plugged and finds its VM');
  await run('usb', 'assign', 'work', '46f4:0001:S1:*', '--auto');
  const plugged = work.console.position;
  await run('usb', 'plug', '--at', 'virtual:1-1', '--kind', 'storage', '--file', stick, '--serial', 'S1');
  await sameContent(work, plugged);

  scene('It is pulled');
  const pulled = work.console.position;
  await run('usb', 'unplug', 'virtual:1-1');
  await hear(work, /^USHER-GUEST usb- /, pulled);

  scene('Plugged into another port, it comes back by its identity');
  const replugged = work.console.position;
  await run('usb', 'plug', '--at', 'virtual:2-3', '--kind', 'storage', '--file', stick, '--serial', 'S1');
  await sameContent(work, replugged);

  scene('The daemon is killed while a device is being attached');
  const pids = await domainPids([work, other]);
  await run('usb', 'assign', 'play', 'virtual:3-*', '--auto');
  await stage.endDaemon('SIGKILL');
  await stage.startDaemon({ USHER_FAIL_POINT: 'attach.device-added' });
  const killed = other.console.position;
  console.log('  $ usher usb plug --at virtual:3-1 --kind keyboard --serial K1');
  const cut = await stage.try('usb', 'plug', '--at', 'virtual:3-1', '--kind', 'keyboard', '--serial', 'K1');
  console.log(`  | ${cut.stderr.trim()}`);
  await stage.daemonEnd();
  check('the daemon died by SIGKILL in the middle of it', cut.status !== 0);
  await stage.startDaemon();
  await run('usb', 'reconcile');
  check('the guests run on: the same processes', pids === (await domainPids([work, other])));
  await hear(other, /^USHER-GUEST usb\+ .*serial=K1/, killed);
  const since = await other.type('usb');
  await other.console.waitFor(/^USHER-GUEST usb-end/, { ...SOON, since });
  const times = other.console.lines.slice(since).filter(({ text }) => /usb= .*serial=K1/.test(text)).length;
  check(`the guest has the keyboard once (it counts ${times})`, times === 1);

  scene('Guest work panics and is started again, with its device');
  const panicked = work.console.position;
  await work.type('panic');
  await hear(work, /Kernel panic/, panicked);
  await work.ready(panicked);
  await sameContent(work, panicked);

  scene('A device that is detached by hand stays out');
  const detached = work.console.position;
  await run('usb', 'detach', 'virtual:2-3');
  await hear(work, /^USHER-GUEST usb- /, detached);
  await run('usb', 'reconcile');
  check('it is still out after everything was looked at again', (await device('virtual:2-3')).vm === undefined);
  const released = work.console.position;
  await run('usb', 'release', 'virtual:2-3');
  await sameContent(work, released);

  scene('Suspended to a file and restored, the guest goes on and its device is back');
  const before = await ticks(work);
  const suspended = work.console.position;
  await run('vm', 'suspend', 'work');
  await run('vm', 'restore', 'work');
  await sameContent(work, suspended);
  const after = await ticks(work);
  check(
    `the guest counted on from ${before} (it is at ${after}), it did not boot anew`,
    after > before && after < before + 600,
  );

  scene('Why is it there?');
  console.log(indent(await stage.usher('usb', 'explain', 'virtual:2-3')));
  const why = await stage.ask<ExplainView>('usb', 'explain', 'virtual:2-3');
  check('the assignment is named', /assignment 1\b/i.test(why.because.join(' ')));

  scene('Who did what?');
  console.log(indent((await stage.usher('audit', 'list')).split('\n').slice(-8).join('\n')));
  const audit = await stage.ask<AuditVerification>('audit', 'verify');
  check(`the audit trail is whole: ${audit.says}`, audit.isIntact);
}

function scene(title: string): void {
  console.log(styleText('bold', `\n${title}`));
}

function check(what: string, isTrue: boolean): void {
  if (!isTrue) throw new Error(what);
  passed++;
  console.log(styleText('green', `  ok     ${what}`));
}

async function run(...words: string[]): Promise<void> {
  console.log(`  $ usher ${words.join(' ')}`);
  console.log(indent(await stage.usher(...words)));
}

/** Waits for the guest's own words and shows them. */
async function hear(vm: StageVm, pattern: RegExp, since: number): Promise<string> {
  const line = await vm.console.waitFor(pattern, { ...SOON, since });
  check(`guest ${vm.name} says: ${line.text.slice(0, 140)}`, true);
  return line.text;
}

/** Waits until the guest has read the stick's file and compares its checksum with ours. */
async function sameContent(vm: StageVm, since: number): Promise<void> {
  const said = await hear(vm, /^USHER-GUEST file .* STICK\.BIN sha256=/, since);
  check('which is the checksum that was computed on the host', said.includes(`sha256=${checksum}`));
}

async function ticks(vm: StageVm): Promise<number> {
  const line = await vm.console.waitFor(/^USHER-GUEST ticks /, { ...SOON, since: await vm.type('ticks') });
  return Number(line.text.split(' ')[2]);
}

async function domainPids(vms: readonly StageVm[]): Promise<string> {
  return (await Promise.all(vms.map(async (vm) => (await vm.details()).handle))).join(' ');
}

async function device(key: string): Promise<DeviceView> {
  const found = (await stage.ask<DeviceView[]>('usb', 'list')).find((row) => row.device === key);
  if (found === undefined) throw new Error(`${key} is not listed`);
  return found;
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '  | ');
}
