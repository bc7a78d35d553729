/**
 * Who may do what, with a real daemon, real sockets and real users: processes that have become somebody else connect and
 * ask. Only root can become somebody else, and give the daemon an /etc/group of its own.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { AuditView, DeviceView, VmDetails, VmView } from '../../src/api/views.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

/** Numbers that nobody on the machine has. */
const GID = { users: 61_000, readers: 61_001, admins: 61_002, lab: 61_003 };
const UID = { ada: 61_100, eve: 61_101, bob: 61_102, daemon: 61_103 };

interface Person {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}
const person = (uid: number, ...groups: number[]): Person => ({ uid, gid: GID.users, groups });
const NOBODY = person(UID.bob);
const READER = person(UID.ada, GID.readers);
const ADMIN = person(UID.ada, GID.admins);
const LAB = person(UID.ada, GID.lab);
/** By the first group, not a supplementary one. */
const LAB_FIRST: Person = { uid: UID.ada, gid: GID.lab, groups: [] };
const EVE = person(UID.eve);

/** Bind-mounts files over others for the program that it then runs, and for no other. */
const WITH_GROUPS = ['unshare', '--mount', 'sh', '-ec', 'mount --bind "$1" /etc/group; shift; exec "$@"', 'sh'];
const canBecome = process.getuid?.() === 0 && spawnSync('unshare', ['--mount', 'true']).status === 0;

let stage: Stage;
let world: WorldProcess;

