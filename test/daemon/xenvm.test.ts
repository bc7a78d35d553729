/** xenvm and xenvm-cmd as they are typed, on a simulated host: a VM and its monitor without the daemon, and beside it. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import type { Output } from '../../src/cli/command.ts';
import { runXenvm } from '../../src/cli/xenvm/program.ts';
import { runXenvmCmd } from '../../src/cli/xenvm-cmd/program.ts';
import { monitorSocketsOf, placesOf } from '../../src/config/places.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { newUuid, parseUuid, type VmUuid } from '../../src/model/ids.ts';
import { frame } from '../support/frame-client.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { type CommandResult, type RunningCommand, Stage } from '../support/stage.ts';

let stage: Stage;
let world: WorldProcess;
let hand: WorldClient;
let env: NodeJS.ProcessEnv;
const running: RunningCommand[] = [];
let made = 0;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  hand = new WorldClient(world.socket);
  env = { USHER_SIMULATOR_WORLD: world.socket };
  Object.assign(stage.env, env);
});
afterEach(async () => {
  for (const command of running.splice(0)) await command.end('SIGKILL');
  for (const { uuid } of await hand.call('list', {})) await hand.call('guest', { uuid, action: 'kill' });
});
after(async () => {
  await hand.close();
  await stage.strike();
  await world.stop();
});

test('a VM without a uuid gets one, which is printed and stays over its whole life', async () => {
  const { uuid, file } = await xenvm([]);
  assert.equal(await told(uuid, 'status'), 'running');
  const first = await domidOf(uuid);
  assert.equal(await told(uuid, 'pause'), '');
  assert.equal(await told(uuid, 'get-status'), 'paused');
  assert.equal(await told(uuid, 'unpause'), '');
  await writeFile(file, 'driver = simulator\nmemory = 48\n');
  assert.equal(await told(uuid, 'reboot'), '');
  assert.equal((await describe(uuid)).memoryMiB, 48, 'the config is read again at a restart');
  assert.notEqual(await domidOf(uuid), first);
  const save = join(stage.home, 'a b.save');
  assert.match(await told(uuid, 'suspend', `file=${save}`, 'live=true'), /^stood still for \d+\.\d{3} s$/);
  assert.equal(await told(uuid, 'status'), 'suspended');
  assert.equal(await told(uuid, 'get-domid'), '-1');
  assert.equal(await told(uuid, 'restore', `file=${save}`, 'delete=false'), '');
  assert.ok(existsSync(save));
  assert.match(await told(uuid, 'checkpoint', save), /^stood still for /);
  assert.equal(await told(uuid, 'status'), 'running');
  assert.equal(await told(uuid, 'halt'), '');
  assert.equal(await told(uuid, 'status'), 'shutdown');
  const refused = await cmd(uuid, 'pause');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /^error: "pause" cannot be performed: VM \S+ is shutdown, expected running\./);
  assert.equal(await told(uuid, 'start', 'paused=true'), '');
  assert.equal(await told(uuid, 'status'), 'paused');
  assert.equal(await told(uuid, 'destroy'), '');
});

test('quit and signals end the monitor and leave the VM; another goes on with it only when it is told to', async () => {
  const { uuid, file, command } = await xenvm([]);
  assert.equal(await told(uuid, 'quit'), '');
  assert.equal(await command.end(), 0);
  assert.equal((await hand.call('find', { uuid }))?.run, 'running');
  const gone = await cmd(uuid, 'status');
  assert.deepEqual([gone.status, gone.stderr.startsWith('error: Nothing answers on ')], [1, true], gone.stderr);

  const second = await stage.run('xenvm', '--uuid', uuid, file);
  assert.equal(second.status, 2, second.stderr);
  assert.match(second.stderr, new RegExp(`error: A domain with the uuid ${uuid} is there already`));
  assert.equal((await hand.call('find', { uuid }))?.run, 'running');

  const adopted = await start(['--adopt', '--uuid', uuid, file]);
  assert.equal(await told(uuid, 'status'), 'running');
  assert.equal(await adopted.end('SIGINT'), 0);
  assert.equal((await hand.call('find', { uuid }))?.run, 'running');
});

test('one uuid has one monitor: a second xenvm is refused, and so are the daemon and its inventory', async () => {
  const uuid = newUuid();
  const { file } = await xenvm([`uuid = ${uuid}`, 'name = held']);
  const second = await stage.run('xenvm', file);
  assert.equal(second.status, 1);
  assert.match(second.stderr, /has a monitor of its own, process \d+/);

  await stage.startDaemon(env);
  const create = await stage.try('vm', 'create', file);
  assert.equal(create.status, 5, create.stderr);
  assert.match(create.stderr, /has a monitor of its own/);
  assert.equal(await stage.usher('vm', 'list'), 'There is no VM yet. Make one: usher vm create FILE');
  assert.equal(await told(uuid, 'status'), 'running');

  const mine = join(stage.home, 'mine.cfg');
  const other = newUuid();
  await writeFile(mine, `uuid = ${other}\nname = mine\ndriver = simulator\n`);
  await stage.usher('vm', 'create', mine);
  const refused = await stage.run('xenvm', mine);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /There is already a VM with the uuid .*\n.*usherd has it as mine/);
  assert.equal(await told(other, 'status'), 'shutdown', 'xenvm-cmd finds the monitors of the daemon, too');
  await stage.endDaemon('SIGTERM');
  const asleep = await stage.run('xenvm', mine);
  assert.equal(asleep.status, 1, 'the inventory has it, whether its daemon runs or not');
});

test('a line or a config that is wrong is refused with status 3, and touches nothing', async () => {
  const bad = join(stage.home, 'bad.cfg');
  await writeFile(bad, 'memory = much\ncolour = red\n');
  const odd = join(stage.home, 'odd.cfg');
  await writeFile(odd, `uuid = ${newUuid()}\ncolour = red\ndriver = simulator\n`);
  const cases: [string[], RegExp][] = [
    [[], /A config file is expected/],
    [['--fly'], /Unknown option '--fly'/],
    [['a', 'b'], /"b" is too much/],
    [['--uuid', 'x', bad], /is not a UUID/],
    [['--daemonize', '--no-daemonize', bad], /either/],
    [['--monitor-json', 'maybe', bad], /true or false/],
    [[join(stage.home, 'none.cfg')], /cannot be read/],
    [[bad], /bad\.cfg:1:10: /],
    [['--strict-config', odd], /odd\.cfg:2:1: There is no key "colour"/],
    [['--uuid', newUuid(), odd], /--uuid says .*, and .*odd\.cfg says/],
  ];
  for (const [words, says] of cases) {
    const means = { places: placesOf(stage.env), signal: new AbortController().signal, onHup() {} };
    const result = await inProcess((out) => runXenvm(words, { out, ...means }));
    assert.equal(result.status, 3, `${words.join(' ')}: ${result.stderr}`);
    assert.match(result.stderr, says);
  }
  assert.deepEqual(await hand.call('list', {}), []);
  const help = await stage.run('xenvm', '--help-config');
  assert.match(help.stdout, /^on_reboot, on_restart = /m);
});

test('SIGHUP reads the config again for the next start; a broken one changes nothing', async () => {
  const { uuid, file, command } = await xenvm(['memory = 64']);
  await told(uuid, 'set', 'field=memory', 'value=96');
  assert.equal(await told(uuid, 'get', 'memory'), '96');
  await writeFile(file, 'driver = simulator\nmemory = broken\n');
  command.signal('SIGHUP');
  await command.says(/could not be read again/);
  assert.equal(await told(uuid, 'get', 'memory').then((said) => said.split('\n').at(-1)), '96');
  await writeFile(file, 'driver = simulator\nmemory = 80\n');
  command.signal('SIGHUP');
  await command.says(/the config was read again/);
  assert.equal(await told(uuid, 'get', 'memory'), '80');
  assert.equal((await describe(uuid)).memoryMiB, 64, 'the domain is as it was');
  await told(uuid, 'restart', 'forced=true');
  assert.equal((await describe(uuid)).memoryMiB, 80);
});

test('in the background it says its uuid when the VM is up, and what is wrong when it is not', async () => {
  const file = await config(['memory = 64']);
  const behind = await stage.run('xenvm', '--daemonize', file);
  assert.equal(behind.status, 0, behind.stderr);
  const uuid = parseUuid(behind.stdout.trim());
  assert.equal(await told(uuid, 'status'), 'running');
  const held = await stage.run('xenvm', '--daemonize', '--uuid', uuid, file);
  assert.deepEqual([held.status, /has a monitor of its own/.test(held.stderr)], [1, true], held.stderr);
  assert.match(await readFile(join(stage.home, 'xenvm', uuid, 'logs/xenvm.log'), 'utf8'), /"ready"/);
  assert.equal(await told(uuid, 'quit'), '');
  const missing = await config(['kernel = /nowhere']);
  const failed = await stage.run('xenvm', '--daemonize', missing);
  assert.deepEqual([failed.status, /could not be started/.test(failed.stderr)], [1, true], failed.stderr);
});

test('startup says what is done at the start; deaths go by the config', async () => {
  const stays = await xenvm(['startup = shutdown']);
  assert.equal(await told(stays.uuid, 'status'), 'shutdown');
  const paused = await xenvm(['startup = paused', 'on_crash = preserve', 'on_reboot = reboot']);
  assert.equal(await told(paused.uuid, 'status'), 'paused');
  await told(paused.uuid, 'unpause');
  const before = await domidOf(paused.uuid);
  await hand.call('guest', { uuid: paused.uuid, action: 'reboot' });
  await pollUntil({ what: 'the reboot', timeoutMs: 10_000, everyMs: 50 }, async () => {
    const now = await domidOf(paused.uuid);
    return now !== before && now !== '-1' ? true : undefined;
  });
});

test('who subscribes hears what becomes of the VM', async () => {
  const { uuid, command } = await xenvm([]);
  const listener = stage.begin('xenvm-cmd', [uuid, 'subscribe']);
  running.push(listener);
  await listener.says(/:0:ping\n/);
  await told(uuid, 'pause');
  await listener.says(new RegExp(`^${uuid}:61440:vm:state:paused$`, 'm'));
  await told(uuid, 'unpause');
  await hand.call('guest', { uuid, action: 'panic' });
  await listener.says(new RegExp(`^${uuid}:2:error:crashed$`, 'm'));
  assert.equal(await command.end('SIGTERM'), 0);
  await listener.says(new RegExp(`^${uuid}:1:hup$`, 'm'));
  assert.equal(await listener.end(), 0);
});

test('a listener that the config names hears what becomes of the VM, unasked, and VM and monitor do without it', async () => {
  const path = join(stage.home, 'listener.sock');
  const { uuid } = await xenvm([`notify = unix,${path}`]);
  assert.equal(await told(uuid, 'pause'), '');
  let heard = '';
  const listen = async () => {
    const server = createServer((socket) => {
      socket.setEncoding('utf8').on('data', (text: string) => {
        heard += text;
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return server;
  };
  const until = (text: string) =>
    pollUntil({ what: `"${text}" after ${JSON.stringify(heard)}`, timeoutMs: 30_000, everyMs: 20 }, () =>
      heard.endsWith(text) ? true : undefined,
    );
  const server = await listen();
  try {
    // What was told before anybody listened comes first.
    await until(`${uuid}:61440:vm:state:paused\n`);
    assert.match(heard, new RegExp(`^${uuid}:0:ping\n(${uuid}:61440:vm:state:[a-z-]+\n)*$`));
    assert.equal(await told(uuid, 'unpause'), '');
    await until(`${uuid}:61440:vm:state:running\n`);
    assert.equal(await told(uuid, 'quit'), '');
    await until(`${uuid}:1:hup\n`);
  } finally {
    server.close();
  }
});

test('the save of another VM is left alone, whichever monitor has that VM', async () => {
  const [one, other] = [await xenvm([]), await xenvm([])];
  const save = join(stage.home, 'whose.save');
  await told(one.uuid, 'suspend', save);
  const before = await readFile(save);
  for (const command of ['suspend', 'checkpoint']) {
    const { status, stderr } = await cmd(other.uuid, command, save);
    assert.equal(status, 1);
    assert.match(stderr, new RegExp(`there is the save of another VM .*${one.uuid}.*It goes on running`));
  }
  assert.deepEqual(await readFile(save), before);
  assert.equal(await told(other.uuid, 'status'), 'running');
  assert.equal(await told(one.uuid, 'restore'), '');
  assert.equal(await told(one.uuid, 'status'), 'running');
});

test('a line end in a word of xenvm-cmd does not begin another command', async () => {
  const { uuid } = await xenvm([]);
  for (const word of ['x\ndestroy\n', 'file=/x\ndestroy\n']) {
    const { status, stderr } = await cmd(uuid, 'suspend', word);
    assert.deepEqual([status, stderr], [2, 'error: A word of a command has no line end, as "suspend" has here.\n']);
  }
  assert.equal(await told(uuid, 'status'), 'running');
});

test('media, memory, triggers and the next config', async () => {
  const [iso, other] = [join(stage.home, 'a.iso'), join(stage.home, 'b.iso')];
  await writeFile(iso, 'a');
  await writeFile(other, 'b');
  const { uuid } = await xenvm(['memory = 64', `disk = ${iso}:file:hdc:r:cdrom`]);
  const media = async () => (await describe(uuid)).disks?.map(({ path }) => path);
  assert.equal(await told(uuid, 'cd-insert', 'virtpath=hdc', `physpath=${other}`), '');
  assert.deepEqual(await media(), [other]);
  assert.equal(await told(uuid, 'cd-eject', 'virtpath=hdc'), '');
  assert.deepEqual(await media(), []);
  assert.equal(await told(uuid, 'set-mem-target', 'mb=32'), '');
  assert.equal((await describe(uuid)).memoryMiB, 32);
  assert.equal(await told(uuid, 'get-vnc'), '');
  assert.equal(await told(uuid, 'get-stubdomid'), '-1');
  const refusals: [string[], RegExp][] = [
    [['cd-eject', 'hdd'], /has no CD drive "hdd"/],
    [['cd-insert', 'virtpath=hdc', 'physpath=/nowhere'], /no such file/],
    [['set-mem-target', '65'], /it was started with 64 MiB/],
    [['trigger', 'sleep'], /never sleeps/],
    [['trigger', 'dance'], /expected/i],
    [['set', 'field=memory', 'value=much'], /memory/],
    [['get', 'colour'], /no key "colour"/],
    [['fly'], /no command "fly"/],
  ];
  for (const [words, says] of refusals) {
    const { status, stderr } = await cmd(uuid, ...words);
    assert.deepEqual([status, says.test(stderr)], [1, true], `${words.join(' ')}: ${stderr}`);
  }
  assert.match(
    await told(uuid, 'disk-list'),
    /^physpath: .*a\.iso, type: file, virtpath: hdc, mode: r, devtype: cdrom$/,
  );
  await told(uuid, 'disk-add', `physpath=${other}`, 'virtpath=hda', 'mode=r');
  assert.equal((await told(uuid, 'disk-list')).split('\n').length, 2);
  await told(uuid, 'read-config');
  assert.equal((await told(uuid, 'disk-list')).split('\n').length, 1);
  await told(uuid, 'trigger', 'power');
  await pollUntil({ what: 'the end', timeoutMs: 10_000, everyMs: 50 }, async () =>
    (await told(uuid, 'status')) === 'shutdown' ? true : undefined,
  );
});

test('a client that speaks framed JSON-RPC drives a VM through its life', async () => {
  const { uuid } = await xenvm(['startup = shutdown', 'memory = 64']);
  const path = join(stage.home, 'run/vm', `${uuid}.sock`);
  const state = async () => (await frame(path, 'get-status')).result;
  const done = async (method: string, params: Record<string, string> = {}) =>
    assert.deepEqual(await frame(path, method, params), { jsonrpc: '2.0', result: null, id: 1 });
  const save = join(stage.home, 'framed.save');
  assert.equal(await state(), 'shutdown');
  await done('start', { paused: 'true' });
  assert.equal(await state(), 'paused');
  await done('unpause');
  assert.match(String((await frame(path, 'checkpoint', { file: save })).result), /^stood still for /);
  const suspended = await frame(path, 'suspend', { file: save, live: 'true' });
  assert.match(String(suspended.result), /^stood still for /);
  assert.equal(await state(), 'suspended');
  assert.match(JSON.stringify(await frame(path, 'pause')), /-32602.*VM \S+ is suspended, expected running/);
  await done('restore', { file: save });
  assert.equal(existsSync(save), false, 'the file is removed after a restore');
  await done('reboot', { 'auto-start': 'true' });
  await done('set', { field: 'memory', value: '32' });
  await done('halt');
  await done('start');
  assert.equal((await describe(uuid)).memoryMiB, 32);
  await done('destroy');
  assert.equal(await state(), 'shutdown');
  await done('quit');
});

test('a line of xenvm-cmd that is wrong, and a monitor that does not answer in time', async () => {
  const means = { socketsOf: () => [join(stage.home, 'nowhere')], signal: new AbortController().signal };
  for (const words of [[], ['x'], ['x', 'status'], ['--fly'], ['--reply-timeout', '-1', newUuid(), 'status']]) {
    const { status, stderr } = await inProcess((out) => runXenvmCmd(words, { out, ...means }));
    assert.deepEqual([status, stderr.startsWith('error: ')], [2, true], stderr);
  }
  const { uuid } = await xenvm([]);
  await hand.call('disturb', { method: 'pause', trouble: { do: 'hang' } });
  const late = await stage.run('xenvm-cmd', '--use-socket', '--reply-timeout', '0.2', uuid, 'pause');
  assert.deepEqual([late.status, late.stderr], [1, 'timeout\n']);
  await hand.call('calm', {});
});

async function config(lines: readonly string[]): Promise<string> {
  const file = join(stage.home, `x${++made}.cfg`);
  await writeFile(file, ['driver = simulator', ...lines, ''].join('\n'));
  return file;
}

async function start(words: readonly string[]): Promise<RunningCommand> {
  const command = stage.begin('xenvm', words);
  running.push(command);
  await command.says(/"msg":"ready"/, 60_000);
  return command;
}

/** Runs a VM of its own, and waits until its start is over. */
async function xenvm(lines: readonly string[]) {
  const file = await config(lines);
  const command = await start([file]);
  await command.says(/^[0-9a-f-]{36}$/m, 60_000);
  const uuid = parseUuid(/^[0-9a-f-]{36}$/m.exec(command.said)?.[0] ?? '');
  const isStarted = !lines.includes('startup = shutdown');
  if (isStarted)
    await pollUntil({ what: 'the start', timeoutMs: 15_000, everyMs: 50 }, async () =>
      ['running', 'paused'].includes(await told(uuid, 'status')) ? true : undefined,
    );
  return { uuid, file, command };
}

/** Runs xenvm-cmd in this process. */
function cmd(uuid: VmUuid, ...words: string[]): Promise<CommandResult> {
  const socketsOf = (vm: VmUuid) => monitorSocketsOf(stage.env, vm);
  return inProcess((out) => runXenvmCmd([uuid, ...words], { out, socketsOf, signal: new AbortController().signal }));
}

async function inProcess(run: (out: Pick<Output, 'print' | 'tell'>) => Promise<number>): Promise<CommandResult> {
  const said = { print: '', tell: '' };
  const to = (output: 'print' | 'tell') => (text: string) => {
    said[output] += `${text}
`;
  };
  const status = await run({ print: to('print'), tell: to('tell') });
  return { status, stdout: said.print, stderr: said.tell };
}

/** Gives what a command printed. */
async function told(uuid: VmUuid, ...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await cmd(uuid, ...words);
  assert.equal(status, 0, `${words.join(' ')}: ${stderr}`);
  return stdout.trimEnd();
}

async function domidOf(uuid: VmUuid): Promise<string> {
  return await told(uuid, 'get-domid');
}

async function describe(uuid: VmUuid) {
  return (await hand.call('describe', { uuid })).settings;
}
