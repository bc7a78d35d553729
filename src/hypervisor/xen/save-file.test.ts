import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { type Fault, isFault } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { VmConfig } from '../../model/vm.ts';
import { openSaveFile } from './save-file.ts';
import { formatTrailer, type SaveTrailer, whyOtherXen } from './save-trailer.ts';
import { parseSavedConfig } from './saved-config.ts';
import { sampleConfig, sampleSave } from './testing/sample-save.ts';

const UUID = '6f1c2d3e-0000-4000-8000-000000000001' as VmUuid;
const CONFIG: VmConfig = {
  uuid: UUID,
  name: 'web',
  driver: 'xen',
  kernel: '/boot/vmlinuz',
  memoryMiB: 192,
  vcpus: 1,
  disks: [],
  startup: { do: 'started' },
  onCrash: 'destroy',
  onHalt: 'destroy',
  onReboot: 'restart',
  usbControllers: [],
};

let folder: string;
let path: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-xen-save-'));
  path = join(folder, 'web.save');
});
after(() => rm(folder, { recursive: true }));

async function refusal(config: VmConfig = CONFIG, file = path, signal?: AbortSignal): Promise<Fault> {
  try {
    await (await openSaveFile(file, config, signal)).file.close();
  } catch (error) {
    if (isFault(error)) return error;
    throw error;
  }
  return assert.fail('it was accepted');
}

test('a whole file of this VM is opened, with what it says of the guest', async () => {
  const bytes = sampleSave({ config: sampleConfig(UUID.toUpperCase()), pages: [Buffer.alloc(1_000_000)] });
  await writeFile(path, bytes);
  const opened = await openSaveFile(path, CONFIG, undefined);
  await opened.file.close();
  assert.equal(opened.bytes, bytes.length);
  assert.deepEqual(opened.saved.controllers, [{ type: 'qusb', version: 2, ports: 8 }]);
});

test('the emulated controllers of an HVM guest are found where its device model had them', async () => {
  const json = JSON.parse(sampleConfig(UUID)) as Record<string, unknown>;
  const hvm = (more: object) =>
    JSON.stringify({
      ...json,
      c_info: { type: 'hvm', name: 'web', uuid: UUID },
      usbctrls: [{ type: 'devicemodel', devid: 1, version: 3, ports: 8 }],
      ...more,
    });
  const state = Buffer.concat([Buffer.alloc(8 + 5000), Buffer.from('\x04\0\0\0\x07\x110000:00:05.0/xhci', 'latin1')]);
  const config: VmConfig = { ...CONFIG, virtMode: 'hvm' };
  const pages = [Buffer.alloc(70_000)];
  await writeFile(path, sampleSave({ config: hvm({}), pages, emulator: [state] }));
  const { file, emulated, saved } = await openSaveFile(path, config, undefined);
  await file.close();
  assert.deepEqual(emulated, [{ index: 1, version: 3, ports: 8, pciSlot: 5 }]);
  assert.deepEqual(saved.controllers, []);
  const both = [
    { type: 'devicemodel', devid: 0, version: 3, ports: 8 },
    { type: 'qusb', devid: 1, version: 2, ports: 8 },
  ];
  await writeFile(path, sampleSave({ config: hvm({ usbctrls: both }), pages, emulator: [state] }));
  assert.match((await refusal(config)).message, /emulated and PV USB controllers at once/);
  await writeFile(path, sampleSave({ config: hvm({}), pages }));
  assert.match((await refusal(config)).message, /does not tell where its USB controllers were/);
  await writeFile(path, sampleSave({ config: hvm({ usbctrls: [] }), pages }));
  await (await openSaveFile(path, config, undefined)).file.close();
});

test('a file that is cut is refused, and is told as such', async () => {
  const bytes = sampleSave({ config: sampleConfig(UUID), pages: [Buffer.alloc(100_000), Buffer.alloc(77)] });
  for (const length of [0, 1, 47, 60, 1000, 50_000, bytes.length - 90, bytes.length - 1]) {
    await writeFile(path, bytes);
    await truncate(path, length);
    const { code, message } = await refusal();
    assert.deepEqual([code, message.includes(`cut off after ${length} bytes`)], ['vm.save_invalid', true], message);
  }
});

test('what is no save, or not there, or no file, is refused', async () => {
  await writeFile(path, 'this was never a guest\n'.repeat(1000));
  assert.match((await refusal()).message, /not written by xl save/);
  await writeFile(path, sampleSave({ config: 'no JSON' }));
  assert.match((await refusal()).message, /the config in it is not understood/);
  assert.match((await refusal(CONFIG, join(folder, 'none'))).message, /it is not there/);
  assert.match((await refusal(CONFIG, folder)).message, /not a regular file/);
});

