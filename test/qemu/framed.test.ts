/** A VM on QEMU through its life, by a client of the framed JSON-RPC that is written from its description alone. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { GUEST_CMDLINE } from '../../lab/guest.ts';
import { frame } from '../support/frame-client.ts';
import type { RunningCommand } from '../support/stage.ts';
import { Stage } from '../support/stage.ts';

const stage = await Stage.set();
let command: RunningCommand | undefined;
after(async () => {
  await command?.end('SIGKILL');
  await stage.strike();
});

test('a framed client drives a VM of a xenvm through its life, and changes its CD', async () => {
  const { kernel, initrd } = stage.image;
  const [file, iso, other, save] = ['a.cfg', 'a.iso', 'b.iso', 'a.save'].map((name) => join(stage.home, name));
  for (const image of [iso, other]) await writeFile(image ?? '', Buffer.alloc(65_536, 'x'));
  const lines = [
    ...['driver = qemu', 'memory = 192', `kernel = ${kernel}`, `initrd = ${initrd}`, `cmdline = ${GUEST_CMDLINE}`],
    `disk = ${iso}:file:hdc:r:cdrom`,
    'startup = shutdown',
  ];
  await writeFile(file ?? '', `${lines.join('\n')}\n`);
  command = stage.begin('xenvm', [file ?? '']);
  await command.says(/^[0-9a-f-]{36}$/m, 60_000);
  const uuid = /^[0-9a-f-]{36}$/m.exec(command.said)?.[0] ?? '';
  const path = join(stage.home, 'run/vm', `${uuid}.sock`);
  const state = async () => (await frame(path, 'get-status')).result;
  const done = async (method: string, params: Record<string, string> = {}) =>
    assert.deepEqual(await frame(path, method, params), { jsonrpc: '2.0', result: null, id: 1 }, method);

  assert.equal((await frame(path, 'get-domid')).result, '-1');
  await done('start');
  assert.equal(await state(), 'running');
  const domid = (await frame(path, 'get-domid')).result;
  await done('pause');
  assert.equal(await state(), 'paused');
  await done('unpause');
  await done('get-vnc');
  await done('cd-insert', { virtpath: 'hdc', physpath: other ?? '' });
  await done('cd-eject', { virtpath: 'hdc' });
  assert.match(JSON.stringify(await frame(path, 'cd-eject', { virtpath: 'hda' })), /has no CD drive/);
  await done('set-mem-target', { mb: '160' });
  assert.match(JSON.stringify(await frame(path, 'set-mem-target', { mb: '193' })), /started with 192 MiB at most/);
  assert.match(JSON.stringify(await frame(path, 'trigger', { params: 'sleep' })), /no sleep button/);
  assert.match(String((await frame(path, 'suspend', { file: save ?? '' })).result), /^stood still for /);
  assert.equal(await state(), 'suspended');
  await done('restore', { file: save ?? '' });
  assert.equal(await state(), 'running');
  await done('reboot', { forced: 'true' });
  assert.notEqual((await frame(path, 'get-domid')).result, domid);
  await done('trigger', { params: 'nmi' }); // It may well end the guest, which is starting.
  await done('destroy');
  assert.equal(await state(), 'shutdown');
  await done('quit');
  assert.equal(await command.end(), 0);
});