describe('users and groups', { skip: canBecome ? false : 'only root can become somebody else' }, () => {
  before(async () => {
    stage = await Stage.set();
    chmodSync(stage.home, 0o711);
    const group = join(stage.home, 'group');
    const names = `usher:x:${GID.readers}:\nusher-admin:x:${GID.admins}:\nlab:x:${GID.lab}:\n`;
    const others = readFileSync('/etc/group', 'utf8').replaceAll(/^(usher|usher-admin|lab):.*\n/gm, '');
    writeFileSync(group, others + names);
    const access = [
      '- { group: lab, may: control, vm: work }',
      `- { user: ${UID.eve}, may: attach, deviceClass: storage }`,
    ];
    await writeFile(join(stage.home, 'usherd.yaml'), `access:\n  ${access.join('\n  ')}\n`);
    world = await startWorld({ socket: join(stage.home, 'world.sock') });
    await stage.startDaemon({ USHER_SIMULATOR_WORLD: world.socket }, [...WITH_GROUPS, group]);
    for (const name of ['work', 'play']) {
      const file = join(stage.home, `${name}.cfg`);
      await writeFile(file, `name = ${name}\ndriver = simulator\nmemory = 64\n`);
      await stage.usher('vm', 'create', file);
      await stage.usher('vm', 'start', name);
    }
    await writeFile(join(stage.home, 'stick.img'), Buffer.alloc(1 << 20));
    for (const [at, ...more] of [
      ['virtual:1-1', 'storage', '--file', join(stage.home, 'stick.img')],
      ['virtual:1-2', 'keyboard'],
      ['virtual:1-3', 'tablet'],
    ] as const) {
      await stage.usher('usb', 'plug', '--at', at, '--kind', ...more);
    }
    await stage.usher('usb', 'attach', 'play', 'virtual:1-3');
  });
  after(async () => {
    await stage.strike();
    await world.stop();
  });

  test('who is in no group does not reach the sockets', async () => {
    assert.equal(await ask(NOBODY, 'vm.list').catch((error: Error) => error.message), 'EACCES');
    const { socket } = await stage.ask<VmDetails>('vm', 'show', 'work');
    assert.equal(await say(NOBODY, socket, 'status').catch((error: Error) => error.message), 'EACCES');
  });

  test('files are for the daemon alone, sockets and their folders for those who are let in', async () => {
    const { socket } = await stage.ask<VmDetails>('vm', 'show', 'work');
    const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);
    for (const name of ['usher.db', 'audit.db', 'events.db', 'lock'])
      assert.equal(modeOf(join(stage.home, name)), '600', name);
    for (const path of [join(stage.home, 'run'), dirname(socket)]) {
      assert.deepEqual([modeOf(path), statSync(path).gid], ['750', GID.readers], path);
    }
    for (const path of [join(stage.home, 'run/usher.sock'), socket]) {
      assert.deepEqual([modeOf(path), statSync(path).gid], ['660', GID.readers], path);
    }
  });

  test('a member of usher looks at everything and changes nothing', async () => {
    assert.deepEqual(namesOf(await ask(READER, 'vm.list')), ['play', 'work']);
    assert.equal((await ask<DeviceView[]>(READER, 'usb.list')).length, 3);
    await denied(READER, 'vm.pause', { vm: 'work' }, /it needs "control" over VM work, and what they have is "read"/);
    await denied(READER, 'vm.set', { vm: 'work', autostart: true }, /needs "write"/);
    await denied(READER, 'usb.attach', { vm: 'work', device: 'virtual:1-1' }, /needs "attach"/);
    await denied(READER, 'usb.plug', { at: 'virtual:2-1', kind: 'tablet' }, /needs "control"/);
    await denied(READER, 'vm.console', { vm: 'work' }, /needs "control"/);
  });

  test('a member of usher-admin does everything, without being in usher', async () => {
    await ask(ADMIN, 'vm.pause', { vm: 'work' });
    await ask(ADMIN, 'vm.unpause', { vm: 'work' });
    await ask(ADMIN, 'vm.set', { vm: 'work', autostart: true });
    await ask(ADMIN, 'vm.set', { vm: 'work', autostart: false });
    const { name } = await ask<VmView>(ADMIN, 'vm.create', {
      content: 'name = made\ndriver = simulator\nmemory = 64\n',
    });
    await ask(ADMIN, 'vm.remove', { vm: name });
  });

  test('a group with a right over one VM controls that VM, and nothing else', async () => {
    for (const one of [LAB, LAB_FIRST]) {
      await ask(one, 'vm.pause', { vm: 'work' });
      await ask(one, 'vm.unpause', { vm: 'work' });
      assert.deepEqual(namesOf(await ask(one, 'vm.list')), ['work']);
      await denied(one, 'vm.pause', { vm: 'play' }, /over VM play/);
      await denied(one, 'vm.set', { vm: 'work', autostart: true }, /needs "write"/);
      await denied(one, 'usb.assign', { vm: 'work', device: 'virtual:*' }, /on the whole host/);
      await denied(one, 'vm.checkpoint', { vm: 'work', file: '/etc/cron.d/x' }, /names a file of the host/);
      await denied(one, 'usb.attach', { vm: 'work', device: 'virtual:1-3' }, /VM work and VM play/);
      await denied(one, 'audit.list', {}, /on the whole host/);
      await ask(one, 'usb.attach', { vm: 'work', device: 'virtual:1-2' });
      await ask(one, 'usb.detach', { device: 'virtual:1-2' });
      await stage.usher('usb', 'release', 'virtual:1-2');
    }
  });

  test('a user with a right over storage attaches storage to any VM, and nothing else', async () => {
    await ask(EVE, 'usb.attach', { vm: 'play', device: 'virtual:1-1' });
    await ask(EVE, 'usb.attach', { vm: 'work', device: 'virtual:1-1' });
    await ask(EVE, 'usb.detach', { device: 'virtual:1-1' });
    await ask(EVE, 'usb.release', { device: 'virtual:1-1' });
    await denied(EVE, 'usb.attach', { vm: 'work', device: 'virtual:1-2' }, /over device virtual:1-2/);
    await denied(EVE, 'vm.pause', { vm: 'work' }, /needs "control"/);
    await denied(EVE, 'usb.unplug', { device: 'virtual:1-1' }, /needs "control"/);
    assert.deepEqual(
      (await ask<DeviceView[]>(EVE, 'usb.list')).map(({ device }) => device),
      ['virtual:1-1'],
    );
  });

  test('the socket of a monitor asks the same: in lines of text, and in JSON', async () => {
    const { socket } = await stage.ask<VmDetails>('vm', 'show', 'work');
    const other = (await stage.ask<VmDetails>('vm', 'show', 'play')).socket;
    assert.equal(await say(READER, socket, 'status'), 'running\nok\n');
    for (const line of ['pause', 'destroy', 'quit', 'suspend file=/tmp/x']) {
      assert.match(await say(READER, socket, line), /^error denied User /, line);
      assert.match(await say(LAB, other, line), /^error denied User /, line);
    }
    assert.match(await say(LAB, other, 'status'), /^error denied /);
    assert.match(await say(LAB, socket, 'suspend file=/tmp/x'), /^error denied .*names a file of the host/);
    assert.equal(await say(LAB, socket, 'pause'), 'ok\n');
    assert.equal(await say(LAB, socket, 'unpause'), 'ok\n');
    await denied(READER, 'vm.pause', { vm: 'work' }, /needs "control"/, socket);
    // By the socket of one VM others can be asked for, and so the right to them is asked for, too.
    await denied(LAB, 'vm.pause', { vm: 'play' }, /over VM play/, socket);
    assert.equal(await say(LAB, socket, 'quit'), 'ok\n');
  });

  test('what was denied has changed nothing, and is in the trail with the user that the kernel names', async () => {
    const before = await stage.ask<VmView[]>('vm', 'list');
    await denied(EVE, 'vm.destroy', { vm: 'work' }, /needs "control"/);
    await denied(READER, 'vm.remove', { vm: 'work' }, /needs "write"/);
    assert.deepEqual(await stage.ask<VmView[]>('vm', 'list'), before);
    const rows = await stage.ask<AuditView[]>('audit', 'list', '--vm', 'work');
    const [last, second] = rows.filter(({ outcome }) => outcome === 'denied').reverse();
    assert.deepEqual(
      [last, second].map((row) => [row?.action, row?.actor.uid]),
      [
        ['vm.remove', UID.ada],
        ['vm.destroy', UID.eve],
      ],
    );
    assert.match(String(last?.details['error']), /needs "write" over VM work/);
  });

  test('what a client says of itself counts for nothing', async () => {
    const params = { vm: 'work', actor: { uid: 0 }, uid: 0, user: 'root' };
    await denied(EVE, 'vm.destroy', params, /needs "control"/);
  });

  test('a flood of what is denied leaves some rows, and their number', async () => {
    const count = async () => (await stage.ask<AuditView[]>('audit', 'list', '-n', '10000')).length;
    const before = await count();
    const requests = Array.from({ length: 60 }, () => ['vm.destroy', { vm: 'work' }] as const);
    for (let i = 0; i < 5; i++) for (const answer of await talk(EVE, requests)) assert.ok('error' in answer);
    const rows = (await count()) - before;
    assert.ok(rows >= 2 && rows <= 60, `${rows} rows`);
  });

  test('the command finds no more than its user may', async () => {
    const copy = join(stage.home, 'usher.cjs');
    // Another user may not be able to read this checkout.
    for (const file of ['usher.cjs', 'grammar.cjs', 'operations.cjs', 'package.json']) {
      copyFileSync(join(import.meta.dirname, '../../dist', file), join(stage.home, file));
      chmodSync(join(stage.home, file), 0o644);
    }
    const env = { ...process.env, USHER_HOME: stage.home };
    const script = `${become(EVE)} process.argv.splice(1, 0, ${JSON.stringify(copy)}); require(${JSON.stringify(copy)});`;
    const run = (...words: string[]) =>
      spawnSync(process.execPath, ['-e', script, '--', ...words], { env, cwd: stage.home });
    const list = run('usb', 'list', '--json');
    assert.equal(list.status, 0, list.stderr.toString());
    assert.equal((JSON.parse(list.stdout.toString()) as unknown[]).length, 1);
    const pause = run('vm', 'pause', 'work');
    assert.equal(pause.status, 6, pause.stderr.toString());
    assert.match(pause.stderr.toString(), /may not do "vm\.pause"[\s\S]*by the group usher/);
  });
});

