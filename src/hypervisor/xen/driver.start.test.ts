import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { test } from 'node:test';
import { failing, fakeXen } from './testing/fake-xen.ts';
import { refusal } from './testing/refusal.ts';

test('when another has the name, a start says so and leaves nothing', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const config = xen.config(1, { name: 'theirs' });
  await xen.create(xen.config(2).uuid, 'theirs');
  const fault = await refusal('vm.start_failed', driver.start(config, { isPaused: false }));
  assert.match(fault.message, /the domain 1, of uuid 6f1c.*2, has its name/);
  assert.match(fault.hint ?? '', /xl destroy theirs/);
  // It comes between the look and xl's.
  await xen.end(xen.config(2).uuid);
  xen.commands.set('create', () => failing('Domain with name "theirs" already exists.'));
  assert.match(
    (await refusal('vm.start_failed', driver.start(config, { isPaused: false }))).message,
    /another domain has its name/,
  );
  assert.deepEqual(await readdir(xen.runtimeDir), []);
});

test('a name that xl keeps for domains which are being received is refused before anything is made', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const config = xen.config(1, { name: 'web--incoming' });
  const fault = await refusal('vm.start_failed', driver.start(config, { isPaused: false }));
  assert.match(fault.message, /receiving from another host/);
  assert.deepEqual([xen.domains, existsSync(xen.runtimeDir)], [[], false]);
});

test('when xl fails after it has made a domain, none is left', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const config = xen.config(1);
  xen.commands.set('create', async () => {
    await xen.create(config.uuid, config.name, true);
    return failing('device model did not start: -1');
  });
  const fault = await refusal('vm.start_failed', driver.start(config, { isPaused: false }));
  assert.match(fault.message, /device model did not start/);
  assert.match(fault.hint ?? '', /qemu-dm-vm1\.log/);
  assert.deepEqual([xen.domains, await readdir(xen.runtimeDir)], [[], []]);
  xen.commands.delete('create');
  await driver.start(config, { isPaused: true });
});

test('a start that is given up, or hangs, leaves nothing', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const config = xen.config(1);
  xen.commands.set('create', async () => {
    await xen.create(config.uuid, config.name, true);
    return undefined;
  });
  const controller = new AbortController();
  const start = refusal('aborted', driver.start(config, { isPaused: false, signal: controller.signal }));
  await xen.until('xl', () => xen.domains[0]);
  controller.abort();
  await start;
  assert.deepEqual([xen.domains, await readdir(xen.runtimeDir), await driver.list()], [[], [], []]);
  const second = refusal('aborted', driver.start(config, { isPaused: false }));
  await xen.until('xl', () => xen.domains[0]);
  assert.equal(await driver.find(config.uuid), undefined, 'what is being built does not count');
  assert.deepEqual(await driver.list(), []);
  await driver.destroy(config.uuid);
  await second;
  assert.deepEqual(xen.domains, []);
  await refusal('aborted', driver.start(config, { isPaused: false, signal: AbortSignal.abort() }));
});

test('files that are not there are named before xl is asked', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const fault = await refusal(
    'vm.start_failed',
    driver.start(xen.config(1, { kernel: '/no/kernel' }), { isPaused: false }),
  );
  assert.match(fault.message, /the file \/no\/kernel is not there/);
  assert.deepEqual(xen.words, []);
});

test('what a domain will lack is said', async (t) => {
  const xen = await fakeXen(t);
  const warnings: string[] = [];
  const onWarning = (sentence: string) => warnings.push(sentence);
  await xen.driver().start(xen.config(1, { serial: 'pty' }), { isPaused: false, onWarning });
  assert.match(warnings.join(), /no serial port/);
});

test('a VM that is started again right after somebody ended its domain has its console', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const config = xen.config(1);
  await driver.start(config, { isPaused: false });
  await xen.end(config.uuid);
  await driver.start(config, { isPaused: false });
  await xen.until('quiet', () => (xen.running === 0 ? true : undefined));
  assert.ok((await stat(driver.consoleOf(config.uuid).socket)).isSocket());
});

test('a reset makes another domain from the same cfg, paused if it was', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid, handle } = await driver.start(xen.config(1), { isPaused: true });
  await driver.reset(uuid);
  const after = await driver.find(uuid);
  assert.deepEqual([after?.handle, after?.run], [handle + 1, 'paused']);
  xen.commands.set('create', () => failing('out of memory'));
  await refusal('vm.start_failed', driver.reset(uuid));
  assert.equal(await driver.find(uuid), undefined);
});
