import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SystemLog } from '../../test/support/system-log.ts';
import { Accounts, userName } from './accounts.ts';
import { bootId } from './boot-id.ts';
import { letIn } from './entrants.ts';
import { isFault } from './fault.ts';
import { isFileLocked, lockFile, peerCredentials, peerGroups, sendDatagram } from './native.ts';
import { tellSystemLog } from './syslog.ts';
import { connectUnix, listenUnix } from './unix-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-native-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('tells who is at the other end of a socket, and nothing of a closed one', async () => {
  const path = join(folder, 'peer.sock');
  const accepted = Promise.withResolvers<Socket>();
  const server = await listenUnix(path, accepted.resolve);
  const client = await connectUnix(path, { timeoutMs: 1000 });
  const socket = await accepted.promise;
  const expected = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() };
  assert.deepEqual(peerCredentials(socket), expected);
  assert.deepEqual(peerCredentials(client), expected);
  client.destroy();
  await server.close();
  assert.equal(peerCredentials(socket), undefined);
  assert.deepEqual(peerGroups(socket), []);
});

const isRoot = process.getuid?.() === 0;
const asRoot = { skip: isRoot ? false : 'only root can be somebody else' };

const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** Runs a program as somebody else, who connects to `path` and stays until it is told to end. */
function connectAs(path: string, who: { uid: number; gid: number; groups: readonly number[] }): ChildProcess {
  const script = `
    const { uid, gid, groups } = ${JSON.stringify(who)};
    process.setgroups(groups); process.setgid(gid); process.setuid(uid);
    const socket = require('node:net').connect(${JSON.stringify(path)});
    socket.on('connect', () => console.log('connected'));
    socket.on('error', (error) => { console.log(error.code); process.exit(); });
    process.stdin.resume().on('end', () => process.exit());`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  return child;
}

async function said(child: ChildProcess): Promise<string> {
  const [chunk] = (await once(child.stdout ?? assert.fail(), 'data')) as [Buffer];
  return chunk.toString().trim();
}

async function end(child: ChildProcess): Promise<void> {
  child.stdin?.end();
  if (child.exitCode === null) await once(child, 'exit');
}

test('tells the groups that the peer had when it connected, however many', asRoot, async () => {
  const path = join(folder, 'groups.sock');
  const accepted = Promise.withResolvers<Socket>();
  const server = await listenUnix(path, accepted.resolve, { mode: 0o666 });
  chmodSync(folder, 0o711);
  const groups = Array.from({ length: 300 }, (_, i) => 70_000 + i);
  const child = connectAs(path, { uid: 12_345, gid: 23_456, groups });
  const socket = await accepted.promise;
  assert.deepEqual(peerCredentials(socket), { pid: child.pid, uid: 12_345, gid: 23_456 });
  assert.deepEqual(peerGroups(socket), groups);
  await end(child);
  await server.close();
});

test('lets in those who are named, and nobody else, also when the next daemon names others', asRoot, async () => {
  const inner = join(folder, 'entrants');
  mkdirSync(inner, { mode: 0o700 });
  chmodSync(folder, 0o711);
  const open = async (entrants: Parameters<typeof letIn>[2]) => {
    letIn(inner, 'folder', entrants);
    return await listenUnix(join(inner, 'in.sock'), () => undefined, { entrants });
  };
  const tries = async () => {
    const answers: string[] = [];
    for (const who of [
      { uid: 12_345, gid: 1, groups: [] },
      { uid: 12_346, gid: 1, groups: [7_001] },
      { uid: 12_347, gid: 7_002, groups: [] },
      { uid: 12_348, gid: 1, groups: [] },
    ]) {
      const child = connectAs(join(inner, 'in.sock'), who);
      answers.push(await said(child));
      await end(child);
    }
    return answers;
  };
  const first = await open({ groupId: 7_001, others: [{ uid: 12_345 }, { gid: 7_002 }] });
  assert.deepEqual(await tries(), ['connected', 'connected', 'connected', 'EACCES']);
  await first.close();
  const second = await open({ groupId: 7_001 });
  assert.equal(statSync(inner).mode & 0o777, 0o750);
  assert.equal(statSync(second.path).mode & 0o777, 0o660);
  assert.deepEqual(await tries(), ['EACCES', 'connected', 'EACCES', 'EACCES']);
  await second.close();
  const third = await open({});
  assert.equal(statSync(inner).mode & 0o777, 0o700);
  assert.deepEqual(await tries(), ['EACCES', 'EACCES', 'EACCES', 'EACCES']);
  await third.close();
});