test('a save of another VM, or of this one as it was, is refused with the difference', async () => {
  await writeFile(path, sampleSave({ config: sampleConfig(UUID, { name: 'w\u001beb' }) }));
  const other = '6f1c2d3e-0000-4000-8000-000000000002' as VmUuid;
  assert.match((await refusal({ ...CONFIG, uuid: other })).message, /another VM \(w\\u\{1b\}eb, uuid 6f1c2d3e/);
  assert.match(
    (await refusal({ ...CONFIG, memoryMiB: 256 })).message,
    /memory "192 MiB", and VM web now has "256 MiB"/,
  );
  assert.match((await refusal({ ...CONFIG, vcpus: 2 })).message, /vcpus "1", and VM web now has "2"/);
  assert.match((await refusal({ ...CONFIG, virtMode: 'pvh' })).message, /kind "pv", and VM web now has "pvh"/);
  const disk = { path: '/a', format: 'raw', target: 'xvda', isReadOnly: false, kind: 'disk' } as const;
  assert.match((await refusal({ ...CONFIG, disks: [disk] })).message, /disks "", and VM web now has "xvda:disk:raw"/);
});

const streamBytes = 100_000;
const trailerOf = (stream: Buffer, changes: Partial<SaveTrailer> = {}) =>
  formatTrailer({
    ...{ uuid: UUID, name: 'web', driver: 'xen', xen: '4.17', createdAt: 1, disks: [{ target: 'xvda', stamp: '1.2' }] },
    topology: { kind: 'pv', memory: '192 MiB', vcpus: '1', disks: '' },
    ...{ streamBytes: stream.length, crc32: crc32(stream).toString(16).padStart(8, '0'), ...changes },
  });

test('what Usher wrote behind the stream is read back, and damage anywhere is found by it', async () => {
  const stream = sampleSave({ config: sampleConfig(UUID), pages: [Buffer.alloc(streamBytes, 7)] });
  const whole = Buffer.concat([stream, trailerOf(stream)]);
  await writeFile(path, whole);
  const { file, trailer, bytes } = await openSaveFile(path, CONFIG, undefined);
  await file.close();
  assert.deepEqual([trailer?.disks, bytes], [[{ target: 'xvda', stamp: '1.2' }], stream.length]);
  const flipped = Buffer.from(whole);
  flipped[stream.length - 50_000] = 0;
  await writeFile(path, flipped);
  assert.match((await refusal()).message, /damaged: its checksum is wrong/);
  await writeFile(path, Buffer.concat([stream, trailerOf(stream, { streamBytes: stream.length - 8 })]));
  assert.match((await refusal()).message, /cut off after|bytes instead of/);
  await writeFile(path, Buffer.concat([whole, Buffer.from('x')]));
  assert.match((await refusal()).message, /more behind its end/);
  await writeFile(path, whole.subarray(0, -1));
  assert.match((await refusal()).message, /more behind its end/);
  const disks = [{ target: 'xvda', snapshot: '-d' }];
  await writeFile(path, Buffer.concat([stream, trailerOf(stream, { disks })]));
  assert.match((await refusal()).message, /what Usher wrote at its end is not understood/);
});

test('a newer Xen’s save is told from an older one’s', () => {
  assert.match(whyOtherXen('4.18', '4.17') ?? '', /saved by Xen 4\.18, which is newer than the 4\.17/);
  assert.match(whyOtherXen('5.0', '4.17') ?? '', /newer/);
  for (const [saved, present] of [
    ['4.17', '4.17'],
    ['4.9', '4.17'],
    ['unknown', '4.17'],
    ['4.17', 'unknown'],
  ] as const) {
    assert.equal(whyOtherXen(saved, present), undefined);
  }
});

test('a check can be given up', async () => {
  await writeFile(path, sampleSave({ config: sampleConfig(UUID) }));
  assert.equal((await refusal(CONFIG, path, AbortSignal.abort())).code, 'aborted');
});

test('of libxl’s JSON only what is whole is taken', () => {
  const whole = JSON.parse(sampleConfig(UUID)) as Record<string, Record<string, unknown>>;
  const changed = (part: string, key: string, value: unknown) =>
    JSON.stringify({ ...whole, [part]: { ...whole[part], [key]: value } });
  assert.ok(parseSavedConfig(JSON.stringify(whole)));
  for (const [part, key, value] of [
    ['c_info', 'uuid', 7],
    ['c_info', 'name', undefined],
    ['c_info', 'type', null],
    ['b_info', 'max_vcpus', '1'],
    ['b_info', 'max_memkb', 1.5],
  ] as const) {
    assert.equal(parseSavedConfig(changed(part, key, value)), undefined, `${part}.${key}`);
  }
  for (const text of [
    '',
    'null',
    '[]',
    '7',
    '{"c_info": []}',
    JSON.stringify({ ...whole, usbctrls: [{ type: 'x' }] }),
  ]) {
    assert.equal(parseSavedConfig(text), undefined, text);
  }
  const several = {
    ...whole,
    usbctrls: [
      { type: 'qusb', devid: 1, version: 1, ports: 3 },
      { type: 'qusb', version: 2, ports: 8 },
    ],
  };
  assert.deepEqual(
    parseSavedConfig(JSON.stringify(several))?.controllers.map(({ ports }) => ports),
    [8, 3],
  );
});
