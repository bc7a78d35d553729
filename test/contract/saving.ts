/**
 * The contract of save and restore: whole or not at all, the guest goes on when it fails, restore goes on from the same
 * memory. The tests of one guest follow each other, for a boot is expensive.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { cp, lstat, open, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { exec } from '../../src/lib/exec.ts';
import { newUuid } from '../../src/model/ids.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import { type Context, kindOf, refuses } from './context.ts';

/** How long a guest is away whose clock is looked at afterwards. */
const CLOCK_TEST_MS = 10_000;

export function testSaving(current: () => Context): void {
  let config: VmConfig;
  let bootId: string;
  let ticks = 0;
  let hash: string;
  const fileOf = (name: string) => join(current().rig.folder, name);
  const suspendFile = () => fileOf('suspend.save');

  before(async () => {
    config = await current().boot();
    bootId = await current().rig.guest(config.uuid).bootId();
  });
  after(() => current().destroyAll());

  test('a file that cannot be written is a fault, and the guest goes on', async () => {
    const context = current();
    await writeFile(fileOf('file'), 'x');
    for (const path of [fileOf('file/below.save'), fileOf('no-such-folder/x.save'), '/proc/usher-contract.save']) {
      for (const afterwards of ['stopped', 'running'] as const) {
        await refuses('vm.save_failed', context.driver.save(config.uuid, path, { afterwards }));
      }
    }
    assert.deepEqual(await savesIn(context), []);
    await context.checkRuns(config.uuid);
  });

  test('a full file system is a fault, and the guest goes on', async (t) => {
    const context = current();
    const { fullFolder } = context.rig;
    if (fullFolder === undefined) return t.skip('this rig has no full file system');
    const before = await readdir(fullFolder);
    await refuses(
      'vm.save_failed',
      context.driver.save(config.uuid, join(fullFolder, 'x.save'), { afterwards: 'stopped' }),
    );
    assert.deepEqual(await readdir(fullFolder), before);
    await context.checkRuns(config.uuid);
  });

  test('a save that is given up leaves the file as it was, and the guest goes on', async () => {
    const context = current();
    const path = fileOf('given-up.save');
    await context.driver.save(config.uuid, path, { afterwards: 'running' });
    const older = await hashOf(path);
    const giveUp = (signal: AbortSignal) =>
      refuses('aborted', context.driver.save(config.uuid, path, { afterwards: 'stopped', signal }));
    await giveUp(AbortSignal.abort());
    const controller = new AbortController();
    const save = giveUp(controller.signal);
    controller.abort();
    await save;
    assert.equal(await hashOf(path), older);
    assert.deepEqual(await savesIn(context), ['given-up.save']);
    await context.checkRuns(config.uuid);
  });

  test('what is no save is never replaced, and the guest goes on', async () => {
    const context = current();
    const [file, link, pipe] = [fileOf('stick.img'), fileOf('link'), fileOf('pipe')];
    await writeFile(file, 'a disk, a config, a diary');
    await symlink(fileOf('given-up.save'), link);
    await exec(['mkfifo', pipe], { timeoutMs: 10_000 });
    const before = await readdir(context.rig.folder);
    for (const path of [file, link, pipe, context.rig.folder]) {
      const kind = (await lstat(path)).mode;
      for (const afterwards of ['stopped', 'running'] as const) {
        await refuses('vm.save_failed', context.driver.save(config.uuid, path, { afterwards }));
      }
      assert.equal((await lstat(path)).mode, kind);
    }
    assert.equal(await readFile(file, 'utf8'), 'a disk, a config, a diary');
    assert.deepEqual(await readdir(context.rig.folder), before);
    await context.checkRuns(config.uuid);
  });

  test('an empty file, as mktemp makes one, becomes a save, and a save another', async () => {
    const context = current();
    const path = fileOf('empty-first.save');
    await writeFile(path, '');
    for (let i = 0; i < 2; i++) {
      const { ino } = await stat(path);
      await context.driver.save(config.uuid, path, { afterwards: 'running' });
      const now = await stat(path);
      assert.ok(now.size > 0 && now.ino !== ino);
    }
    await context.checkRuns(config.uuid);
  });

  test('a checkpoint is a whole file, and the guest goes on', async () => {
    const context = current();
    const path = fileOf('checkpoint.save');
    await context.driver.save(config.uuid, path, { afterwards: 'running' });
    assert.ok((await stat(path)).size > 0);
    await context.checkRuns(config.uuid);
    assert.equal(await context.rig.guest(config.uuid).bootId(), bootId);
  });

  test('a save says how long the guest stood still, and live that is shorter', async () => {
    const { driver, rig } = current();
    const shortest = async (isLive: boolean) => {
      const pauses: number[] = [];
      for (let i = 0; i < (rig.savesLive === 'measurably' ? 3 : 1); i++) {
        const report = await driver.save(config.uuid, fileOf('live.save'), { afterwards: 'running', isLive });
        assert.equal(report.isLive, isLive && rig.savesLive !== 'never');
        pauses.push(report.pausedMs);
      }
      return Math.min(...pauses);
    };
    const [live, plain] = [await shortest(true), await shortest(false)];
    if (rig.savesLive === 'measurably') assert.ok(live < plain, `live ${live} ms, plainly ${plain} ms`);
    await current().checkRuns(config.uuid);
  });

  test('a checkpoint of a paused domain leaves it paused, again and again', async () => {
    const context = current();
    await context.driver.pause(config.uuid);
    for (let i = 0; i < 2; i++) {
      const { pausedMs } = await context.driver.save(config.uuid, fileOf('paused.save'), { afterwards: 'running' });
      assert.deepEqual([pausedMs, (await context.find(config.uuid)).run], [0, 'paused']);
    }
    await context.driver.unpause(config.uuid);
    await context.checkRuns(config.uuid);
  });

  test('with a device attached nothing is saved, and the guest goes on', async () => {
    const context = current();
    const device = await context.rig.makeDevice(kindOf(context));
    const attachment = await context.driver.attachDevice(config.uuid, { controller: 0, port: 1 }, device);
    const path = fileOf('attached.save');
    await refuses('vm.save_failed', context.driver.save(config.uuid, path, { afterwards: 'stopped' }));
    await assert.rejects(stat(path));
    await context.checkRuns(config.uuid);
    await context.driver.detachDevice(config.uuid, attachment);
  });

  test('a suspend whose file cannot be noted is given up, and the guest goes on', async () => {
    const { driver } = current();
    const onWritten = () => {
      throw new Error('the memory is full');
    };
    await assert.rejects(driver.save(config.uuid, fileOf('unnoted.save'), { afterwards: 'stopped', onWritten }));
    await current().checkRuns(config.uuid);
  });

  test('a suspend ends the domain and leaves a whole file', async () => {
    const context = current();
    const { uuid } = config;
    ticks = await context.rig.guest(uuid).ticks();
    const written: string[] = [];
    const onWritten = () => written.push(basename(suspendFile()));
    await context.driver.save(uuid, suspendFile(), { afterwards: 'stopped', onWritten });
    assert.deepEqual(written, ['suspend.save'], 'it is told once, when the file is whole');
    const left = await context.driver.find(uuid);
    if (left !== undefined) assert.deepEqual([left.run, left.death?.reason], ['dead', 'suspend']);
    await context.driver.destroy(uuid);
    assert.equal((await savesIn(context)).includes('suspend.save'), true);
    assert.equal((await stat(suspendFile())).mode & 0o777, 0o600);
    hash = await hashOf(suspendFile());
  });

  test('a file that is no save of this VM is a fault, and no domain is left', async () => {
    const context = current();
    const { driver } = context;
    const restore = (restoreFrom: string, changes?: Partial<VmConfig>) =>
      refuses('vm.save_invalid', driver.start({ ...config, ...changes }, { isPaused: false, restoreFrom }));
    await writeFile(fileOf('garbage.save'), 'this was never a guest\n'.repeat(1000));
    await writeFile(fileOf('empty.save'), '');
    await cp(suspendFile(), fileOf('cut.save'));
    await truncate(fileOf('cut.save'), Math.floor((await stat(suspendFile())).size / 2));
    await cp(suspendFile(), fileOf('damaged.save'));
    await flipByte(fileOf('damaged.save'));
    // A pipe without a writer, for one who opens it: nothing may wait for it.
    for (const name of ['garbage.save', 'empty.save', 'cut.save', 'damaged.save', 'missing.save', 'pipe', '.'])
      await restore(fileOf(name));
    await restore(suspendFile(), { uuid: newUuid() });
    await restore(suspendFile(), { memoryMiB: config.memoryMiB + 4 });
    assert.deepEqual(await driver.list(), []);
  });

  test('a restore goes on from the same memory, and the file stays as it is', async () => {
    const context = current();
    const { uuid } = config;
    const restored = await context.driver.start(config, { isPaused: false, restoreFrom: suspendFile() });
    assert.equal(restored.run, 'running');
    await checkSameMemory(context);
    assert.equal(await hashOf(suspendFile()), hash);
    await refuses('vm.exists', context.driver.start(config, { isPaused: false, restoreFrom: suspendFile() }));
    await context.checkRuns(uuid);
  });

  test('a checkpoint can be restored too, paused, and again', async () => {
    const context = current();
    const { uuid } = config;
    for (let i = 0; i < 2; i++) {
      await context.driver.destroy(uuid);
      const restored = await context.driver.start(config, { isPaused: true, restoreFrom: fileOf('checkpoint.save') });
      assert.equal(restored.run, 'paused');
    }
    await context.driver.unpause(uuid);
    ticks = 0; // The checkpoint is older than the suspend.
    await checkSameMemory(context);
  });

  test('a live suspend is restored as any other, with the time of day that it is then', async () => {
    const context = current();
    const { driver, rig } = context;
    const { uuid } = config;
    const guest = rig.guest(uuid);
    const lag = async () => Date.now() / 1000 - ((await guest.seconds?.()) ?? Number.NaN);
    const before = await lag();
    ticks = await guest.ticks();
    const file = fileOf('live-suspend.save');
    const report = await driver.save(uuid, file, { afterwards: 'stopped', isLive: true });
    assert.equal(report.isLive, rig.savesLive !== 'never');
    await driver.destroy(uuid);
    if (rig.setsClock) await rig.elapse(CLOCK_TEST_MS);
    await driver.start(config, { isPaused: false, restoreFrom: file });
    await checkSameMemory(context);
    if (!rig.setsClock) return;
    const slip = (await lag()) - before;
    assert.ok(Math.abs(slip) < CLOCK_TEST_MS / 2000, `the clock of the guest is ${slip} s behind`);
  });

  async function checkSameMemory(context: Context): Promise<void> {
    const guest = context.rig.guest(config.uuid);
    await guest.waitReady();
    assert.equal(await guest.bootId(), bootId);
    assert.ok((await guest.ticks()) >= ticks);
    await context.checkRuns(config.uuid);
  }
}

/** Damages the middle of a file. */
async function flipByte(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const at = Math.floor((await file.stat()).size / 2);
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
    await file.write(Buffer.from([(buffer[0] ?? 0) ^ 0xff]), 0, 1, at);
  } finally {
    await file.close();
  }
}

/** Names of the save files in the rig's folder, half ones too. */
async function savesIn(context: Context): Promise<string[]> {
  return (await readdir(context.rig.folder)).filter((name) => name.includes('.save')).sort();
}

/** Gives the SHA-256 of a file that may be as large as a guest's memory. */
async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
