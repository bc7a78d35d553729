import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { isFault } from '../src/lib/fault.ts';
import { LineSplitter } from '../src/lib/lines.ts';
import type { QmpSession } from '../src/wire/qmp/session.ts';
import { openedFake } from '../src/wire/qmp/testing.ts';
import { DeviceHands } from './device-hands.ts';
import { serveHands } from './hands-service.ts';

/** Says yes to everything but a device on `refusedPort`; a device that is pulled is gone at once. */
async function agreeableQemu(commands: string[], refusedPort = ''): Promise<QmpSession> {
  const { qemu, session } = await openedFake();
  void (async () => {
    for (;;) {
      const { execute, arguments: args = {}, id } = await qemu.next();
      const [key] = (args['keys'] ?? []) as readonly { readonly data: string }[];
      commands.push(key === undefined ? execute : `${execute} ${key.data}`);
      if (execute === 'device_add' && args['port'] === refusedPort)
        qemu.say({ error: { class: 'GenericError', desc: 'refused' }, id });
      else qemu.say({ return: {}, id });
      if (execute === 'device_del') qemu.event('DEVICE_DELETED', { device: args['id'], path: '/' });
    }
  })();
  return session;
}

describe('hands', () => {
  let folder: string;
  let qmp: QmpSession;
  let hands: DeviceHands;
  const commands: string[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'usher-hands-'));
  });
  beforeEach(async () => {
    qmp?.close();
    commands.length = 0;
    qmp = await agreeableQemu(commands, '7');
    hands = new DeviceHands({ qmp, folder }, 'the host');
  });
  after(async () => {
    qmp?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('take the first free socket, and call a device by its serial number or its kind', async () => {
    await hands.plug('keyboard');
    await hands.plug('mouse', { port: '3', serial: 'M1' });
    await hands.plug('keyboard');
    await hands.plug('tablet');
    await hands.plug('hub', { port: '8' });
    await hands.plug('mouse', { port: '8.2' });
    assert.deepEqual(
      hands.plugged.map(({ name, busid }) => [name, busid]),
      [
        ['keyboard1', '1-1'],
        ['M1', '1-3'],
        ['keyboard2', '1-2'],
        ['tablet1', '1-4'],
        ['hub1', '1-8'],
        ['mouse1', '1-8.2'],
      ],
    );
  });

  it('refuse a taken socket or name, a socket that is none, and a name that is not plugged', async () => {
    await hands.plug('mouse', { port: '1', name: 'm' });
    await assert.rejects(hands.plug('mouse', { port: '1' }), (error) => isFault(error, 'usb.port_busy'));
    for (const options of [{ name: 'm' }, { port: '9' }, { port: '0' }, { name: '../m' }])
      await assert.rejects(hands.plug('mouse', options), (error) => isFault(error, 'params.invalid'));
    await assert.rejects(hands.pull('n'), (error) => isFault(error, 'params.invalid'));
  });

  it('have a name and a socket taken before QEMU has answered', async () => {
    const devices = await Promise.all([hands.plug('mouse'), hands.plug('mouse'), hands.plug('mouse')]);
    assert.deepEqual(
      devices.map(({ name, port }) => [name, port]),
      [
        ['mouse1', '1'],
        ['mouse2', '2'],
        ['mouse3', '3'],
      ],
    );
  });

  it('undo what came before a refusal, and forget the device', async () => {
    await assert.rejects(hands.plug('storage', { port: '7', name: 's' }), /refused/);
    assert.deepEqual(commands, ['blockdev-add', 'device_add', 'blockdev-del']);
    assert.deepEqual(hands.plugged, []);
  });

  it('keep the content of a stick over a pull, and give it back when it is plugged again', async () => {
    const { file = '' } = await hands.plug('storage', { serial: 'S1', content: { bytes: Buffer.from('content') } });
    await hands.pull('S1');
    assert.deepEqual(commands.slice(-2), ['device_del', 'blockdev-del']);
    assert.equal(hands.fileOf('S1'), file);
    await hands.plug('storage', { serial: 'S1', port: '5' });
    assert.equal((await readFile(file)).toString('latin1', 0, 7), 'content');
  });

  it('type letter by letter', async () => {
    await hands.type('ab');
    assert.deepEqual(commands, ['send-key a', 'send-key b']);
  });

  it('plug everything in again after a reboot', async () => {
    await hands.plug('mouse', { port: '2' });
    await hands.plug('serial');
    commands.length = 0;
    await hands.plugAllAgain();
    assert.deepEqual(commands, ['device_add', 'chardev-add', 'device_add']);
  });

  it('answer a program inside the host, line by line, and outlive a line that is nonsense', async () => {
    const path = join(folder, 'port');
    const server = createServer().listen(path);
    await once(server, 'listening');
    const connected = once(server, 'connection');
    const end = serveHands(hands, path);
    const [inside] = await connected;
    const splitter = new LineSplitter(1 << 20);
    const ask = async (line: string): Promise<Record<string, unknown>> => {
      inside.write(`${line}\n`);
      for (;;) {
        const [chunk] = await once(inside, 'data');
        const [answer] = splitter.push(chunk);
        if (answer !== undefined) return JSON.parse(answer.toString());
      }
    };
    try {
      const bytes = Buffer.from('hello').toString('base64');
      const plugged = { name: 'S2', kind: 'storage', port: '4', busid: '2-4', serial: 'S2' };
      const question = { id: 1, plug: 'storage', serial: 'S2', port: '4', bytes };
      assert.deepEqual(await ask(JSON.stringify(question)), { id: 1, plugged });
      assert.deepEqual(await ask('{"id":2,"list":true}'), { id: 2, list: [plugged] });
      assert.deepEqual(await ask('{"id":3,"pull":"S2"}'), { id: 3, pulled: plugged });
      assert.deepEqual(await ask('{"id":4,"read":"S2","length":5}'), { id: 4, bytes });
      const { sha256, bytes: size } = await ask('{"id":5,"sum":"S2"}');
      assert.match(String(sha256), /^[0-9a-f]{64}$/);
      assert.equal(size, 8 * 1024 * 1024);
      for (const [line, id] of [
        ['nonsense', 0],
        ['{"id":6,"plug":"banana"}', 6],
        ['{"id":7,"pull":"nobody"}', 7],
      ] as const) {
        const answer = await ask(line);
        assert.equal(answer['id'], id);
        assert.ok('error' in answer, line);
      }
    } finally {
      end();
      inside.destroy();
      server.close();
    }
  });
});
