/** What a person gets who asks for what cannot be: a clear sentence, the exit status of the table, nothing half done. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client } from '../../src/api/client.ts';
import type { AuditView, VmView } from '../../src/api/views.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { type CommandResult, Stage } from '../support/stage.ts';

let stage: Stage;
let world: WorldProcess;
let env: NodeJS.ProcessEnv;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock'), bootMs: 0, shutdownMs: 0 });
  env = { USHER_SIMULATOR_WORLD: world.socket };
  await stage.startDaemon(env);
  await makeVm('work');
  await makeVm('idle');
  await stage.usher('vm', 'start', 'work');
  for (const port of [1, 2, 3, 4, 5, 6, 7, 8]) {
    await stage.usher('usb', 'plug', '--at', `virtual:1-${port}`, '--kind', 'tablet');
    await stage.usher('usb', 'attach', 'work', `virtual:1-${port}`);
  }
  await stage.usher('usb', 'plug', '--at', 'virtual:2-1', '--kind', 'tablet');
});
after(async () => {
  await stage.strike();
  await world.stop();
});

const CASES: readonly (readonly [words: string, status: number, says: RegExp])[] = [
  ['vm start nobody', 4, /There is no VM named "nobody"/],
  ['vm show nobody', 4, /There is no VM named "nobody"/],
  ['vm pause idle', 5, /"pause" cannot be performed: VM idle is halted, expected running/],
  ['vm start work', 5, /"start" cannot be performed: VM work is running/],
  [
    'vm remove work',
    5,
    /"remove" cannot be performed: VM work is running, expected halted[\s\S]*usher vm shutdown work/,
  ],
  ['vm restore idle', 2, /needs a save file/],
  ['vm restore idle --file /nowhere.save', 2, /\/nowhere\.save/],
  ['vm console idle', 5, /VM idle does not run[\s\S]*usher vm log idle/],
  ['vm create /nowhere.cfg', 2, /\/nowhere\.cfg cannot be read/],
  ['vm create /', 2, /cannot be read/],
  ['vm suspend work --file /proc/none/x', 1, /\/proc\/none\/x/],
  ['vm frobnicate work', 2, /unknown command/],
  ['vm start', 2, /missing required argument/],
  ['vm shutdown work --timeout soon', 2, /--timeout expects a whole number, not "soon"/],
  ['usb attach nobody virtual:2-1', 4, /There is no VM named "nobody"/],
  ['usb attach work virtual:9-9', 4, /There is no device "virtual:9-9"/],
  ['usb attach work nonsense', 2, /"nonsense" is not a device/],
  ['usb attach idle virtual:2-1', 5, /VM idle is halted[\s\S]*usher vm start idle/],
  ['usb attach work virtual:2-1', 5, /VM work has no free USB port for virtual:2-1/],
  ['usb attach work virtual:2-1 --port 0-3', 5, /Port 0-3 of VM work is taken by virtual:1-3/],
  ['usb attach work virtual:2-1 --port 0-99', 4, /VM work has no port 0-99/],
  ['usb attach work virtual:2-1 --port x', 2, /"port"/],
  ['usb detach virtual:9-9', 4, /There is no device/],
  ['usb release virtual:2-1', 4, /is not held/],
  ['usb unplug virtual:9-9', 4, /There is no device/],
  ['usb plug --at virtual:2-1 --kind tablet', 5, /already plugged at virtual:2-1/],
  ['usb plug --at dom0:1-1 --kind tablet', 2, /software devices are plugged into the backend "virtual"/],
  ['usb plug --at virtual:3-1 --kind storage', 2, /needs a file/],
  ['usb plug --at virtual:3-1 --kind storage --file /nowhere', 2, /\/nowhere/],
  ['usb plug --at virtual:3-1 --kind teapot', 2, /Allowed choices are/],
  ['usb assign work x', 2, /"x" is not a device/],
  ['usb assign work virtual:1-1 --mode perhaps', 2, /Allowed choices are manual, auto, ask, required/],
  ['usb assign work virtual:1-1 --auto --mode ask', 2, /give one of the modes auto and ask/],
  ['usb assign work virtual:1-1 --ask --required', 2, /give one of the modes ask and required/],
  ['audit verify --head 90c6', 2, /--head expects the 64 hex digits of a head, not "90c6"/],
  ['usb unassign 99', 4, /There is no assignment 99/],
  ['usb unassign one', 2, /expects a whole number/],
  ['usb explain virtual:9-9', 4, /There is no device/],
  ['audit list --since yesterday', 2, /expects a time such as/],
  ['audit verify --anchors /nowhere', 2, /\/nowhere cannot be read/],
  ['audit verify --anchors /dev/null', 2, /There is no anchor of an audit trail in \/dev\/null/],
  ['usb trace virtual:9-8', 4, /There is no device/],
  ['completion tcsh', 2, /not one of/],
];

for (const [line, status, says] of CASES) {
  test(`usher ${line}`, async () => {
    const before = await worldOfCommands();
    const result = await stage.try(...line.split(' '));
    assertFails(result, status, says);
    assert.deepEqual(await worldOfCommands(), before, 'something was changed');
  });
}

test('a config file with many faults tells all of them with their places, and makes no VM', async () => {
  const file = join(stage.home, 'bad.cfg');
  await writeFile(file, 'name = bad\nmemory = lots\nvcpus = 0\non_crash = explode\nmemroy = 5\nno equals sign\n');
  const { status, stderr } = await stage.try('vm', 'create', file);
  assert.equal(status, 2, stderr);
  for (const place of ['bad.cfg:2:', 'bad.cfg:3:', 'bad.cfg:4:']) assert.ok(stderr.includes(place), stderr);
  assert.equal((await stage.try('vm', 'show', 'bad')).status, 4);
});

test('a config file that was lost or broken later is replaced by its last good content, with a warning', async () => {
  const file = await makeVm('frail');
  await writeFile(file, 'memory = lots\n');
  const { status, stderr } = await stage.try('vm', 'start', 'frail');
  assert.equal(status, 0, stderr);
  assert.match((await stage.ask<{ warnings: string[] }>('vm', 'show', 'frail')).warnings.join(), /frail\.cfg/);
  await stage.usher('vm', 'destroy', 'frail');
  await rm(file);
  await stage.usher('vm', 'start', 'frail');
  await stage.usher('vm', 'destroy', 'frail');
});

test('a name that is taken, reserved or dangerous is refused', async () => {
  for (const [name, status] of [
    ['work', 5],
    ['dom0', 2],
    ['virtual', 2],
    ['../../etc', 2],
    ['-rf', 2],
    ['a b', 2],
  ] as const) {
    const file = join(stage.home, 'named.cfg');
    await writeFile(file, `name = ${name}\ndriver = simulator\nmemory = 64\n`);
    assert.equal((await stage.try('vm', 'create', file)).status, status, name);
  }
});

test('JSON: the answer and the error are one JSON each', async () => {
  assert.ok(Array.isArray(await stage.ask<VmView[]>('vm', 'list')));
  const { stderr, status } = await stage.try('vm', 'show', 'nobody', '--json');
  assert.equal(status, 4);
  assert.equal(JSON.parse(stderr).error.code, 'vm.not_found');
});

test('what a device says of itself harms no terminal', async () => {
  const serial = `\u001b[2J\u202e$(reboot)\n</script>${'A'.repeat(60)}`;
  await stage.usher('usb', 'plug', '--at', 'virtual:4-1', '--kind', 'keyboard', '--serial', serial);
  for (const words of [
    ['usb', 'list'],
    ['usb', 'explain', 'virtual:4-1'],
    ['audit', 'list'],
    ['events', '--once'],
  ]) {
    for (const json of [[], ['--json']]) {
      const out = await stage.usher(...words, ...json);
      assert.doesNotMatch(out, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/, words.join(' '));
      assert.ok(json.length > 0 || !out.includes('reboot)\n'), 'a line was broken');
    }
  }
  await stage.usher('usb', 'unplug', 'virtual:4-1');
});

test('an attempt that failed is in the audit trail, with its outcome', async () => {
  await stage.try('vm', 'pause', 'idle');
  const rows = await stage.ask<AuditView[]>('audit', 'list', '--vm', 'idle');
  const last = rows.at(-1);
  assert.equal(last?.outcome, 'failed');
  assert.equal(rows.find((row) => row.row === last?.intent)?.action, 'vm.pause');
  assert.equal(last?.actor.uid, process.getuid?.());
});

describe('daemons and sockets', () => {
  test('a second daemon on the same home is refused, and the first goes on', async () => {
    const second = await stage
      .at(stage.home)
      .startDaemon(env)
      .catch((error: Error) => error.message);
    assert.match(String(second), /Another daemon \(process \d+\) already serves/);
    assert.equal((await stage.try('vm', 'list')).status, 0);
  });

  test('without a daemon: status 3, and what to do', async () => {
    const home = join(stage.home, 'empty');
    await mkdir(home);
    const lonely = stage.at(home);
    assertFails(await lonely.try('vm', 'list'), 3, /No daemon answers on[\s\S]*usherd/);
    const doctor = await lonely.try('doctor');
    assert.equal(doctor.status, 1);
    assert.match(doctor.stdout, /ERROR +daemon: No daemon answers/);
    await writeFile(join(lonely.home, 'usherd.yaml'), 'defaultDriver: vax\n');
    assert.match((await lonely.try('doctor')).stdout, /ERROR +settings: .*usherd\.yaml/);
    await writeFile(join(lonely.home, 'usherd.yaml'), 'defaultDriver: xen\n');
    assert.match(
      (await lonely.try('doctor')).stdout,
      /ERROR +Xen: this machine does not run on Xen\n +-> Boot the host by/,
    );
  });

  test('a home whose path is too long for a socket is refused with a sentence', async () => {
    const long = stage.at(`/tmp/${'x'.repeat(120)}`);
    assertFails(await long.try('vm', 'list'), 2, /the kernel allows 107/);
  });

  test('stale sockets of a daemon that was killed are no obstacle; a symlink in their place is not followed', async () => {
    await stage.endDaemon('SIGKILL');
    const victim = join(stage.home, 'victim');
    await writeFile(victim, 'precious');
    await rm(join(stage.home, 'run/usher.sock'), { force: true });
    await symlink(victim, join(stage.home, 'run/usher.sock'));
    await stage.startDaemon(env).catch(() => undefined);
    assert.equal(await readFile(victim, 'utf8'), 'precious');
    if ((await stage.try('vm', 'list')).status !== 0) {
      await stage.endDaemon('SIGKILL');
      await rm(join(stage.home, 'run/usher.sock'), { force: true });
      await stage.startDaemon(env);
    }
    assert.equal((await stage.ask<VmView[]>('vm', 'list')).find((vm) => vm.name === 'work')?.state, 'running');
  });

  test('an old command and a new daemon get a sentence, not a crash', async () => {
    const client = await Client.connect(join(stage.home, 'run/usher.sock'), 'test');
    await assert.rejects(client.call('hello', { client: 'usher 0.0.1', protocol: 0 }), /the client is older/);
    client.close();
  });

  test('a daemon that answers nonsense does not crash the command', async () => {
    const path = join(stage.home, 'fake/run');
    await mkdir(path, { recursive: true });
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    }).listen(join(path, 'usher.sock'));
    const fooled = stage.at(join(stage.home, 'fake'));
    assertFails(await fooled.try('vm', 'list'), 1, /does not speak JSON-RPC/);
    server.close();
  });
});

async function makeVm(name: string): Promise<string> {
  const file = join(stage.home, `${name}.cfg`);
  await writeFile(file, `name = ${name}\ndriver = simulator\nmemory = 64\n`);
  await stage.usher('vm', 'create', file);
  return file;
}

/** All that a command could have changed. */
async function worldOfCommands(): Promise<unknown> {
  const client = await Client.connect(join(stage.home, 'run/usher.sock'), 'test');
  try {
    const devices = await client.call('usb.list', {});
    return {
      vms: await client.call('vm.list', {}),
      devices: devices.map(({ device, state, vm, slot }) => ({ device, state, vm, slot })),
      assignments: await client.call('usb.assignments', {}),
      holds: await client.call('usb.holds', {}),
    };
  } finally {
    client.close();
  }
}

function assertFails(result: CommandResult, status: number, says: RegExp): void {
  assert.match(result.stderr, says);
  assert.equal(result.status, status, result.stderr);
  assert.doesNotMatch(result.stderr, /\n {4}at /, 'a stack is not for people');
}
