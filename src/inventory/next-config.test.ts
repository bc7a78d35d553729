/** The config that a VM is started with next: its file, and what was changed beside it. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type FaultCode, isFault } from '../lib/fault.ts';
import { newUuid } from '../model/ids.ts';
import { Inventory } from './inventory.ts';

const root = mkdtempSync(join(tmpdir(), 'usher-next-'));
const opened: Inventory[] = [];
after(() => {
  for (const inventory of opened) inventory.close();
  rmSync(root, { recursive: true, force: true });
});
const open = (name: string) => {
  const inventory = new Inventory(join(root, `${name}.db`), { defaultDriver: 'simulator' });
  opened.push(inventory);
  return inventory;
};
const has = (code: FaultCode) => (error: unknown) => isFault(error, code);
const TEXT = 'memory = 64\ndisk = /a:file:hda:w:disk\nvcpus = 2\n';

test('what is set holds at the next start and over a restart of the daemon, and the file stays as it is', async () => {
  const path = join(root, 'set.vm');
  writeFileSync(path, TEXT);
  const inventory = open('set');
  const { uuid } = (await inventory.createVm({ path })).record;
  await inventory.configs.change(uuid, { key: 'memory', value: '128' });
  await inventory.configs.change(uuid, { key: 'disk', value: '/b:file:hdb:w:disk', isAdded: true });
  for (const one of [inventory, open('set')]) {
    const { config } = await one.configs.load(uuid);
    assert.deepEqual(
      [config.memoryMiB, config.vcpus, config.disks.map(({ target }) => target)],
      [128, 2, ['hda', 'hdb']],
    );
    assert.deepEqual((await one.configs.next(uuid, 'memory')).settings, [
      { key: 'memory', value: '128', isChanged: true },
    ]);
    assert.deepEqual((await one.configs.next(uuid, 'vcpus')).settings, [{ key: 'vcpus', value: '2' }]);
    assert.equal((await one.configs.next(uuid, 'disk')).settings.length, 2);
  }
  assert.equal(readFileSync(path, 'utf8'), TEXT);
  writeFileSync(path, TEXT.replace('vcpus = 2', 'vcpus = 3'));
  assert.deepEqual((await inventory.configs.next(uuid, 'vcpus')).settings, [{ key: 'vcpus', value: '3' }]);
  assert.equal((await inventory.configs.load(uuid)).config.memoryMiB, 128);
  unlinkSync(path);
  const { config, warnings } = await inventory.configs.load(uuid);
  assert.deepEqual([config.memoryMiB, config.disks.length], [128, 2], 'the last good content has the changes, once');
  assert.match(warnings.join(), /serves instead/);
});

test('to read the file again, or another, forgets what was set; a broken one changes nothing', async () => {
  const [path, other] = [join(root, 'reread.vm'), join(root, 'other.vm')];
  writeFileSync(path, TEXT);
  writeFileSync(other, 'memory = nonsense\n');
  const inventory = open('reread');
  const { uuid } = (await inventory.createVm({ path })).record;
  await inventory.configs.change(uuid, { key: 'memory', value: '128' });
  await assert.rejects(inventory.configs.reread(uuid, other), has('config.invalid'));
  assert.equal((await inventory.configs.load(uuid)).config.memoryMiB, 128);
  await inventory.configs.reread(uuid);
  assert.equal((await inventory.configs.load(uuid)).config.memoryMiB, 64);
  writeFileSync(other, 'memory = 32\n');
  await inventory.configs.reread(uuid, other);
  assert.deepEqual([inventory.findVm(uuid).path, (await inventory.configs.load(uuid)).config.memoryMiB], [other, 32]);
});

test('what makes no config is refused, and nothing is changed', async () => {
  const path = join(root, 'bad.vm');
  writeFileSync(path, TEXT);
  const inventory = open('bad');
  const { uuid } = (await inventory.createVm({ path })).record;
  const cases: [string, string, FaultCode][] = [
    ['memory', 'much', 'config.invalid'],
    ['disk', '/b:file:hda:w:disk', 'config.invalid'],
    ['colour', 'red', 'config.no_key'],
    ['uuid', newUuid(), 'params.invalid'],
    ['name', 'other', 'params.invalid'],
    ['memory', '5\nkernel = /etc/shadow', 'params.invalid'],
  ];
  for (const [key, value, code] of cases) {
    await assert.rejects(inventory.configs.change(uuid, { key, value, isAdded: key === 'disk' }), has(code), key);
  }
  await assert.rejects(inventory.configs.next(uuid, 'colour'), has('config.no_key'));
  const { config } = await inventory.configs.load(uuid);
  assert.deepEqual([config.memoryMiB, config.disks.length], [64, 1]);
});

test('of a VM that was made without a file the content itself is changed', async () => {
  const inventory = open('content');
  const { uuid } = (await inventory.createVm({ content: TEXT, name: 'a' })).record;
  await inventory.configs.change(uuid, { key: 'memory', value: '128' });
  await inventory.configs.change(uuid, { key: 'disk', value: '/b:file:hdb:w:disk', isAdded: true });
  const { config } = await inventory.configs.load(uuid);
  assert.deepEqual([config.memoryMiB, config.disks.length], [128, 2]);
  await assert.rejects(inventory.configs.reread(uuid), has('params.invalid'));
});

test('a VM that is removed takes its changes with it', async () => {
  const path = join(root, 'gone.vm');
  const uuid = newUuid();
  writeFileSync(path, `uuid = ${uuid}\n${TEXT}`);
  const inventory = open('gone');
  await inventory.createVm({ path });
  await inventory.configs.change(uuid, { key: 'memory', value: '128' });
  inventory.removeVm(uuid);
  await inventory.createVm({ path });
  assert.equal((await inventory.configs.load(uuid)).config.memoryMiB, 64);
});

test('the kind of guest is told by each of the keys that say it', async () => {
  const inventory = open('kind');
  const told = async (content: string) => {
    const { uuid } = (await inventory.createVm({ content })).record;
    const said = await Promise.all(
      ['hvm', 'type', 'virtmode'].map(async (key) => (await inventory.configs.next(uuid, key)).settings),
    );
    return said.map((settings) => settings.map(({ key, value }) => `${key} = ${value}`).join());
  };
  assert.deepEqual(await told('hvm = true\n'), ['hvm = true', 'type = hvm', 'virtmode = hvm']);
  assert.deepEqual(await told('hvm = false\n'), ['hvm = false', 'type = pv', 'virtmode = pv']);
  assert.deepEqual(await told('virtmode = pvh\n'), ['hvm = false', 'type = pvh', 'virtmode = pvh']);
  assert.deepEqual(await told(''), ['', '', '']);
});
