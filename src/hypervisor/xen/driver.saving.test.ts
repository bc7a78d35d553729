import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { failing, fakeXen } from './testing/fake-xen.ts';
import { refusal } from './testing/refusal.ts';
import { sampleConfig, sampleSave } from './testing/sample-save.ts';

test('a checkpoint and a suspend leave whole files, and the domain as is due', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  const file = join(xen.folder, 'vm1.save');
  const progress: number[] = [];
  await driver.save(uuid, file, { afterwards: 'running', onProgress: (bytes) => progress.push(bytes) });
  assert.equal((await driver.find(uuid))?.run, 'running');
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const written: boolean[] = [];
  await driver.save(uuid, file, { afterwards: 'stopped', onWritten: () => written.push(existsSync(file)) });
  assert.deepEqual([written, await driver.find(uuid), xen.domains], [[true], undefined, []]);
  assert.deepEqual(
    (await readdir(xen.folder)).filter((name) => name.includes('usher-tmp')),
    [],
  );
  const restored = await driver.start(xen.config(1), { isPaused: false, restoreFrom: file });
  assert.equal(restored.run, 'running');
  assert.deepEqual(xen.words.at(-2)?.slice(0, 3), ['restore', '-e', '-p']);
});

test('a save that fails leaves the file and the guest as they were', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  const file = join(xen.folder, 'vm1.save');
  const whole = sampleSave({ config: sampleConfig(uuid) });
  await writeFile(file, whole);
  const fails = async (says: RegExp) => {
    const fault = await refusal('vm.save_failed', driver.save(uuid, file, { afterwards: 'stopped' }));
    assert.match(fault.message, says);
    assert.equal((await driver.find(uuid))?.run, 'running');
    assert.deepEqual(await readFile(file), whole);
    assert.deepEqual(await readdir(join(xen.runtimeDir, uuid)), ['console.sock', 'xl.cfg']);
  };
  xen.commands.set('save', () => failing('guest did not suspend'));
  await fails(/guest did not suspend/);
  xen.commands.delete('save');
  xen.save = whole.subarray(0, -1);
  await fails(/before the end of the state/);
  xen.save = Buffer.from('this was never a guest\n'.repeat(10));
  await fails(/not written by xl save/);
  xen.save = undefined;
  const onWritten = () => {
    throw new Error('the memory is full');
  };
  const unnoted = driver.save(uuid, join(xen.folder, 'unnoted'), { afterwards: 'stopped', onWritten });
  assert.match((await refusal('vm.save_failed', unnoted)).message, /the memory is full/);
  assert.equal((await driver.find(uuid))?.run, 'running');
});

test('what stands in the way of a save is left alone', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  const diary = join(xen.folder, 'diary');
  await writeFile(diary, 'dear diary');
  await refusal('vm.save_failed', driver.save(uuid, diary, { afterwards: 'stopped' }));
  await refusal('vm.save_failed', driver.save(uuid, join(xen.folder, 'none/x'), { afterwards: 'stopped' }));
  assert.equal(await readFile(diary, 'utf8'), 'dear diary');
  const theirs = join(xen.folder, 'theirs.save');
  const whole = sampleSave({ config: sampleConfig(xen.config(2).uuid) });
  for (const content of [whole, whole.subarray(0, -200), Buffer.concat([whole, Buffer.alloc(4096, 'x')])]) {
    await writeFile(theirs, content);
    const fault = await refusal('vm.save_failed', driver.save(uuid, theirs, { afterwards: 'running' }));
    assert.match(fault.message, new RegExp(`the save of another VM .*${xen.config(2).uuid}`));
    assert.deepEqual(await readFile(theirs), content);
  }
  assert.ok(!xen.words.some(([command]) => command === 'save'));
});

test('while it is saved it is told so, and destroying it ends the save', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  xen.commands.set('save', () => undefined);
  const file = join(xen.folder, 'vm1.save');
  const save = refusal('aborted', driver.save(uuid, file, { afterwards: 'stopped' }));
  await xen.until('xl', () => xen.words.find(([command]) => command === 'save'));
  assert.equal((await driver.find(uuid))?.run, 'saving');
  const second = await refusal('vm.save_failed', driver.save(uuid, file, { afterwards: 'stopped' }));
  assert.match(second.message, /another save is going on/);
  await driver.destroy(uuid);
  await save;
  assert.deepEqual([xen.domains, existsSync(file)], [[], false]);
});

test('a checkpoint over a disk is refused unless it is ignored, and its restore unless the disk is as it was', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const disk = join(xen.folder, 'a.img');
  await writeFile(disk, 'then');
  xen.disks = [{ pdev_path: disk, vdev: 'xvda', format: 'raw', readwrite: 1 }];
  const disks = [{ path: disk, format: 'raw', target: 'xvda', isReadOnly: false, kind: 'disk' } as const];
  const config = xen.config(1, { disks });
  const { uuid } = await driver.start(config, { isPaused: false });
  const file = join(xen.folder, 'vm1.save');
  const fault = await refusal('vm.save_failed', driver.save(uuid, file, { afterwards: 'running' }));
  assert.match(
    fault.message,
    /older than its disk xvda \(raw, .*a\.img\), of which no snapshot can be taken: xl saves/,
  );
  await refusal('vm.save_failed', driver.checkSave(uuid, file, { afterwards: 'running' }));
  assert.ok(!xen.words.some(([command]) => command === 'save'));
  const report = await driver.save(uuid, file, { afterwards: 'running', isLive: true, disks: 'ignore' });
  assert.equal(report.isLive, false);
  assert.match(report.warnings.join(), /memory of VM vm1 alone/);
  await driver.destroy(uuid);
  const warnings: string[] = [];
  const options = { isPaused: false, restoreFrom: file, onWarning: (sentence: string) => warnings.push(sentence) };
  await driver.start(config, options);
  assert.deepEqual(warnings, []);
  await driver.destroy(uuid);
  await writeFile(disk, 'later');
  assert.match((await refusal('vm.save_invalid', driver.start(config, options))).message, /has changed since/);
  await driver.start(config, { ...options, disks: 'ignore' });
  await driver.destroy(uuid);
  await writeFile(file, sampleSave({ config: sampleConfig(uuid) }));
  await driver.start({ ...config, disks: [] }, options);
  assert.match(warnings.join(), /has no checksum/);
});

test('a disk that is not understood stands in the way of a checkpoint too', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  xen.disks = [{ pdev_path: '/img', vdev: 'xvda', format: 'qed', readwrite: 1 }];
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  const file = join(xen.folder, 'vm1.save');
  const fault = await refusal('vm.save_failed', driver.checkSave(uuid, file, { afterwards: 'running' }));
  assert.match(fault.message, /the disk xvda of a kind that is not known/);
  await driver.checkSave(uuid, file, { afterwards: 'stopped' });
});
