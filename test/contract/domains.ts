/** The contract of domains: start, list, find, pause, reset, destroy, adoption, and refusals. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { afterEach, test } from 'node:test';
import { newUuid } from '../../src/model/ids.ts';
import { type Context, refuses } from './context.ts';

export function testDomains(current: () => Context): void {
  afterEach(() => current().destroyAll());

  test('diagnose says what is there', async () => {
    const findings = await current().driver.diagnose();
    assert.ok(findings.length > 0);
    assert.deepEqual(
      findings.filter(({ level }) => level === 'error'),
      [],
    );
  });

  test('there is nothing at first', async () => {
    const { driver } = current();
    assert.deepEqual(await driver.list(), []);
    assert.equal(await driver.find(newUuid()), undefined);
  });

  test('a started domain is given, listed and found', async () => {
    const { driver, rig } = current();
    const config = rig.makeConfig();
    const started = await driver.start(config, { isPaused: false });
    assert.equal(started.uuid, config.uuid);
    assert.equal(started.name, config.name);
    assert.equal(started.run, 'running');
    assert.equal(started.death, undefined);
    assert.deepEqual(started.attachments, []);
    assert.deepEqual(
      started.controllers.map(({ index, version, ports }) => ({ index, version, ports })),
      config.usbControllers.map(({ version, ports }, index) => ({ index, version, ports })),
    );
    assert.deepEqual(await driver.find(config.uuid), started);
    assert.deepEqual(await driver.list(), [started]);
  });

  test('several domains live side by side', async () => {
    const context = current();
    const first = await context.start();
    const second = await context.start();
    const uuids = async () => (await context.driver.list()).map(({ uuid }) => uuid).sort();
    assert.deepEqual(await uuids(), [first.uuid, second.uuid].sort());
    await context.driver.destroy(first.uuid);
    assert.deepEqual(await uuids(), [second.uuid]);
  });

  test('a domain can be started paused and let go', async () => {
    const context = current();
    const { uuid } = await context.start({ isPaused: true });
    assert.equal((await context.find(uuid)).run, 'paused');
    await context.driver.unpause(uuid);
    await context.rig.guest(uuid).waitReady();
    await context.checkRuns(uuid);
  });

  test('what the guest says is in the console log', async () => {
    const context = current();
    const paths = context.driver.consoleOf(newUuid());
    assert.ok(paths.socket.startsWith('/') && paths.log.startsWith('/'));
    const { uuid } = await context.boot();
    const { log } = context.driver.consoleOf(uuid);
    await context.eventually('the log has something', async () => (await readFile(log)).length > 0);
  });

  test('a VM that has a domain is not started again', async () => {
    const context = current();
    const config = await context.start({ isPaused: true });
    const before = await context.find(config.uuid);
    await refuses('vm.exists', context.driver.start(config, { isPaused: false }));
    assert.deepEqual(await context.find(config.uuid), before);
  });

  test('a start that fails leaves nothing', async () => {
    const context = current();
    const { driver, rig } = context;
    const config = context.makeConfig({ kernel: `${rig.folder}/no-such-kernel` });
    await refuses('vm.start_failed', driver.start(config, { isPaused: false }));
    assert.deepEqual(await driver.list(), []);
    await driver.start(context.makeConfig({ uuid: config.uuid }), { isPaused: true });
  });

  test('a start that is given up leaves nothing', async () => {
    const context = current();
    const { driver } = context;
    const config = context.makeConfig();
    await refuses('aborted', driver.start(config, { isPaused: false, signal: AbortSignal.abort() }));
    assert.deepEqual(await driver.list(), []);
    const controller = new AbortController();
    const start = driver.start(config, { isPaused: false, signal: controller.signal });
    controller.abort();
    await refuses('aborted', start);
    assert.deepEqual(await driver.list(), []);
  });

  test('pausing and unpausing are idempotent', async () => {
    const context = current();
    const { uuid } = await context.start({ isPaused: false });
    for (const run of ['paused', 'running'] as const) {
      for (let i = 0; i < 2; i++) {
        await (run === 'paused' ? context.driver.pause(uuid) : context.driver.unpause(uuid));
        assert.equal((await context.find(uuid)).run, run);
      }
    }
  });

  test('a reset boots the guest anew', async () => {
    const context = current();
    const { uuid } = await context.boot();
    const { handle } = await context.find(uuid);
    const guest = context.rig.guest(uuid);
    const before = await guest.bootId();
    await context.driver.reset(uuid);
    await context.eventually('the guest boots again', async () => {
      await guest.waitReady();
      return (await guest.bootId()) !== before;
    });
    const after = await context.find(uuid);
    assert.equal(after.run, 'running');
    assert.equal(after.handle === handle, context.rig.resetMakesNewDomain !== true);
  });

  test('destroying is idempotent and frees the uuid', async () => {
    const context = current();
    const config = await context.start();
    await context.driver.destroy(config.uuid);
    assert.equal(await context.driver.find(config.uuid), undefined);
    await context.driver.destroy(config.uuid);
    await context.driver.destroy(newUuid());
    await context.start({ config });
  });

  test('without a domain most methods say so', async () => {
    const { driver, rig } = current();
    const uuid = newUuid();
    await refuses('vm.no_domain', driver.pause(uuid));
    await refuses('vm.no_domain', driver.unpause(uuid));
    await refuses('vm.no_domain', driver.requestShutdown(uuid));
    await refuses('vm.no_domain', driver.reset(uuid));
    await refuses('vm.no_domain', driver.save(uuid, `${rig.folder}/none.save`, { afterwards: 'stopped' }));
  });

  test('domains outlive their driver and are the same for the next', async () => {
    const context = current();
    const first = await context.start({ isPaused: true });
    const second = await context.start({ isPaused: false });
    const before = await context.driver.list();
    const paths = context.driver.consoleOf(first.uuid);
    const next = await context.reopen();
    const byUuid = (a: { uuid: string }, b: { uuid: string }) => (a.uuid < b.uuid ? -1 : 1);
    assert.deepEqual((await next.list()).sort(byUuid), before.sort(byUuid));
    assert.deepEqual(next.consoleOf(first.uuid), paths);
    await next.pause(second.uuid);
    assert.equal((await context.find(second.uuid)).run, 'paused');
  });
}
