import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { pollUntil } from '../lib/deadline.ts';
import { silentLog } from '../lib/log.ts';
import type { UsherEvent } from '../model/event.ts';
import { newUuid, type VmUuid } from '../model/ids.ts';
import type { NotifyConfig } from '../model/vm.ts';
import { NotifySockets } from './notify-sockets.ts';

const paused = (vm: VmUuid): UsherEvent => ({
  seq: 1,
  at: 0,
  kind: 'vm.state',
  body: { vm, name: 'work', from: 'running', to: 'paused' },
});

/** Gives what a listener at `path` hears, as it comes. */
async function listener(t: TestContext, path: string): Promise<{ text: string }> {
  const heard = { text: '' };
  const server = createServer((socket) => {
    socket.setEncoding('utf8').on('data', (text: string) => {
      heard.text += text;
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => server.close());
  return heard;
}

test('a VM tells the listener of its config, another one after a start with another, and the end of its monitor', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-notify-'));
  t.after(() => rm(folder, { recursive: true }));
  const unix = (name: string): NotifyConfig => ({ by: 'unix', path: join(folder, name) });
  const [a, b] = [await listener(t, join(folder, 'a')), await listener(t, join(folder, 'b'))];
  const [vm, other] = [newUuid(), newUuid()];
  const sockets = new NotifySockets({
    configOf: (uuid) => (uuid === vm ? unix('a') : undefined),
    clock: systemClock,
    log: silentLog,
  });
  const until = async (heard: { text: string }, lines: readonly string[]) => {
    const wanted = lines.map((line) => `${vm}:${line}\n`).join('');
    await pollUntil({ what: 'The lines', timeoutMs: 5_000, everyMs: 5 }, () =>
      heard.text === wanted ? true : undefined,
    ).catch(() => assert.equal(heard.text, wanted));
  };
  sockets.follow(vm, unix('b'));
  sockets.take(paused(vm));
  sockets.open(vm);
  sockets.open(other);
  sockets.take(paused(other));
  sockets.take(paused(vm));
  await until(a, ['0:ping', '61440:vm:state:paused']);
  sockets.follow(vm, unix('a'));
  sockets.follow(vm, unix('b'));
  await until(a, ['0:ping', '61440:vm:state:paused', '1:hup']);
  sockets.take(paused(vm));
  await until(b, ['0:ping', '61440:vm:state:paused']);
  sockets.follow(vm, { by: 'other', way: 'dbus' });
  await until(b, ['0:ping', '61440:vm:state:paused', '1:hup']);
  sockets.follow(vm, unix('b'));
  await until(b, ['0:ping', '61440:vm:state:paused', '1:hup', '0:ping']);
  sockets.close(vm);
  sockets.close(other);
  sockets.take(paused(vm));
  await until(b, ['0:ping', '61440:vm:state:paused', '1:hup', '0:ping', '1:hup']);
});
