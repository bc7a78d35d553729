import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, readlink, stat } from 'node:fs/promises';
import { test } from 'node:test';
import { systemClock } from '../../lib/clock.ts';
import { domainPaths } from './paths.ts';
import { fakeXen, printing } from './testing/fake-xen.ts';
import { refusal } from './testing/refusal.ts';

test('a domain is started, told, paused, let go and destroyed', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const config = xen.config(1);
  const { uuid } = config;
  assert.deepEqual(await driver.list(), []);
  const started = await driver.start(config, { isPaused: false });
  assert.deepEqual(
    [started.uuid, started.name, started.handle, started.run, started.stubdomDomid],
    [uuid, 'vm1', 1, 'running', -1],
  );
  assert.deepEqual(await driver.list(), [started]);
  assert.deepEqual(await driver.find(uuid), started);
  for (let i = 0; i < 2; i++) await driver.pause(uuid);
  assert.equal((await driver.find(uuid))?.run, 'paused');
  for (let i = 0; i < 2; i++) await driver.unpause(uuid);
  assert.equal((await driver.find(uuid))?.run, 'running');
  for (let i = 0; i < 2; i++) await driver.destroy(uuid);
  assert.equal(await driver.find(uuid), undefined);
  assert.deepEqual(await readdir(xen.runtimeDir), []);
  const { cfgFile } = domainPaths(xen.runtimeDir, '', uuid);
  assert.deepEqual(xen.words, [
    ['create', '-e', '-q', cfgFile],
    ['pause', '1'],
    ['unpause', '1'],
    ['destroy', '1'],
  ]);
  assert.ok(driver.hints.some((hint) => hint.about === 'power' && hint.uuid === uuid));
});

test('the console of a PV guest: a socket of its own, and a link to what xenconsoled writes', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  const { socket, log } = driver.consoleOf(uuid);
  assert.ok((await stat(socket)).isSocket());
  assert.equal(await readlink(log), '/var/log/xen/console/guest-vm1.log');
  await driver.destroy(uuid);
  assert.equal(existsSync(socket), false);
});

test('a guest that does not answer a request to power off is told as such, and the request is withdrawn', async (t) => {
  const xen = await fakeXen(t);
  let isAsked = false;
  const clock = {
    ...systemClock,
    // Others wait as long, too: for xl, which on a busy machine takes its time.
    after: (ms: number, fire: () => void) => systemClock.after(isAsked && ms === 20_000 ? 2_000 : ms, fire),
  };
  const driver = xen.driver({ clock });
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  xen.commands.set('shutdown', async () => {
    isAsked = true;
    await xen.write('/local/domain/1/control/shutdown', 'poweroff');
    return undefined;
  });
  const fault = await refusal('timeout', driver.requestShutdown(uuid));
  assert.match(fault.message, /The answer of VM vm1 to the request to power off took longer than 20 s/);
  assert.equal(await xen.read('/local/domain/1/control/shutdown'), '');
  isAsked = false;
  xen.commands.delete('shutdown');
  await driver.requestShutdown(uuid);
  const dead = await xen.until('its end', async () => {
    const domain = await driver.find(uuid);
    return domain?.run === 'dead' ? domain : undefined;
  });
  assert.equal(dead.death?.reason, 'halt');
});

test('a domid that has become another’s is not touched', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  await xen.until('quiet', () => (xen.running === 0 ? true : undefined));
  const stale = xen.listing();
  Object.assign(xen.domain(uuid), { uuid: xen.config(2).uuid });
  await xen.write('/local/domain/1/vm', `/vm/${xen.config(2).uuid}`);
  let looks = 0;
  xen.commands.set('list', () => printing(looks++ === 0 ? stale : xen.listing()));
  await refusal('vm.no_domain', driver.pause(uuid));
  assert.deepEqual([looks, xen.words.some(([command]) => command === 'pause')], [2, false]);
});
