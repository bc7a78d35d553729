/** The contract of deaths: each way that a domain ends by itself is told apart, and a dead domain stays until destroyed. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import type { DeathReason, DriverHint } from '../../src/hypervisor/driver.ts';
import type { VmUuid } from '../../src/model/ids.ts';
import { type Context, isAbout, refuses } from './context.ts';
import type { GuestHand } from './rig.ts';

const BY_GUEST: readonly [string, DeathReason, (guest: GuestHand) => Promise<void>][] = [
  ['powers off', 'halt', (guest) => guest.powerOff()],
  ['reboots', 'reboot', (guest) => guest.reboot()],
  ['panics', 'crash', (guest) => guest.panic()],
];

export function testDeaths(current: () => Context): void {
  afterEach(() => current().destroyAll());

  for (const [does, reason, act] of BY_GUEST) {
    test(`a guest that ${does} is a domain dead by "${reason}", with a hint`, async () => {
      const context = current();
      const { uuid } = await context.boot();
      const hints: DriverHint[] = [];
      const stop = context.driver.onHint((hint) => hints.push(hint));
      await act(context.rig.guest(uuid));
      const dead = await context.waitDead(uuid);
      assert.equal(dead.death?.reason, reason);
      await context.eventually('a hint about its power comes', () =>
        hints.some((hint) => isAbout(hint, 'power', uuid)),
      );
      stop();
      await checkDead(context, uuid);
    });
  }

  test('a guest that is asked to shut down halts', async () => {
    const context = current();
    const { uuid } = await context.boot();
    await context.driver.requestShutdown(uuid);
    assert.equal((await context.waitDead(uuid)).death?.reason, 'halt');
  });

  test('a domain that is killed from outside is gone, with a hint', async () => {
    const context = current();
    const config = await context.start({ isPaused: false });
    const { uuid } = config;
    const hints: DriverHint[] = [];
    const stop = context.driver.onHint((hint) => hints.push(hint));
    await context.rig.guest(uuid).kill();
    await context.eventually('it is gone', async () => (await context.driver.find(uuid)) === undefined);
    assert.deepEqual(await context.driver.list(), []);
    await context.eventually('a hint about its power comes', () => hints.some((hint) => isAbout(hint, 'power', uuid)));
    stop();
    await refuses('vm.no_domain', context.driver.pause(uuid));
    await context.driver.destroy(uuid);
    await context.start({ config });
  });

  test('a death that happens while no driver is there is found by the next', async () => {
    const context = current();
    const halted = await context.boot();
    const killed = await context.start({ isPaused: true });
    await context.reopen(async () => {
      await context.rig.guest(halted.uuid).powerOff();
      await context.rig.guest(killed.uuid).kill();
      await context.rig.elapse(1000);
    });
    assert.equal((await context.waitDead(halted.uuid)).death?.reason, 'halt');
    assert.equal(await context.driver.find(killed.uuid), undefined);
  });
}

/** A dead domain is listed, refuses what needs a running one, and goes when it is destroyed. */
async function checkDead(context: Context, uuid: VmUuid): Promise<void> {
  const { driver, rig } = context;
  assert.deepEqual(
    (await driver.list()).map(({ run }) => run),
    ['dead'],
  );
  await refuses('vm.no_domain', driver.pause(uuid));
  await refuses('vm.no_domain', driver.unpause(uuid));
  await refuses('vm.no_domain', driver.requestShutdown(uuid));
  await refuses('vm.no_domain', driver.reset(uuid));
  await refuses('vm.no_domain', driver.save(uuid, `${rig.folder}/dead.save`, { afterwards: 'stopped' }));
  await refuses('vm.exists', driver.start(context.makeConfig({ uuid }), { isPaused: false }));
  await driver.destroy(uuid);
  await driver.destroy(uuid);
  assert.deepEqual(await driver.list(), []);
}