describe('a daemon without root', { skip: canBecome ? false : 'only root can become somebody else' }, () => {
  test('whose first group is usher is the host’s: its groups count, and its sockets let them in', async () => {
    const root = mkdtempSync(join(tmpdir(), 'usher-'));
    chmodSync(root, 0o711);
    // Its user may not be able to read this checkout.
    cpSync(join(import.meta.dirname, '../../dist'), join(root, 'dist'), { recursive: true });
    const home = join(root, 'home');
    mkdirSync(home);
    chmodSync(home, 0o711);
    chownSync(home, UID.daemon, GID.readers);
    const group = join(root, 'group');
    writeFileSync(group, `root:x:0:\nusher:x:${GID.readers}:\nusher-admin:x:${GID.admins}:\n`);
    const own: Person = { uid: UID.daemon, gid: GID.readers, groups: [] };
    const script = `${become(own)} require(${JSON.stringify(join(root, 'dist/usherd.cjs'))});`;
    const [unshare = '', ...words] = [...WITH_GROUPS, group, process.execPath, '-e', script];
    const env = { ...process.env, USHER_HOME: home, USHER_SYSTEM_LOG: join(home, 'log') };
    const daemon = spawn(unshare, words, { env, cwd: root, stdio: 'ignore' });
    const ended = once(daemon, 'exit');
    const socket = join(home, 'run/usher.sock');
    try {
      await pollUntil(
        { what: 'The daemon', timeoutMs: 20_000, everyMs: 50 },
        async () => existsSync(socket) || undefined,
      );
      assert.equal(statSync(socket).uid, UID.daemon);
      await ask(own, 'vm.create', { content: 'name = own\ndriver = qemu\nmemory = 64\n' }, socket);
      await ask(ADMIN, 'vm.set', { vm: 'own', autostart: true }, socket);
      assert.deepEqual(namesOf(await ask(READER, 'vm.list', {}, socket)), ['own']);
      await denied(READER, 'vm.set', { vm: 'own', autostart: false }, /needs "write"/, socket);
      assert.equal(await ask(NOBODY, 'vm.list', {}, socket).catch((error: Error) => error.message), 'EACCES');
    } finally {
      daemon.kill();
      await ended;
      rmSync(root, { recursive: true });
    }
  });
});

