/** The snapshots that a checkpoint leaves in qcow2 images: taken, gone back to, and removed with the file; never half. */
import assert from 'node:assert/strict';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Driver } from '../../src/hypervisor/driver.ts';
import { formatHeader, HEADER_BYTES, readSaveHeader } from '../../src/hypervisor/qemu/save-file.ts';
import { takeSnapshots } from '../../src/hypervisor/qemu/snapshots.ts';
import { exec } from '../../src/lib/exec.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import { connectQmp } from '../../src/wire/qmp/session.ts';
import { refuses } from '../contract/context.ts';
import { makeQemuRig, type QemuRig } from '../contract/qemu-rig.ts';

let rig: QemuRig;
let driver: Driver;
before(async () => {
  rig = await makeQemuRig();
  driver = await rig.openDriver();
});
after(async () => {
  for (const { uuid } of await driver.list()) await driver.destroy(uuid);
  await driver.close();
  await rig.close();
});

/** Starts a VM with two disks that never runs: what is on them is written from outside. */
async function start(): Promise<{ config: VmConfig; file: string }> {
  const first = await rig.disks.make('qcow2');
  const second = { ...(await rig.disks.make('qcow2')), target: 'vdb' };
  const config = rig.makeConfig({ disks: [first, second] });
  for (const { path } of config.disks) await fill(path, 1);
  await driver.start(config, { isPaused: true });
  return { config, file: join(rig.folder, `${config.name}.save`) };
}

async function snapshotsOf(config: VmConfig): Promise<string[]> {
  const names = await Promise.all(
    config.disks.map(async ({ path }) => {
      const { stdout } = await exec(['qemu-img', 'info', '-U', '--output=json', path], { timeoutMs: 60_000 });
      return (JSON.parse(stdout) as { snapshots?: { name: string }[] }).snapshots?.map(({ name }) => name) ?? [];
    }),
  );
  assert.deepEqual(names[0], names[1], 'both disks have the same');
  return names[0] ?? [];
}

function fill(path: string, pattern: number) {
  return exec(['qemu-io', '-f', 'qcow2', '-c', `write -P ${pattern} 0 64k`, path], { timeoutMs: 60_000 });
}

async function has(path: string, pattern: number): Promise<boolean> {
  const words = ['qemu-io', '-f', 'qcow2', '-c', `read -P ${pattern} 0 64k`, path] as const;
  const { stdout, status } = await exec([...words], { timeoutMs: 60_000, accept: [1] });
  return status === 0 && !stdout.includes('Pattern verification failed');
}

async function holdsAll(config: VmConfig, pattern: number): Promise<boolean> {
  const found = await Promise.all(config.disks.map(({ path }) => has(path, pattern)));
  return found.every((is) => is);
}

const checkpoint = { afterwards: 'running', isLive: true } as const;

test('they go with their file: replaced by another checkpoint, or discarded; a suspend in its place says that they stay', async () => {
  const { config, file } = await start();
  const { uuid } = config;
  await driver.save(uuid, file, checkpoint);
  const first = await snapshotsOf(config);
  assert.equal(first.length, 1);
  await driver.save(uuid, file, checkpoint);
  const second = await snapshotsOf(config);
  assert.deepEqual([second.length, second[0] === first[0]], [1, false]);
  assert.equal((await driver.find(uuid))?.run, 'paused');
  await driver.discardSave(uuid, file);
  assert.deepEqual(await snapshotsOf(config), []);
  await driver.save(uuid, file, checkpoint);
  const { warnings } = await driver.save(uuid, file, { afterwards: 'stopped' });
  assert.deepEqual([warnings.length, (await snapshotsOf(config)).length], [2, 1], 'a suspend touches no disk any more');
  await driver.start(config, { isPaused: true, restoreFrom: file });
  await driver.destroy(uuid);
});

test('a checkpoint that is given up leaves none', async () => {
  const { config, file } = await start();
  const control = new AbortController();
  const onProgress = () => control.abort();
  await refuses('aborted', driver.save(config.uuid, file, { ...checkpoint, signal: control.signal, onProgress }));
  assert.deepEqual(await snapshotsOf(config), []);
  assert.equal((await driver.find(config.uuid))?.run, 'paused');
  await driver.destroy(config.uuid);
});

test('a restore goes back to them; one that fails, or is refused, leaves the disks as they were', async () => {
  const { config, file } = await start();
  const { uuid } = config;
  await driver.save(uuid, file, checkpoint);
  const [name = ''] = await snapshotsOf(config);
  await driver.destroy(uuid);
  for (const { path } of config.disks) await fill(path, 2);
  const restore = (more: { disks?: 'ignore' } = {}) =>
    driver.start(config, { isPaused: true, restoreFrom: file, ...more });
  const header = await readSaveHeader(file);
  assert.ok(header);

  await writeHeader(file, formatHeader({ ...header, machine: 'pc-q35-99.9' }));
  await refuses('vm.save_invalid', restore());
  assert.deepEqual([await snapshotsOf(config), await holdsAll(config, 2)], [[name], true]);
  await writeHeader(file, formatHeader(header));

  await restore({ disks: 'ignore' });
  await driver.destroy(uuid);
  assert.equal(await holdsAll(config, 2), true);

  await restore();
  assert.deepEqual(await snapshotsOf(config), [name]);
  await driver.destroy(uuid);
  assert.equal(await holdsAll(config, 1), true);

  for (const { path } of config.disks) await fill(path, 3);
  await exec(['qemu-img', 'snapshot', '-d', name, config.disks[1]?.path ?? ''], { timeoutMs: 60_000 });
  await assert.rejects(restore(), /no longer has the snapshot/);
  assert.equal(await holdsAll(config, 3), true);
});

test('a daemon that died in a checkpoint is followed by one that removes them', async () => {
  const { config, file: path } = await start();
  const runtime = rig.runtimeOf(config.uuid);
  await driver.close();
  const snapshots = ['disk-0', 'disk-1'].map((node) => ({ node, name: `usher-${config.uuid}` }));
  const session = await connectQmp(join(runtime, 'qmp.sock'));
  await takeSnapshots(session, snapshots);
  session.close();
  const note = { saveId: config.uuid, path, afterwards: 'running', wasRunning: false, snapshots };
  await writeFile(join(runtime, 'save.json'), JSON.stringify(note));
  assert.equal((await snapshotsOf(config)).length, 1);
  driver = await rig.openDriver();
  assert.equal((await driver.find(config.uuid))?.run, 'paused');
  assert.deepEqual(await snapshotsOf(config), []);
  await driver.destroy(config.uuid);
});

async function writeHeader(path: string, header: Buffer): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.write(header, 0, HEADER_BYTES, 0);
  } finally {
    await file.close();
  }
}
