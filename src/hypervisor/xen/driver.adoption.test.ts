import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { domainPaths } from './paths.ts';
import { fakeXen } from './testing/fake-xen.ts';
import { SHUTDOWN_REASON } from './xl-list.ts';

test('a domain whose start was cut off is ended by the next daemon, one that runs is whole', async (t) => {
  const xen = await fakeXen(t);
  const [half, whole, gone] = [xen.config(1), xen.config(2), xen.config(3)];
  for (const { uuid } of [half, whole, gone]) {
    const paths = domainPaths(xen.runtimeDir, '', uuid);
    await mkdir(paths.folder, { recursive: true });
    await writeFile(paths.buildNote, '');
  }
  await xen.create(half.uuid, half.name, true);
  await xen.create(whole.uuid, whole.name);
  const driver = xen.driver();
  assert.deepEqual(
    (await driver.list()).map(({ uuid }) => uuid),
    [whole.uuid],
  );
  assert.deepEqual(
    xen.domains.map(({ uuid }) => uuid),
    [whole.uuid],
  );
  assert.deepEqual(await readdir(xen.runtimeDir), [whole.uuid]);
  assert.equal(existsSync(domainPaths(xen.runtimeDir, '', whole.uuid).buildNote), false);
});

test('a paused domain that has run was paused after its start was cut off: it is left alone', async (t) => {
  const xen = await fakeXen(t);
  const { uuid, name } = xen.config(1);
  const paths = domainPaths(xen.runtimeDir, '', uuid);
  await mkdir(paths.folder, { recursive: true });
  await writeFile(paths.buildNote, '');
  await xen.create(uuid, name);
  xen.domain(uuid).pauses = 1;
  assert.equal((await xen.driver().find(uuid))?.run, 'paused');
});

for (const isWhole of [true, false]) {
  test(`a save of a former daemon is ${isWhole ? 'kept when its file is whole' : 'given up when its file is not'}`, async (t) => {
    const xen = await fakeXen(t);
    const { uuid, name } = xen.config(1);
    const paths = domainPaths(xen.runtimeDir, '', uuid);
    const file = join(xen.folder, 'vm1.save');
    await mkdir(paths.folder, { recursive: true });
    await writeFile(file, 'x');
    await writeFile(join(xen.folder, '.vm1.save.12345678.usher-tmp'), 'half');
    const { dev, ino, size, mtimeNs } = await stat(file, { bigint: true });
    const note = {
      path: file,
      afterwards: 'stopped',
      wasRunning: true,
      file: [dev, ino, size, isWhole ? mtimeNs : 1n].join('.'),
    };
    await writeFile(paths.saveNote, JSON.stringify(note));
    await xen.create(uuid, name);
    xen.domain(uuid).pauses = 1;
    const driver = xen.driver();
    const domain = await driver.find(uuid);
    if (isWhole) {
      assert.deepEqual([domain?.run, domain?.death?.reason, domain?.death?.savedTo], ['dead', 'suspend', file]);
      await driver.destroy(uuid);
      assert.equal(await driver.find(uuid), undefined);
    } else {
      assert.equal(domain?.run, 'running');
      assert.equal(existsSync(paths.saveNote), false);
      assert.ok(!(await readdir(xen.folder)).some((entry) => entry.includes('usher-tmp')));
    }
  });
}

test('a guest that lies suspended after a save that was killed is brought back', async (t) => {
  const xen = await fakeXen(t);
  const { uuid, name } = xen.config(1);
  const paths = domainPaths(xen.runtimeDir, '', uuid);
  await mkdir(paths.folder, { recursive: true });
  await writeFile(paths.saveNote, JSON.stringify({ path: '/none', afterwards: 'running', wasRunning: true }));
  await xen.create(uuid, name);
  await xen.shutDown(uuid, SHUTDOWN_REASON.suspend);
  xen.commands.set('save', () => {
    const domain = xen.domain(uuid);
    delete domain.reason;
    domain.pauses = 1;
    return 'exit 0';
  });
  assert.equal((await xen.driver().find(uuid))?.run, 'running');
  assert.deepEqual(xen.words, [
    ['save', '-p', '1', '/dev/null'],
    ['unpause', '1'],
  ]);
});