function namesOf(vms: unknown): string[] {
  return (vms as VmView[]).map(({ name }) => name).sort();
}

type Answer =
  | { readonly result: unknown }
  | { readonly error: { readonly message: string; readonly data: { code: string } } };

/** Has a person ask; throws what he is told when it fails. */
async function ask<T>(who: Person, method: string, params: object = {}, socket?: string): Promise<T> {
  const [answer] = await talk(who, [[method, params]], socket);
  if (answer === undefined || 'error' in answer) throw new Error(answer?.error.message ?? 'no answer');
  return answer.result as T;
}

async function denied(who: Person, method: string, params: object, says: RegExp, socket?: string): Promise<void> {
  const [answer] = await talk(who, [[method, params]], socket);
  assert.ok(answer !== undefined && 'error' in answer, `${method} was performed`);
  assert.equal(answer.error.data.code, 'denied', answer.error.message);
  assert.match(answer.error.message, says);
  assert.match(answer.error.message, new RegExp(`^User ${who.uid} `));
}

/** Sends requests over one connection of that person; gives the answers in their order. */
async function talk(
  who: Person,
  requests: readonly (readonly [method: string, params: object])[],
  socket = join(stage.home, 'run/usher.sock'),
): Promise<Answer[]> {
  const lines = requests.map(([method, params], id) => JSON.stringify({ jsonrpc: '2.0', id, method, params }));
  const said = await converse(who, socket, `${lines.join('\n')}\n`, lines.length);
  const answers = said
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Answer & { id?: number; method?: string });
  return answers.filter(({ method }) => method === undefined).sort((a, b) => (a.id ?? 0) - (b.id ?? 0));
}

/** Says a line in the text dialect; gives all that is answered. */
function say(who: Person, socket: string, line: string): Promise<string> {
  return converse(who, socket, `${line}\n`, undefined);
}

/** Connects as that person, says it, and gives what is answered: so many JSON answers, or a text answer's lines. */
async function converse(who: Person, socket: string, text: string, answers: number | undefined): Promise<string> {
  const isWhole =
    answers === undefined
      ? String.raw`/^(ok|error .*)\n/m.test(heard)`
      : `heard.split('\\n').filter((line) => line.includes('"id":')).length >= ${answers}`;
  const script = `${become(who)}
    let heard = '';
    const socket = require('node:net').connect(${JSON.stringify(socket)});
    socket.on('connect', () => socket.write(${JSON.stringify(text)}));
    socket.on('data', (chunk) => { heard += chunk; if (${isWhole}) { console.log(JSON.stringify({ heard })); process.exit(); } });
    socket.on('error', (error) => { console.log(JSON.stringify({ code: error.code })); process.exit(); });
    socket.on('close', () => { console.log(JSON.stringify({ heard })); process.exit(); });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  await once(child, 'close');
  const { heard, code } = JSON.parse(out) as { heard?: string; code?: string };
  if (heard === undefined) throw new Error(code);
  return heard;
}

/** Makes the program somebody else. It has been read by then: he may not be able to. */
function become({ uid, gid, groups }: Person): string {
  return `process.setgroups(${JSON.stringify(groups)}); process.setgid(${gid}); process.setuid(${uid});`;
}
