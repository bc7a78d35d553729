/** A driver for one VM alone, on a host where others have domains too: what a xenvm beside the daemon has. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { domainPaths } from './paths.ts';
import { fakeXen } from './testing/fake-xen.ts';
import { refusal } from './testing/refusal.ts';
import { SHUTDOWN_REASON } from './xl-list.ts';

test('no other domain is told of, acted on or hinted at', async (t) => {
  const xen = await fakeXen(t);
  const [mine, theirs] = [xen.config(1), xen.config(2)];
  await xen.create(theirs.uuid, 'theirs');
  const driver = xen.driver({ only: mine.uuid });
  assert.deepEqual(await driver.list(), []);
  await driver.start(mine, { isPaused: false });
  assert.deepEqual(
    (await driver.list()).map(({ uuid }) => uuid),
    [mine.uuid],
  );
  assert.equal(await driver.find(theirs.uuid), undefined);
  const before = xen.words.length;
  await driver.destroy(theirs.uuid);
  await refusal('vm.no_domain', driver.pause(theirs.uuid));
  await refusal('vm.no_domain', driver.requestShutdown(theirs.uuid));
  await refusal('vm.no_domain', driver.describe(theirs.uuid));
  assert.equal(xen.words.length, before, 'xl was not asked to do anything');

  driver.hints.length = 0;
  await xen.shutDown(theirs.uuid, SHUTDOWN_REASON.crash);
  await xen.end(theirs.uuid);
  await xen.shutDown(mine.uuid, SHUTDOWN_REASON.reboot);
  await xen.until('a hint', () => driver.hints.some(({ about }) => about === 'power') || undefined);
  await pass(100);
  assert.ok(driver.hints.every((hint) => hint.about !== 'everything' && hint.uuid === mine.uuid));
  assert.equal((await driver.find(mine.uuid))?.death?.reason, 'reboot');
});

test('what another process has in the same folder is left to it: its notes, and its folder when its domain ends', async (t) => {
  const xen = await fakeXen(t);
  const [mine, theirs] = [xen.config(1), xen.config(2)];
  for (const { uuid } of [mine, theirs]) {
    const paths = domainPaths(xen.runtimeDir, '', uuid);
    await mkdir(paths.folder, { recursive: true });
    await writeFile(paths.buildNote, '');
  }
  // Each is being built, for all that can be seen: ours is what a killed process left.
  await xen.create(mine.uuid, mine.name, true);
  await xen.create(theirs.uuid, theirs.name, true);
  const driver = xen.driver({ only: mine.uuid });
  assert.deepEqual(await driver.list(), []);
  assert.deepEqual(
    xen.domains.map(({ uuid }) => uuid),
    [theirs.uuid],
  );
  const folder = domainPaths(xen.runtimeDir, '', theirs.uuid).folder;
  assert.ok(existsSync(folder));
  const before = xen.lists;
  await xen.end(theirs.uuid);
  await xen.until('a look', () => xen.lists > before || undefined);
  await pass(100);
  assert.ok(existsSync(folder));
});

test('names are still unique on the host, and a domain of our own uuid is seen whoever made it', async (t) => {
  const xen = await fakeXen(t);
  const [mine, theirs] = [xen.config(1), xen.config(2)];
  await xen.create(theirs.uuid, mine.name);
  const driver = xen.driver({ only: mine.uuid });
  const taken = await refusal('vm.start_failed', driver.start(mine, { isPaused: false }));
  assert.match(taken.message, /the domain 1, of uuid .*0002, has its name/);
  await xen.end(theirs.uuid);
  await xen.create(mine.uuid, 'by-hand');
  assert.equal((await xen.until('it', () => driver.find(mine.uuid))).name, 'by-hand');
});

test('who minds the whole host leaves the USB of a VM to the process that has it, and minds it again when that has gone', async (t) => {
  const xen = await fakeXen(t);
  const [theirs, stranger] = [xen.config(1), xen.config(2)];
  let isApart = true;
  const driver = xen.driver({ isApart: (uuid) => isApart && uuid === theirs.uuid });
  for (const { uuid, name } of [theirs, stranger]) await xen.create(uuid, name);
  assert.equal((await driver.list()).length, 2, 'it is told of all the same');
  const isTold = (uuid: string) => driver.hints.some((hint) => hint.about === 'usb' && hint.uuid === uuid);
  const change = async (kind: string) => {
    driver.hints.length = 0;
    for (const domid of [1, 2]) await xen.write(`/libxl/${domid}/type`, kind);
    await xen.until('a hint', () => isTold(stranger.uuid) || undefined);
    await pass(100);
  };
  await change('pvh');
  assert.equal(isTold(theirs.uuid), false);
  isApart = false;
  await change('hvm');
  assert.equal(isTold(theirs.uuid), true);
});
