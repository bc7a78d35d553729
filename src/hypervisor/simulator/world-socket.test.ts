/** A world behind its unix socket: connection, loss, reconnect, giving up, broken clients; a thousand domains at once. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { isFault } from '../../lib/fault.ts';
import { connectUnix, type UnixServer } from '../../lib/unix-server.ts';
import { populate, populationConfig, populationDevice, populationUuid } from './population.ts';
import { World } from './world.ts';
import { WorldClient } from './world-client.ts';
import type { WorldHint } from './world-port.ts';
import { serveWorld } from './world-server.ts';

let folder: string;
let path: string;
let world: World;
let server: UnixServer;
let client: WorldClient;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-world-'));
  path = join(folder, 'world.sock');
  world = new World();
  server = await serveWorld(world, path);
  client = new WorldClient(path);
});
afterEach(async () => {
  await client.close();
  await server.close();
  await rm(folder, { recursive: true });
});

/** Waits for something that sockets bring about. */
async function eventually(probe: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !probe(); i++) await new Promise((resolve) => setTimeout(resolve, 2));
  assert.ok(probe());
}

test('a thousand domains are one answer', async () => {
  populate(world, { vms: 1000, devices: 200 });
  assert.deepEqual(await client.call('list', {}), world.list());
  assert.equal(world.list().length, 1000);
  const devices = await client.call('devices', { backend: 'dom0' });
  assert.equal(new Set(devices.map(({ busid }) => busid)).size, 200);
});

test('faults come over with their code and sentence', async () => {
  const uuid = populationUuid(7);
  await assert.rejects(
    client.call('pause', { uuid }),
    (thrown) => isFault(thrown, 'vm.no_domain') && thrown.message === `VM ${uuid} does not run.`,
  );
});

test('a world that is not there is a fault that says where', async () => {
  const nobody = new WorldClient(join(folder, 'none.sock'));
  await assert.rejects(nobody.call('list', {}), (thrown) => {
    return isFault(thrown, 'hypervisor.missing') && thrown.message.includes('none.sock');
  });
  await nobody.close();
});

test('a call that is given up in time has no effect', async () => {
  world.disturbances.add({ method: 'start', trouble: { do: 'hang' } });
  const controller = new AbortController();
  const reason = new Error('given up');
  const start = client.call('start', { config: populationConfig(0), isPaused: false }, controller.signal);
  await client.call('list', {}); // The world has the start by now.
  controller.abort(reason);
  await assert.rejects(start, reason);
  world.disturbances.calm();
  assert.deepEqual(await client.call('list', {}), []);
});

test('a call that is given up too late gives its result', async () => {
  const controller = new AbortController();
  await client.call('list', {});
  const plug = client.call('plug', populationDevice(0), controller.signal);
  await new Promise((resolve) => setImmediate(resolve)); // It is sent, and not answered: the world is in this process.
  controller.abort();
  await plug.then(
    (device) => assert.deepEqual(world.devices('dom0'), [device]),
    () => assert.deepEqual(world.devices('dom0'), []),
  );
});

test('a world that comes back is found again, with the hint that anything may have changed', async () => {
  const hints: WorldHint[] = [];
  client.onHint((hint) => hints.push(hint));
  await client.call('list', {});
  world.disturbances.add({ method: 'list', trouble: { do: 'hang' } });
  const lost = assert.rejects(client.call('list', {}), (thrown) => isFault(thrown, 'hypervisor.missing'));
  await client.call('devices', { backend: 'dom0' }); // The world has the list by now.
  await server.close();
  await lost;
  await eventually(() => hints.length > 0);
  hints.length = 0;
  server = await serveWorld(world, path);
  assert.deepEqual(await client.call('list', {}), []);
  await eventually(() => hints.some(({ about }) => about === 'everything'));
  world.plug(populationDevice(0));
  await eventually(() => hints.some(({ about }) => about === 'devices'));
});

test('a save whose client goes is undone', async () => {
  const uuid = populationUuid(0);
  populate(world, { vms: 1, devices: 0 });
  await client.call('beginSave', { uuid, file: 'x' });
  assert.equal(world.find(uuid)?.run, 'saving');
  await client.close();
  await eventually(() => world.find(uuid)?.run === 'running');
});

test('a client that talks nonsense is cut off, and the others are not', async () => {
  await client.call('list', {});
  for (const nonsense of ['hello\n', '{"id":1,"method":"constructor"}\n', 'null\n', '[]\n', '{"id":"1"}\n']) {
    const socket = await connectUnix(path, { timeoutMs: 1000 });
    socket.resume().write(nonsense);
    await once(socket, 'close');
  }
  assert.deepEqual(await client.call('list', {}), []);
});
