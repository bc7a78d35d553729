/** The kernel's device, played by a model of its driver: one packet a write, answers without numbers, errors by write. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { isXenstoreError } from './error.ts';
import { encodePacket, PACKET_TYPES, type Packet } from './packets.ts';
import { PacketParser } from './parser.ts';
import { decodeOk, decodeText, type WatchEvent } from './payloads.ts';
import type { Question } from './requests.ts';
import { XenstoreSession } from './session.ts';
import { packet } from './testing/fake-xenstored.ts';
import { MemoryDaemon } from './testing/memory-daemon.ts';
import { XenbusDevice } from './xenbus-device.ts';

const watch = (path: string): Question<true> => ({ name: 'WATCH', path, text: 't\0', decode: decodeOk });
const read = (path: string): Question<string> => ({ name: 'READ', path, decode: decodeText });

/** A kernel in front of an in-memory daemon. What it does to each packet is what xenbus_dev_frontend.c does. */
class ModelKernel {
  readonly source = new PassThrough();
  readonly writes: Packet[] = [];
  readonly #backend;
  readonly #answers = new PacketParser();
  errnoOfWatch: string | undefined;
  isWriting = false;
  #buffer = Buffer.alloc(0);

  constructor() {
    this.#backend = new MemoryDaemon().connect(3);
    this.#backend.on('data', (chunk: Buffer) => {
      for (const answer of this.#answers.push(chunk)) {
        const { type, requestId } = answer;
        const isAcknowledged = type === PACKET_TYPES.WATCH || type === PACKET_TYPES.UNWATCH;
        if (!isAcknowledged) this.source.write(encodePacket({ ...answer, requestId }));
      }
    });
  }

  readonly write = (bytes: Buffer, done: (error: Error | null) => void): void => {
    assert.equal(this.isWriting, false, 'one write at a time');
    this.isWriting = true;
    const packets = new PacketParser().push(Buffer.from(bytes));
    assert.equal(packets.length, 1, 'a write is one packet, no more and no less');
    const sent = packets[0] as Packet;
    this.writes.push(sent);
    setImmediate(() => {
      this.isWriting = false;
      const isWatch = sent.type === PACKET_TYPES.WATCH || sent.type === PACKET_TYPES.UNWATCH;
      if (isWatch && this.errnoOfWatch !== undefined) {
        done(Object.assign(new Error('write'), { code: this.errnoOfWatch }));
        return;
      }
      if (isWatch) this.source.write(encodePacket({ ...sent, requestId: 0, body: Buffer.from('OK\0') }));
      // The kernel's thread sends later, from the one buffer, whatever is then in it.
      this.#buffer = Buffer.from(bytes);
      setImmediate(() => this.#backend.write(this.#buffer));
      done(null);
    });
  };
}

async function deviceRig(t: TestContext, onEvent?: (event: WatchEvent) => void) {
  const kernel = new ModelKernel();
  const device = new XenbusDevice(kernel.source, kernel.write);
  const session = await XenstoreSession.open(device, { peer: 'device', maxUnderWay: 1, ...(onEvent && { onEvent }) });
  t.after(() => session.close());
  return { kernel, device, session };
}

test('writes one packet at a time, however many are asked at once', async (t) => {
  const { kernel, session } = await deviceRig(t);
  const asked = Array.from({ length: 40 }, (_, i) =>
    session.request({ name: 'WRITE', path: `n${i}`, value: `${i}`, decode: decodeOk }),
  ).map((asking) => asking.catch((error: unknown) => error));
  for (const answer of await Promise.all(asked)) assert.ok(isXenstoreError(answer, 'EACCES'), 'a domU without a home');
  assert.equal(kernel.writes.length, 41);
});

test('gives the answers to WATCH and UNWATCH their numbers back, also behind other answers', async (t) => {
  const events: WatchEvent[] = [];
  const { session } = await deviceRig(t, (event) => events.push(event));
  const asked = [
    session.request({ ...read('a'), whenAbsent: { value: '' } }).catch(() => 'refused'),
    session.request(watch('a')),
    session.request(watch('b')),
    session.request({ ...watch('a'), name: 'UNWATCH' }),
    session.request({ ...read('a'), whenAbsent: { value: '' } }).catch(() => 'refused'),
  ];
  assert.deepEqual((await Promise.all(asked)).slice(1, 4), [true, true, true]);
  assert.deepEqual(events.map(({ path }) => path).sort(), ['a', 'b']);
});

test('makes a refusal of an error that a write tells', async (t) => {
  const { kernel, session } = await deviceRig(t);
  kernel.errnoOfWatch = 'E2BIG';
  await assert.rejects(session.request(watch('a')), (error) => isXenstoreError(error, 'E2BIG'));
  kernel.errnoOfWatch = undefined;
  assert.equal(await session.request(watch('b')), true);
});

test('keeps back what would take the watches of the kernel itself', async (t) => {
  const { kernel, session } = await deviceRig(t);
  const reset: Question<true> = { name: 'RESET_WATCHES', text: '\0', decode: decodeOk };
  await assert.rejects(session.request(reset), (error) => isXenstoreError(error, 'ENOSYS'));
  assert.equal(kernel.writes.length, 1, 'only the first question was written');
});

test('ends at any other error', async (t) => {
  const { kernel, session } = await deviceRig(t);
  kernel.errnoOfWatch = 'ENODEV';
  await assert.rejects(session.request(watch('a')), /this machine is no Xen domain/);
  assert.equal(kernel.source.destroyed, true);
});

test('closes its file only when no write is under way', async () => {
  const source = new PassThrough();
  let finish = () => {};
  const device = new XenbusDevice(source, (_bytes, done) => {
    finish = () => done(null);
  });
  device.write(packet('READ', '/a\0', 1));
  device.destroy();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(source.destroyed, false);
  finish();
  assert.equal(source.destroyed, true);
});

test('ends when the device does, or says what is no packet', async (t) => {
  const { kernel, session } = await deviceRig(t);
  kernel.source.write(Buffer.alloc(64, 0xff));
  assert.match((await session.closed).message, /announces 4294967295 bytes/);

  const other = await deviceRig(t);
  other.kernel.source.end();
  assert.match((await other.session.closed).message, /hung up/);
});
