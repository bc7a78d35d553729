/** Our QMP client against a real QEMU: a paused machine without a guest. Skipped where there is no QEMU. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pollUntil } from '../../src/lib/deadline.ts';
import { isFault } from '../../src/lib/fault.ts';
import { QMP_RETURN_SHAPES, type QmpEvent } from '../../src/wire/qmp/commands.ts';
import { isPeerGone, isQmpError } from '../../src/wire/qmp/error.ts';
import { QmpLink } from '../../src/wire/qmp/link.ts';
import { connectQmp, type QmpSession, type QmpSessionOptions } from '../../src/wire/qmp/session.ts';

const QEMU = process.env['USHER_QEMU'] ?? 'qemu-system-x86_64';
const skip = spawnSync(QEMU, ['--version']).status === 0 ? false : `${QEMU} is not installed`;
const MACHINE = ['-M', 'q35,accel=tcg', '-m', '32', '-nodefaults', '-display', 'none', '-S'];

interface Machine {
  readonly folder: string;
  readonly path: string;
  readonly child: ChildProcess;
  connect(options?: Omit<QmpSessionOptions, 'peer'>): Promise<QmpSession>;
}

async function start(t: TestContext, extra: readonly string[] = []): Promise<Machine> {
  const folder = mkdtempSync(join(tmpdir(), 'qmp-'));
  const path = join(folder, 'qmp.sock');
  const args = [...MACHINE, '-device', 'qemu-xhci,id=xhci', '-qmp', `unix:${path},server=on,wait=off`, ...extra];
  const child = spawn(QEMU, args, { stdio: 'ignore' });
  t.after(() => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  });
  const wait = { what: 'The start of QEMU', timeoutMs: 10_000, everyMs: 5 };
  const probe = async () => {
    try {
      return await connectQmp(path);
    } catch (error) {
      if (isFault(error) && isPeerGone(error)) return undefined;
      throw error;
    }
  };
  (await pollUntil(wait, probe)).close();
  return { folder, path, child, connect: (options) => connectQmp(path, options) };
}

function isDeleted(id: string): (event: QmpEvent) => boolean {
  return (event) => event.name === 'DEVICE_DELETED' && event.data.device === id;
}

test('asks what a machine is, and every command of ours exists', { skip }, async (t) => {
  const machine = await start(t, ['-name', 'größe-😀', '-uuid', '5b6f9a52-6a1c-4c7f-9b8e-2f60c25ac9d1']);
  const qmp = await machine.connect();
  const [version, name, uuid, status, kvm] = await Promise.all([
    qmp.execute('query-version'),
    qmp.execute('query-name'),
    qmp.execute('query-uuid'),
    qmp.execute('query-status'),
    qmp.execute('query-kvm'),
  ]);
  assert.deepEqual(version, qmp.version);
  assert.equal(name.name, 'größe-😀');
  assert.equal(uuid.UUID, '5b6f9a52-6a1c-4c7f-9b8e-2f60c25ac9d1');
  assert.deepEqual([status.status, status.running, kvm.enabled], ['prelaunch', false, false]);
  const known = new Set((await qmp.execute('query-commands')).map((command) => command.name));
  const missing = Object.keys(QMP_RETURN_SHAPES).filter((command) => !known.has(command));
  assert.deepEqual(missing, []);
});

test('plugs and unplugs USB devices, pipelined, and sees them in the object tree', { skip }, async (t) => {
  const qmp = await (await start(t)).connect();
  const ids = ['a', 'b', 'c', 'd'];
  const tablet = (id: string, port: number) => ({ driver: 'usb-tablet', id, bus: 'xhci.0', port: String(port) });
  await Promise.all(ids.map((id, at) => qmp.execute('device_add', tablet(id, at + 1))));
  const children = (await qmp.execute('qom-list', { path: '/machine/peripheral' })).filter(
    ({ type }) => type === 'child<usb-tablet>',
  );
  assert.deepEqual(children.map(({ name }) => name).sort(), ids);
  assert.equal(await qmp.execute('qom-get', { path: '/machine/peripheral/c', property: 'port' }), '3');
  await assert.rejects(qmp.execute('device_add', tablet('a', 4)), /Duplicate device ID 'a'/);
  await assert.rejects(qmp.execute('device_add', tablet('e', 4)), /port 4 \(bus xhci\.0\) not found/);
  await Promise.all(ids.map((id) => qmp.executeUntil('device_del', { id }, isDeleted(id))));
  const gone = await qmp.execute('device_del', { id: 'a' }).catch((error: unknown) => error);
  assert.ok(isQmpError(gone, 'DeviceNotFound'));
  assert.match(await qmp.execute('human-monitor-command', { 'command-line': 'info usb' }), /^\s*$/);
});

test('lends a file as a stick, and gets it back', { skip }, async (t) => {
  const machine = await start(t);
  const qmp = await machine.connect();
  const filename = join(machine.folder, 'stick.img');
  writeFileSync(filename, Buffer.alloc(65_536));
  await qmp.execute('blockdev-add', { driver: 'raw', 'node-name': 'n', file: { driver: 'file', filename } });
  await qmp.execute('device_add', { driver: 'usb-storage', id: 's', bus: 'xhci.0', drive: 'n' });
  await assert.rejects(qmp.execute('blockdev-del', { 'node-name': 'n' }), /in use/);
  await qmp.executeUntil('device_del', { id: 's' }, isDeleted('s'));
  await qmp.execute('blockdev-del', { 'node-name': 'n' });
  assert.deepEqual(await qmp.execute('query-named-block-nodes', { flat: true }), []);
});

test('runs, stops, resets and ends a machine, with its events', { skip }, async (t) => {
  const events: string[] = [];
  const qmp = await (await start(t)).connect({ onEvent: ({ name }) => events.push(name) });
  await qmp.execute('cont');
  assert.equal((await qmp.execute('query-status')).status, 'running');
  const reset = await qmp.executeUntil('system_reset', {}, ({ name }) => name === 'RESET');
  assert.ok(reset.name === 'RESET' && reset.data.reason === 'host-qmp-system-reset' && !reset.data.guest);
  assert.ok(Math.abs(reset.atMs - Date.now()) < 60_000);
  await qmp.execute('stop');
  await qmp.execute('quit');
  assert.ok(isFault(await qmp.closed, 'wire.closed'));
  assert.deepEqual(events, ['RESUME', 'RESET', 'STOP', 'SHUTDOWN']);
});

test('writes a machine to a socket of ours and reads it into another', { skip }, async (t) => {
  const source = await start(t);
  const target = await start(t, ['-incoming', 'defer']);
  const [from, to] = await Promise.all([source.connect(), target.connect()]);
  const path = join(source.folder, 'state.sock');
  const chunks: Buffer[] = [];
  const server = createServer((socket) => socket.on('data', (chunk: Buffer) => chunks.push(chunk)));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const capabilities = [{ capability: 'events', state: true }];
  const isDone = (event: QmpEvent) => event.name === 'MIGRATION' && event.data.status === 'completed';
  await Promise.all([from, to].map((qmp) => qmp.execute('migrate-set-capabilities', { capabilities })));
  await from.executeUntil('migrate', { uri: `unix:${path}` }, isDone);
  server.close();
  assert.equal((await from.execute('query-migrate')).status, 'completed');
  // The event comes a moment before the state: `finish-migrate` may still be seen.
  const settled = { what: 'The end of the migration', timeoutMs: 5000, everyMs: 2 };
  await pollUntil(settled, async () => (await from.execute('query-status')).status === 'postmigrate' || undefined);

  // QEMU listens where it is told; who has the state connects.
  const incoming = join(target.folder, 'in.sock');
  const arrived = to.waitEvent(isDone);
  await to.execute('migrate-incoming', { uri: `unix:${incoming}` });
  connect(incoming).end(Buffer.concat(chunks));
  await arrived;
  await pollUntil(settled, async () => (await to.execute('query-status')).status !== 'inmigrate' || undefined);
  assert.equal((await to.execute('query-status')).running, false);
});

test('makes the second client wait, and the fourth go', { skip }, async (t) => {
  const machine = await start(t);
  const first = await machine.connect();
  const busy = await machine.connect({ openTimeoutMs: 100 }).catch((error: unknown) => error);
  assert.ok(isFault(busy, 'timeout') && busy.hint?.includes('one QMP client at a time'));
  const waiting = Promise.allSettled([1, 2, 3].map(() => machine.connect({ openTimeoutMs: 300 })));
  const codes = (await waiting).map((result) => result.status === 'rejected' && result.reason.code);
  assert.ok(codes.includes('wire.closed'), 'QEMU lets two wait; the kernel turns away the rest (EAGAIN)');
  assert.equal((await first.execute('query-status')).status, 'prelaunch');
  first.close();
  // Those who gave up still stand in QEMU's queue until it has looked at each.
  const wait = { what: 'The free socket', timeoutMs: 5000, everyMs: 10 };
  const next = await pollUntil(wait, () => machine.connect().catch(() => undefined));
  assert.equal((await next.execute('query-status')).status, 'prelaunch');
});

test('a link sees a killed QEMU as gone, with a command in flight', { skip }, async (t) => {
  const machine = await start(t);
  const calls: string[] = [];
  const gone = new Promise<void>((resolve) => {
    const link = new QmpLink({
      path: machine.path,
      up(session) {
        calls.push('up');
        machine.child.kill('SIGSTOP');
        session.execute('query-status').catch((error: unknown) => {
          calls.push(isFault(error, 'wire.closed') ? 'lost' : String(error));
        });
        machine.child.kill('SIGKILL');
      },
      down: (_fault, session) => calls.push(session === undefined ? 'failed' : 'down'),
      gone: () => resolve(),
    });
    t.after(() => link.stop());
  });
  await gone;
  assert.deepEqual(calls.slice(0, 3).sort(), ['down', 'lost', 'up']);
});

test('answers 200 commands in a row quickly', { skip }, async (t) => {
  const qmp = await (await start(t)).connect();
  const tookMs: number[] = [];
  for (let i = 0; i < 200; i++) {
    const began = performance.now();
    await qmp.execute('query-status');
    tookMs.push(performance.now() - began);
  }
  tookMs.sort((a, b) => a - b);
  const [p50, p99] = [tookMs[100] ?? 0, tookMs[198] ?? 0];
  t.diagnostic(`query-status: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`);
  assert.ok(p50 < 20);
});
