/**
 * The contract of a guest's disks around saves: old memory never meets a newer disk. A checkpoint takes a snapshot of the
 * same moment or is refused, a restore goes back to it, and a disk that has changed without one is found.
 */
import assert from 'node:assert/strict';
import { stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isFault } from '../../src/lib/fault.ts';
import type { DiskConfig, VmConfig } from '../../src/model/vm.ts';
import { type Context, refuses } from './context.ts';

export function testSavedDisks(current: () => Context): void {
  let config: VmConfig;
  let disk: DiskConfig;
  let bootId: string;
  const fileOf = (name: string) => join(current().rig.folder, name);
  const boot = async (format: 'raw' | 'qcow2') => {
    const context = current();
    disk = await current().rig.disks.make(format);
    config = context.makeConfig({ disks: [disk] });
    await context.driver.start(config, { isPaused: false });
    await context.rig.guest(config.uuid).waitReady();
    bootId = await context.rig.guest(config.uuid).bootId();
  };
  const goesOn = async () => {
    const context = current();
    const guest = context.rig.guest(config.uuid);
    await guest.waitReady();
    assert.equal(await guest.bootId(), bootId);
    await context.checkRuns(config.uuid);
  };
  const restore = (file: string, more: { disks?: 'ignore' } = {}) =>
    current().driver.start(config, { isPaused: false, restoreFrom: file, ...more });
  const isThere = (file: string) =>
    stat(file).then(
      () => true,
      () => false,
    );

  after(() => current().destroyAll());

  test('a checkpoint over a disk without snapshots is refused, saying why and what to do', async () => {
    await boot('raw');
    const { driver } = current();
    const file = fileOf('refused.save');
    const isRefusal = (error: unknown) => {
      assert.ok(isFault(error, 'vm.save_failed'), String(error));
      assert.ok(error.message.includes(disk.path), error.message);
      assert.match(error.hint ?? '', /disks=ignore/);
      return true;
    };
    await assert.rejects(driver.checkSave(config.uuid, file, { afterwards: 'running' }), isRefusal);
    await assert.rejects(driver.save(config.uuid, file, { afterwards: 'running' }), isRefusal);
    assert.equal(await isThere(file), false);
    await driver.checkSave(config.uuid, file, { afterwards: 'stopped' });
    await driver.checkSave(config.uuid, file, { afterwards: 'running', disks: 'ignore' });
    await goesOn();
  });

  test('with disks ignored it is made, and is restored only over the disk as it was, or on demand', async () => {
    const { driver, rig } = current();
    const file = fileOf('ignored.save');
    const { warnings } = await driver.save(config.uuid, file, { afterwards: 'running', disks: 'ignore' });
    assert.equal(warnings.length, 1);
    assert.ok(warnings[0]?.includes(disk.path), warnings[0]);
    await goesOn();
    const guest = rig.guest(config.uuid);
    if (guest.writeDisk !== undefined) await guest.writeDisk(disk.target, 'newer');
    else await touch(disk.path);
    await driver.destroy(config.uuid);
    await assert.rejects(restore(file), (error) => {
      assert.ok(isFault(error, 'vm.save_invalid'), String(error));
      assert.match(error.message, /has changed since/);
      return true;
    });
    assert.deepEqual(await driver.list(), []);
    await restore(file, { disks: 'ignore' });
    await goesOn();
  });

  test('a suspend takes a disk of any kind along, and is not restored over another', async () => {
    const { driver } = current();
    const file = fileOf('suspended.save');
    await driver.save(config.uuid, file, { afterwards: 'stopped' });
    await driver.destroy(config.uuid);
    await restore(file);
    await goesOn();
    await driver.save(config.uuid, file, { afterwards: 'stopped' });
    await driver.destroy(config.uuid);
    await touch(disk.path);
    await refuses('vm.save_invalid', restore(file));
    assert.deepEqual(await driver.list(), []);
  });

  test('a checkpoint takes a snapshot of the same moment, and a restore goes back to it, again and again', async (t) => {
    const { driver, rig } = current();
    if (!current().rig.disks.canSnapshot) return t.skip('this driver takes no snapshots');
    await boot('qcow2');
    const { uuid } = config;
    const guest = rig.guest(uuid);
    const write = async (word: string) => await guest.writeDisk?.(disk.target, word);
    const file = fileOf('snapshot.save');
    await write('then');
    await driver.save(uuid, file, { afterwards: 'running' });
    for (let i = 0; i < 2; i++) {
      await goesOn();
      await write('later');
      await driver.destroy(uuid);
      await restore(file);
      await goesOn();
      assert.equal((await guest.readDisk?.(disk.target)) ?? 'then', 'then');
    }
    await driver.discardSave(uuid, file);
    assert.equal(await isThere(file), false);
    await driver.discardSave(uuid, file);
    await write('last');
    assert.equal((await guest.readDisk?.(disk.target)) ?? 'last', 'last');
  });
}

async function touch(path: string): Promise<void> {
  const now = Date.now() / 1000;
  await utimes(path, now, now);
}