test('sends a line to the system log, and says what is wrong when it cannot', () => {
  const log = new SystemLog(join(folder, 'log'));
  assert.equal(tellSystemLog('usherd', 'a line\nand no other', new Date(2026, 10, 3, 4, 5, 6), log.path), undefined);
  assert.deepEqual(log.lines, [`<85>Nov  3 04:05:06 usherd[${process.pid}]: a line\\u{a}and no other`]);
  log.close();
  assert.equal(tellSystemLog('usherd', 'x', new Date(), log.path), `${log.path}: there is no such socket`);
  writeFileSync(log.path, '');
  assert.equal(tellSystemLog('usherd', 'x', new Date(), log.path), `${log.path}: nobody listens`);
});

test('a system log that does not read is not waited for', () => {
  const log = new SystemLog(join(folder, 'busy'));
  let errno: number | undefined;
  for (let i = 0; i < 10_000 && errno === undefined; i++) errno = sendDatagram(log.path, Buffer.alloc(1000));
  assert.equal(errno, 11);
  assert.ok(log.lines.length > 0);
  log.close();
});

test('locks a file once, names the holder, and locks again after the release', () => {
  const path = join(folder, 'lock');
  const first = lockFile(path);
  assert.ok('release' in first);
  assert.deepEqual(lockFile(path), { heldBy: process.pid });
  assert.equal(readFileSync(path, 'utf8').trim(), String(process.pid));
  first.release();
  first.release();
  const second = lockFile(path);
  assert.ok('release' in second);
  second.release();
});

test('tells whether a file is locked without taking its lock for a moment', () => {
  const path = join(folder, 'looked-at');
  assert.equal(isFileLocked(path), false, 'it is not even there');
  writeFileSync(path, '');
  assert.equal(isFileLocked(path), false);
  const lock = lockFile(path);
  assert.ok('release' in lock);
  assert.equal(isFileLocked(path), true);
  assert.equal(isFileLocked(join(folder, 'lock')), false, 'another file is another one');
  lock.release();
  assert.equal(isFileLocked(path), false);
});

test('a child that lives on does not hold the lock', async () => {
  const path = join(folder, 'inherited');
  const lock = lockFile(path);
  assert.ok('release' in lock);
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  await once(child, 'spawn');
  lock.release();
  const again = lockFile(path);
  child.kill();
  await once(child, 'exit');
  assert.ok('release' in again);
  again.release();
});

test('does not follow a link to lock another file', () => {
  const path = join(folder, 'link');
  writeFileSync(join(folder, 'target'), '');
  symlinkSync(join(folder, 'target'), path);
  assert.throws(
    () => lockFile(path),
    (error) => isFault(error, 'file.unwritable'),
  );
});

test('knows users and groups by name, and shows others by number', () => {
  const passwd = join(folder, 'passwd');
  writeFileSync(passwd, 'root:x:0:0::/root:/bin/sh\nada:x:4242:4242::/home/ada:/bin/sh\n');
  const group = join(folder, 'group');
  writeFileSync(group, 'root:x:0:\nusher:x:77:ada\n');
  assert.equal(userName(4242, passwd), 'ada');
  assert.equal(userName(4243, passwd), '4243');
  const accounts = new Accounts(passwd, group);
  assert.equal(accounts.groupId('usher'), 77);
  assert.equal(accounts.groupId('nobody'), undefined);
  assert.equal(accounts.groupId(5), 5);
  assert.equal(accounts.userId('ada'), 4242);
  assert.equal(accounts.userId(''), undefined);
  writeFileSync(group, 'root:x:0:\nusher:x:78:ada\nbroken\nodd:x:-1:\nusher-admin:x:79:');
  assert.equal(accounts.groupId('usher'), 78, 'what has changed is read again');
  assert.equal(accounts.groupId('usher-admin'), 79);
  for (const name of ['broken', 'odd']) assert.equal(accounts.groupId(name), undefined);
  rmSync(group);
  assert.equal(accounts.groupId('usher'), undefined);
});

test('knows the boot', () => {
  assert.match(bootId(), /^[0-9a-f-]{36}$/);
  assert.equal(bootId(), bootId());
});
