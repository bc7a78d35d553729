import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { isFault } from '../../lib/fault.ts';
import { newUuid } from '../../model/ids.ts';
import type { VmConfig } from '../../model/vm.ts';
import { topologyOf } from '../topology.ts';
import {
  formatHeader,
  HEADER_BYTES,
  openSaveFile,
  parseHeader,
  readSaveHeader,
  type SaveHeader,
  streamOf,
} from './save-file.ts';

const config: VmConfig = {
  uuid: newUuid(),
  name: 'work',
  driver: 'qemu',
  memoryMiB: 256,
  vcpus: 2,
  disks: [{ path: '/d', format: 'raw', target: 'vda', isReadOnly: false, kind: 'disk' }],
  startup: { do: 'started' },
  onCrash: 'destroy',
  onHalt: 'destroy',
  onReboot: 'destroy',
  usbControllers: [{ type: 'auto', version: 3, ports: 8 }],
};
const stream = Buffer.alloc(3 * 1024 * 1024 + 17, 'state');

function header(changes: Partial<SaveHeader> = {}): SaveHeader {
  return {
    saveId: 'a',
    uuid: config.uuid,
    name: config.name,
    driver: 'qemu',
    qemu: '7.2.22',
    machine: 'pc-q35-7.2',
    accelerator: 'tcg',
    topology: topologyOf(config),
    disks: [{ target: 'vda', stamp: '8388608.1764337274123456789' }],
    createdAt: 1,
    streamBytes: stream.length,
    sha256: createHash('sha256').update(stream).digest('hex'),
    ...changes,
  };
}

let path: string;
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-save-'));
  path = join(folder, 'work.save');
});
after(() => rm(folder, { recursive: true }));

async function refusal(content: Buffer, changes: Partial<VmConfig> = {}): Promise<string> {
  await writeFile(path, content);
  return openSaveFile(path, { ...config, ...changes }, undefined).then(
    ({ file }) => file.close().then(() => 'accepted'),
    (error: unknown) => (isFault(error, 'vm.save_invalid') ? String(error.details['what']) : Promise.reject(error)),
  );
}

test('a whole file is accepted, and gives back its stream', async () => {
  await writeFile(path, Buffer.concat([formatHeader(header()), stream]));
  assert.deepEqual(await readSaveHeader(path), header());
  const { file, header: read } = await openSaveFile(path, config, undefined);
  const chunks: Buffer[] = [];
  for await (const chunk of streamOf(file)) chunks.push(Buffer.from(chunk));
  await file.close();
  assert.deepEqual(read, header());
  assert.ok(Buffer.concat(chunks).equals(stream));
});

test('a file that does not fit the VM is refused, saying what differs', async () => {
  const whole = Buffer.concat([formatHeader(header()), stream]);
  assert.match(await refusal(whole, { uuid: newUuid() }), /the save of another VM \(work, uuid /);
  assert.match(await refusal(whole, { memoryMiB: 512 }), /saved with memory "256 MiB".*"512 MiB"/);
  assert.match(await refusal(whole, { vcpus: 1 }), /vcpus/);
  assert.match(await refusal(whole, { usbControllers: [] }), /controllers "v3p8"/);
  assert.match(await refusal(whole, { disks: [] }), /disks "vda:disk:raw"/);
  assert.match(await refusal(whole, { serial: 'pty' }), /serial/);
});

test('a damaged file is refused', async () => {
  const whole = Buffer.concat([formatHeader(header()), stream]);
  assert.match(await refusal(Buffer.concat([whole, Buffer.from('x')])), /bytes instead of/);
  assert.match(await refusal(whole.subarray(0, -1)), /bytes instead of/);
  const flipped = Buffer.from(whole);
  flipped[HEADER_BYTES + 100_000] = 0;
  assert.match(await refusal(flipped), /checksum/);
  for (const bytes of [0, 9, HEADER_BYTES - 1]) {
    await writeFile(path, whole);
    await truncate(path, bytes);
    assert.equal(await readSaveHeader(path), undefined);
  }
  await rm(path);
  await assert.rejects(openSaveFile(path, config, undefined), /is not there/);
  await assert.rejects(openSaveFile(folder, config, undefined), (error) => isFault(error, 'vm.save_invalid'));
});

test('a pipe is refused at once, by whoever reads it', async () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await assert.rejects(openSaveFile(pipe, config, undefined), /cannot be used: it is not a regular file\.$/);
  await assert.rejects(readSaveHeader(pipe), /not a regular file/);
});

test('no header can be forged into a word of the command line, and garbage is no header', () => {
  assert.equal(parseHeader(formatHeader(header({ machine: 'q35,kernel=/etc/shadow' }))), undefined);
  const disks = [{ target: 'vda', snapshot: '-d usher --image-opts driver=host_device' }];
  assert.equal(parseHeader(formatHeader(header({ disks }))), undefined);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: HEADER_BYTES }), (bytes) => {
      const garbage = Buffer.alloc(HEADER_BYTES);
      garbage.set(bytes);
      return parseHeader(garbage) === undefined;
    }),
  );
});
