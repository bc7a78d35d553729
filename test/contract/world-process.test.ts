/** The simulated world's process: its words, its end, and that it outlives who talks to it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { populationUuid } from '../../src/hypervisor/simulator/population.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { startWorld, WORLD_ENTRY } from '../support/sim-world.ts';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-world-'));
});
after(() => rm(folder, { recursive: true }));

test('it has the VMs and devices that it was told to have, and outlives its clients', async () => {
  const socket = join(folder, 'many.sock');
  const world = await startWorld({ socket, vms: 1000, devices: 200 });
  const first = new WorldClient(socket);
  const uuid = populationUuid(999);
  assert.equal((await first.call('list', {})).length, 1000);
  const device = (await first.call('devices', { backend: 'dom0' })).at(-1);
  assert.ok(device);
  const attachment = await first.call('attachDevice', { uuid, slot: { controller: 0, port: 1 }, device });
  await first.close();
  const second = new WorldClient(socket);
  assert.deepEqual((await second.call('find', { uuid }))?.attachments, [attachment]);
  await second.close();
  await world.stop();
  assert.equal(existsSync(socket), false);
});

test('two worlds do not share a socket, and a dead one leaves its place', async () => {
  const socket = join(folder, 'one.sock');
  const first = await startWorld({ socket });
  const second = spawnSync(process.execPath, [WORLD_ENTRY, '--socket', socket], { encoding: 'utf8' });
  assert.deepEqual([second.status, second.stderr], [5, `sim-world: Something already listens on ${socket}.\n`]);
  process.kill(first.pid, 'SIGKILL');
  await first.stop();
  const third = await startWorld({ socket });
  await third.stop();
});

test('it says what it does not understand', () => {
  for (const [args, says] of [
    [[], 'give --socket PATH'],
    [['--socket', 'x', '--vms', 'many'], '"many" is not a number'],
    [['--socket', 'x', '--latency', 'walk=3'], '"walk=3" is not METHOD=MS'],
    [['--socket', 'x', '--latency', 'list'], '"" is not a number'],
    [['--window'], 'Unknown option'],
  ] as const) {
    const { status, stderr } = spawnSync(process.execPath, [WORLD_ENTRY, ...args], { encoding: 'utf8' });
    assert.equal(status, 2, stderr);
    assert.ok(stderr.startsWith(`sim-world: `) && stderr.includes(says), stderr);
  }
});
