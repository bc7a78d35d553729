/** Troubles on demand: calls that fail, hang, are late or half done; hints that are lost, late or come twice. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { refuses, setWorldStage, type WorldStage } from '../../../test/support/world-stage.ts';
import type { DriverHint } from '../driver.ts';
import { populationConfig } from './population.ts';
import type { WorldOptions } from './world.ts';

const SLOT = { controller: 0, port: 1 };
const CONFIG = populationConfig(0);
const { uuid } = CONFIG;

let stage: WorldStage;
beforeEach(async () => {
  stage = await setWorldStage();
});
afterEach(() => stage.clear());

/** Sets the stage anew, with other options. */
async function restage(options: Omit<WorldOptions, 'clock'>): Promise<void> {
  await stage.clear();
  stage = await setWorldStage(options);
}

describe('calls in trouble', () => {
  test('fail with the fault that was asked for, as often as was asked', async () => {
    const { driver, hand } = stage;
    await hand.call('disturb', { method: 'start', trouble: { do: 'fail', code: 'vm.start_failed' }, times: 2 });
    for (let i = 0; i < 2; i++) await refuses('vm.start_failed', driver.start(CONFIG, { isPaused: false }));
    assert.equal((await driver.start(CONFIG, { isPaused: false })).run, 'running');
  });

  test('are chosen by domain and device', async () => {
    const { driver, hand } = stage;
    const other = populationConfig(1);
    await hand.call('disturb', { method: 'start', uuid, trouble: { do: 'fail', code: 'vm.start_failed' } });
    await driver.start(other, { isPaused: false });
    await refuses('vm.start_failed', driver.start(CONFIG, { isPaused: false }));
    const [first, second] = [await hand.call('plug', { busid: '1-1' }), await hand.call('plug', { busid: '1-2' })];
    const trouble = { do: 'fail', code: 'usb.attach_failed' } as const;
    await hand.call('disturb', { method: 'attachDevice', device: 'dom0:1-2', trouble });
    await driver.attachDevice(other.uuid, SLOT, first);
    await refuses('usb.attach_failed', driver.attachDevice(other.uuid, { controller: 0, port: 2 }, second));
  });

  test('take their latency, and longer when delayed', async () => {
    await restage({ latencyMs: { list: 100 } });
    const { clock, driver, hand } = stage;
    await hand.call('disturb', { method: 'list', trouble: { do: 'delay', ms: 50 } });
    let isDone = false;
    const list = driver.list().then(() => {
      isDone = true;
    });
    await clock.advance(149);
    assert.equal(isDone, false);
    await clock.advance(1);
    await list;
  });

  test('hang until they are released', async () => {
    const { driver, hand, settle } = stage;
    await hand.call('disturb', { method: 'list', trouble: { do: 'hang' } });
    const list = driver.list();
    await settle();
    await hand.call('calm', {});
    assert.deepEqual(await list, []);
  });

  test('hang until the deadline or the caller ends it, without effect', async () => {
    const { clock, driver, hand, settle } = stage;
    await hand.call('disturb', { method: 'start', trouble: { do: 'hang' }, times: 2 });
    const late = refuses('timeout', driver.start(CONFIG, { isPaused: false }));
    await clock.advance(5_000);
    await late;
    const controller = new AbortController();
    const given = refuses('aborted', driver.start(CONFIG, { isPaused: false, signal: controller.signal }));
    await settle();
    controller.abort();
    await given;
    assert.deepEqual(await driver.list(), []);
  });

  test('a start that fails after its effect leaves no domain', async () => {
    const { clock, driver, hand } = stage;
    for (const trouble of [
      { do: 'fail', code: 'vm.start_failed', when: 'after' },
      { do: 'hang', when: 'after' },
    ] as const) {
      await hand.call('disturb', { method: 'start', trouble });
      const start = assert.rejects(driver.start(CONFIG, { isPaused: false }));
      await clock.advance(5_000);
      await start;
      assert.deepEqual(await driver.list(), []);
    }
  });

  test('an attach that dies after its effect is read back', async () => {
    const { driver, hand } = stage;
    await driver.start(CONFIG, { isPaused: false });
    const device = await hand.call('plug', { busid: '1-1' });
    const trouble = { do: 'fail', code: 'hypervisor.lost', when: 'after' } as const;
    await hand.call('disturb', { method: 'attachDevice', trouble });
    await refuses('hypervisor.lost', driver.attachDevice(uuid, SLOT, device));
    assert.equal((await driver.find(uuid))?.attachments.length, 1);
  });

  test('a device vanishes between the check and the attach', async () => {
    const { driver, hand } = stage;
    await driver.start(CONFIG, { isPaused: false });
    const device = await hand.call('plug', { busid: '1-1' });
    await hand.call('disturb', { method: 'attachDevice', trouble: { do: 'unplug' } });
    await refuses('usb.device_gone', driver.attachDevice(uuid, SLOT, device));
    assert.deepEqual(await driver.sourceOf('dom0').list(), []);
    assert.deepEqual((await driver.find(uuid))?.attachments, []);
  });

  test('a domain dies in the middle', async () => {
    const { driver, folder, hand } = stage;
    await driver.start(CONFIG, { isPaused: false });
    await hand.call('disturb', { method: 'beginSave', trouble: { do: 'kill' } });
    await refuses('vm.died', driver.save(uuid, join(folder, 'x.save'), { afterwards: 'stopped' }));
    assert.equal(await driver.find(uuid), undefined);
    assert.deepEqual(await readdir(folder), [uuid]);
  });

  test('are written down', async () => {
    const { clock, driver, hand } = stage;
    await driver.start(CONFIG, { isPaused: false });
    await refuses('vm.exists', driver.start(CONFIG, { isPaused: false }));
    const at = clock.now();
    assert.deepEqual(await hand.call('journal', {}), [
      { at, method: 'start', uuid },
      { at, method: 'start', uuid, fault: 'vm.exists' },
    ]);
  });
});

describe('hints in trouble', () => {
  const hintsOf = async (act: () => Promise<unknown>): Promise<DriverHint[]> => {
    const hints: DriverHint[] = [];
    const stop = stage.driver.onHint((hint) => hints.push(hint));
    await act();
    await stage.settle();
    stop();
    return hints;
  };
  beforeEach(() => stage.driver.start(CONFIG, { isPaused: false }));

  test('get lost', async () => {
    const { driver, hand } = stage;
    await hand.call('disturbHints', { lose: 1 });
    assert.deepEqual(await hintsOf(() => driver.pause(uuid)), []);
    assert.deepEqual(await hintsOf(() => driver.unpause(uuid)), [{ about: 'power', uuid }]);
  });

  test('come twice', async () => {
    const { driver, hand } = stage;
    await hand.call('disturbHints', { duplicate: 1 });
    assert.equal((await hintsOf(() => driver.pause(uuid))).length, 2);
    assert.equal((await hintsOf(() => driver.pause(uuid))).length, 1);
  });

  test('come late', async () => {
    const { clock, driver, hand } = stage;
    await hand.call('disturbHints', { lateMs: 100 });
    assert.equal((await hintsOf(() => driver.pause(uuid))).length, 0);
    assert.equal((await hintsOf(() => clock.advance(100))).length, 1);
  });
});
