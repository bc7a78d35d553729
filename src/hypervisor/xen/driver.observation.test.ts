import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { sleep, systemClock } from '../../lib/clock.ts';
import { isFault } from '../../lib/fault.ts';
import { failing, fakeXen } from './testing/fake-xen.ts';
import { refusal } from './testing/refusal.ts';
import { SHUTDOWN_REASON } from './xl-list.ts';

test('a look costs xl nothing while nothing has changed, and is new when something has', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  await driver.find(uuid);
  await xen.until('quiet', () => (xen.running === 0 ? true : undefined));
  const before = xen.lists;
  for (let i = 0; i < 50; i++) assert.equal((await driver.find(uuid))?.run, 'running');
  assert.equal(xen.lists, before);
  await xen.shutDown(uuid, SHUTDOWN_REASON.crash);
  const dead = await xen.until('its death', async () => {
    const domain = await driver.find(uuid);
    return domain?.run === 'dead' ? domain : undefined;
  });
  assert.deepEqual(dead.death, { reason: 'crash', detail: 'the guest crashed' });
  await refusal('vm.no_domain', driver.pause(uuid));
  await refusal('vm.no_domain', driver.unpause(uuid));
  await refusal('vm.no_domain', driver.requestShutdown(uuid));
  await refusal('vm.no_domain', driver.reset(uuid));
  await refusal('vm.no_domain', driver.save(uuid, join(xen.folder, 'x'), { afterwards: 'stopped' }));
  const exists = await refusal('vm.exists', driver.start(xen.config(1), { isPaused: false }));
  assert.match(exists.hint ?? '', /domain 1;/);
});

test('a device model that does not answer keeps no other domain from being listed', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  const other = await driver.start(xen.config(2), { isPaused: false });
  const { domid } = xen.domain(uuid);
  const model = spawn('bash', ['-c', 'read', 'qemu', '-xen-domid', String(domid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(join(xen.runtimeDir, uuid, 'qmp'), resolve));
  t.after(() => {
    model.kill();
    silent.close();
  });
  await xen.write(`/libxl/${domid}/type`, 'hvm');
  await xen.write(`/local/domain/${domid}/image/device-model-pid`, String(model.pid));
  for (const [name, value] of [
    ['type', 'devicemodel'],
    ['usb-ver', '3'],
    ['num-ports', '2'],
    ['port/1', ''],
    ['port/2', ''],
  ])
    await xen.write(`/libxl/${domid}/device/vusb/0/${name}`, value ?? '');
  await refusal('hypervisor.lost', driver.find(uuid));
  const listed = await driver.list();
  assert.deepEqual(
    listed.map(({ uuid, run, usbTrouble, isPartial }) => [uuid, run, usbTrouble, isPartial]),
    [
      [uuid, 'running', 'its device model does not answer', true],
      [other.uuid, 'running', undefined, undefined],
    ],
  );
});

test('each way to end is told by its own word', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  for (const [number, reason] of ['halt', 'reboot', 'suspend', 'crash', 'crash', 'reboot'].entries()) {
    const { uuid } = xen.config(number);
    await xen.create(uuid, `vm${number}`);
    await xen.shutDown(uuid, number);
    assert.equal((await xen.until('it', () => driver.find(uuid))).death?.reason, reason);
  }
});

test('a guest that an xl has saved and resumed is never called dead: no watch tells that it goes on', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  await xen.shutDown(uuid, SHUTDOWN_REASON.suspend);
  await xen.until('it is seen', async () => ((await driver.find(uuid))?.run === 'dead' ? true : undefined));
  delete xen.domain(uuid).reason;
  const found = await driver.find(uuid);
  assert.deepEqual([found?.run, found?.death], ['running', undefined]);
});

test('domains that others made, unmade and paused are seen, with hints', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  assert.deepEqual(await driver.list(), []);
  const { uuid } = xen.config(7);
  await xen.create(uuid, 'theirs');
  await xen.until(
    'a hint',
    () => driver.hints.some((hint) => hint.about === 'power' && hint.uuid === uuid) || undefined,
  );
  assert.equal((await driver.find(uuid))?.name, 'theirs');
  await refusal('hypervisor.failed', driver.reset(uuid));
  xen.domain(uuid).pauses = 2;
  await driver.unpause(uuid);
  assert.equal((await driver.find(uuid))?.run, 'running');
  await xen.end(uuid);
  await xen.until('its end', async () => ((await driver.find(uuid)) === undefined ? true : undefined));
});

test('two domains of one uuid: none is acted on, and the others are told', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const [twice, once] = [xen.config(1), xen.config(2)];
  await xen.create(twice.uuid, 'a');
  await xen.create(twice.uuid, 'b');
  await xen.create(once.uuid, 'c');
  const fault = await refusal('hypervisor.lost', driver.find(twice.uuid));
  assert.match(fault.message, /the domains 1 and 2 both have its uuid/);
  await refusal('hypervisor.lost', driver.pause(twice.uuid));
  assert.deepEqual(
    (await driver.list()).map(({ name }) => name),
    ['a', 'c'],
  );
  assert.deepEqual(xen.words, []);
});

test('an xl that prints nonsense, or hangs, is a clear fault, and nothing is believed', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  xen.commands.set('list', () => 'echo "Name ID"; echo "vm1 one"');
  const fault = await refusal('hypervisor.failed', driver.pause(uuid));
  assert.match(fault.message, /"xl list -v" is not understood/);
  xen.commands.set('list', () => failing('it broke'));
  assert.match((await refusal('hypervisor.failed', driver.pause(uuid))).message, /it broke/);
  xen.commands.delete('list');
  await driver.pause(uuid);
});

test('a death that cannot be looked at once is looked at again until it can', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  await driver.find(uuid);
  await xen.until('quiet', () => (xen.running === 0 ? true : undefined));
  driver.hints.length = 0;
  xen.commands.set('list', () => failing('busy'));
  await xen.shutDown(uuid, SHUTDOWN_REASON.reboot);
  await sleep(systemClock, 300);
  xen.commands.delete('list');
  await xen.until('a hint', () => driver.hints.some((hint) => hint.about === 'power') || undefined);
  assert.equal((await driver.find(uuid))?.death?.reason, 'reboot');
});

test('without xenstored nothing is told of a domain; when it is back, everything is looked at', async (t) => {
  const xen = await fakeXen(t);
  const late = xen.driver({ xenstorePath: join(xen.folder, 'none') });
  await refusal('hypervisor.missing', late.list());
  await refusal('hypervisor.lost', late.find(xen.config(1).uuid));
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  driver.hints.length = 0;
  xen.daemon.cut();
  await xen.until('the loss', async () => {
    try {
      await driver.find(uuid);
      return undefined;
    } catch (error) {
      assert.ok(isFault(error, 'hypervisor.lost'));
      return true;
    }
  });
  await xen.until('a hint at everything', () => driver.hints.some(({ about }) => about === 'everything') || undefined);
  assert.equal((await driver.find(uuid))?.run, 'running');
});

test('the domid of a stub domain is told', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  await xen.write('/local/domain/1/image/device-model-domid', '12');
  assert.equal((await driver.find(uuid))?.stubdomDomid, 12);
  await xen.write('/local/domain/1/image/device-model-domid', 'x');
  assert.equal((await driver.find(uuid))?.stubdomDomid, -1);
});
