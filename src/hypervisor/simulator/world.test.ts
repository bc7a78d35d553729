/** The world's troubles, guests, devices and clients, through the driver where it has a word for it. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../lib/clock.ts';
import { type FaultCode, isFault } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import { deviceKey } from '../../model/usb.ts';
import type { Domain, DriverHint } from '../driver.ts';
import { SimulatorDriver } from './driver.ts';
import { populationConfig, populationDevice } from './population.ts';
import { World, type WorldOptions } from './world.ts';
import type { WorldPort } from './world-port.ts';

const SLOT = { controller: 0, port: 1 };
const CONFIG = populationConfig(0);
const { uuid } = CONFIG;

let folder: string;
let clock: ManualClock;
let world: World;
let hand: WorldPort;
let driver: SimulatorDriver;

function open(options: Omit<WorldOptions, 'clock'> = {}): void {
  world = new World({ clock, ...options });
  hand = world.open();
  driver = openDriver();
}

function openDriver(): SimulatorDriver {
  return new SimulatorDriver({ port: world.open(), folder, clock, timeoutMs: 5_000 });
}

function refuses(code: FaultCode, promise: Promise<unknown>): Promise<void> {
  return assert.rejects(promise, (thrown) => isFault(thrown, code));
}

async function runOf(of: VmUuid): Promise<Domain['run'] | undefined> {
  return (await driver.find(of))?.run;
}

/** Lets promise and I/O callbacks that are due run. */
function settle(): Promise<void> {
  return clock.advance(0);
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-simulator-'));
  clock = new ManualClock();
  open();
});
afterEach(async () => {
  await world.dropClients();
  await rm(folder, { recursive: true });
});

describe('calls in trouble', () => {
  test('fail with the fault that was asked for, as often as was asked', async () => {
    await hand.call('disturb', { method: 'start', trouble: { do: 'fail', code: 'vm.start_failed' }, times: 2 });
    for (let i = 0; i < 2; i++) await refuses('vm.start_failed', driver.start(CONFIG, { isPaused: false }));
    assert.equal((await driver.start(CONFIG, { isPaused: false })).run, 'running');
  });

  test('are chosen by domain and device', async () => {
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
    open({ latencyMs: { list: 100 } });
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
    await hand.call('disturb', { method: 'list', trouble: { do: 'hang' } });
    const list = driver.list();
    await settle();
    await hand.call('calm', {});
    assert.deepEqual(await list, []);
  });

  test('hang until the deadline or the caller ends it, without effect', async () => {
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
    await driver.start(CONFIG, { isPaused: false });
    const device = await hand.call('plug', { busid: '1-1' });
    const trouble = { do: 'fail', code: 'hypervisor.lost', when: 'after' } as const;
    await hand.call('disturb', { method: 'attachDevice', trouble });
    await refuses('hypervisor.lost', driver.attachDevice(uuid, SLOT, device));
    assert.equal((await driver.find(uuid))?.attachments.length, 1);
  });

  test('a device vanishes between the check and the attach', async () => {
    await driver.start(CONFIG, { isPaused: false });
    const device = await hand.call('plug', { busid: '1-1' });
    await hand.call('disturb', { method: 'attachDevice', trouble: { do: 'unplug' } });
    await refuses('usb.device_gone', driver.attachDevice(uuid, SLOT, device));
    assert.deepEqual(await driver.sourceOf('dom0').list(), []);
    assert.deepEqual((await driver.find(uuid))?.attachments, []);
  });

  test('a domain dies in the middle', async () => {
    await driver.start(CONFIG, { isPaused: false });
    await hand.call('disturb', { method: 'beginSave', trouble: { do: 'kill' } });
    await refuses('vm.died', driver.save(uuid, join(folder, 'x.save'), { afterwards: 'stopped' }));
    assert.equal(await driver.find(uuid), undefined);
    assert.deepEqual(await readdir(folder), [uuid]);
  });

  test('are written down', async () => {
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
    const stop = driver.onHint((hint) => hints.push(hint));
    await act();
    await settle();
    stop();
    return hints;
  };
  beforeEach(() => driver.start(CONFIG, { isPaused: false }));

  test('get lost', async () => {
    await hand.call('disturbHints', { lose: 1 });
    assert.deepEqual(await hintsOf(() => driver.pause(uuid)), []);
    assert.deepEqual(await hintsOf(() => driver.unpause(uuid)), [{ about: 'power', uuid }]);
  });

  test('come twice', async () => {
    await hand.call('disturbHints', { duplicate: 1 });
    assert.equal((await hintsOf(() => driver.pause(uuid))).length, 2);
    assert.equal((await hintsOf(() => driver.pause(uuid))).length, 1);
  });

  test('come late', async () => {
    await hand.call('disturbHints', { lateMs: 100 });
    assert.equal((await hintsOf(() => driver.pause(uuid))).length, 0);
    assert.equal((await hintsOf(() => clock.advance(100))).length, 1);
  });
});

describe('guests', () => {
  test('do not hear the power button while they boot, and take their time to halt', async () => {
    open({ bootMs: 1000, shutdownMs: 300 });
    await driver.start(CONFIG, { isPaused: false });
    await driver.requestShutdown(uuid);
    await clock.advance(1000);
    assert.equal(await runOf(uuid), 'running');
    await driver.requestShutdown(uuid);
    await clock.advance(299);
    assert.equal(await runOf(uuid), 'running');
    await clock.advance(1);
    assert.equal((await driver.find(uuid))?.death?.reason, 'halt');
  });

  test('hear it after a pause', async () => {
    await driver.start(CONFIG, { isPaused: true });
    await driver.requestShutdown(uuid);
    assert.equal(await runOf(uuid), 'paused');
    await driver.unpause(uuid);
    assert.equal(await runOf(uuid), 'dead');
  });

  test('that hang hear nothing and make no progress until they are reset', async () => {
    await driver.start(CONFIG, { isPaused: false });
    await clock.advance(500);
    await hand.call('guest', { uuid, action: 'freeze' });
    await driver.requestShutdown(uuid);
    await clock.advance(1000);
    const frozen = await hand.call('guest', { uuid, action: 'look' });
    assert.deepEqual([await runOf(uuid), frozen?.ticks, frozen?.isReady], ['running', 5, false]);
    await driver.reset(uuid);
    await driver.requestShutdown(uuid);
    assert.equal(await runOf(uuid), 'dead');
  });

  test('see a device leave that is pulled, while its attachment stays', async () => {
    await driver.start(CONFIG, { isPaused: false });
    const device = await hand.call('plug', { busid: '1-1', serial: 'S 1' });
    const attachment = await driver.attachDevice(uuid, SLOT, device);
    const seen = async () => (await hand.call('guest', { uuid, action: 'look' }))?.usb;
    assert.deepEqual(await seen(), ['0951:1666:S 1']);
    await hand.call('unplug', device);
    assert.deepEqual(await seen(), []);
    const again = await hand.call('plug', { busid: '1-1', serial: 'S 1' });
    assert.notEqual(again.generation, device.generation);
    assert.deepEqual(await seen(), []);
    assert.deepEqual((await driver.find(uuid))?.attachments, [attachment]);
    await refuses('usb.attached', driver.attachDevice(uuid, { controller: 0, port: 2 }, again));
    await driver.detachDevice(uuid, attachment);
    await driver.attachDevice(uuid, SLOT, again);
    assert.deepEqual(await seen(), ['0951:1666:S 1']);
  });
});

describe('devices', () => {
  test('are listed by backend, with a hint for each change', async () => {
    let hints = 0;
    const source = driver.sourceOf('usbvm');
    const stop = source.watch(() => hints++);
    await hand.call('plug', { busid: '1-1' });
    const device = await hand.call('plug', { backend: 'usbvm', busid: '4-6', guard: 'a hub' });
    await settle();
    assert.equal(hints, 1);
    assert.deepEqual(await source.list(), [device]);
    await refuses('usb.device_exists', hand.call('plug', { backend: 'usbvm', busid: '4-6' }));
    await hand.call('removeBackend', { backend: 'usbvm' });
    await refuses('hypervisor.failed', source.list());
    await settle();
    assert.equal(hints, 2);
    stop();
  });

  test('of a speed that the controller does not have are refused', async () => {
    await driver.start({ ...CONFIG, usbControllers: [{ type: 'auto', version: 1, ports: 2 }] }, { isPaused: false });
    const device = await hand.call('plug', { busid: '1-1', speed: 'super' });
    await refuses('usb.attach_failed', driver.attachDevice(uuid, SLOT, device));
  });

  test('are in one domain at most, whatever is tried', async () => {
    const vms = [0, 1, 2].map(populationConfig);
    const step = fc.record({
      do: fc.constantFrom('attach', 'detach', 'destroy', 'start', 'replug', 'powerOff'),
      vm: fc.nat(2),
      device: fc.nat(2),
      port: fc.integer({ min: 1, max: 3 }),
    });
    const act = async ({
      do: verb,
      vm: index,
      device: number,
      port,
    }: typeof step extends fc.Arbitrary<infer S> ? S : never) => {
      const config = vms[index] ?? CONFIG;
      const options = populationDevice(number);
      const device = (await hand.call('devices', { backend: 'dom0' })).find(({ busid }) => busid === options.busid);
      if (device === undefined) return;
      const slot = { controller: 0, port };
      if (verb === 'attach') await driver.attachDevice(config.uuid, slot, device);
      else if (verb === 'destroy') await driver.destroy(config.uuid);
      else if (verb === 'start') await driver.start(config, { isPaused: false });
      else if (verb === 'powerOff') await hand.call('guest', { uuid: config.uuid, action: 'powerOff' });
      else if (verb === 'replug') {
        await hand.call('unplug', device);
        await hand.call('plug', options);
      } else {
        const attachment = (await driver.find(config.uuid))?.attachments.find((present) => present.port === port);
        if (attachment !== undefined) await driver.detachDevice(config.uuid, attachment);
      }
    };
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        open();
        for (let i = 0; i < 3; i++) await hand.call('plug', populationDevice(i));
        for (const config of vms) await driver.start(config, { isPaused: false });
        for (const one of steps) await act(one).catch((error: unknown) => assert.ok(isFault(error)));
        const attached = (await driver.list()).flatMap((domain) => domain.attachments);
        assert.equal(new Set(attached.map(deviceKey)).size, attached.length);
        for (const { vm } of attached) assert.ok(await driver.find(vm));
        await world.dropClients();
      }),
      { numRuns: 40 },
    );
  });
});

describe('clients that die', () => {
  test('leave domains and attachments, and the next finds them', async () => {
    await driver.start(CONFIG, { isPaused: false });
    const attachment = await driver.attachDevice(uuid, SLOT, world.plug({ busid: '1-1' }));
    const before = await driver.list();
    await world.dropClients();
    await refuses('hypervisor.missing', driver.list());
    assert.equal((await driver.diagnose())[0]?.level, 'error');
    driver = openDriver();
    assert.deepEqual(await driver.list(), before);
    assert.deepEqual((await driver.find(uuid))?.attachments, [attachment]);
  });

  test('in the middle of a save leave the guest as it was, and no file', async () => {
    await driver.start(CONFIG, { isPaused: false });
    world.disturbances.add({ method: 'beginSave', trouble: { do: 'hang', when: 'after' } });
    const path = join(folder, 'x.save');
    const save = refuses('hypervisor.missing', driver.save(uuid, path, { afterwards: 'stopped' }));
    while (world.find(uuid)?.run !== 'saving') await settle();
    await world.dropClients();
    await save;
    driver = openDriver();
    assert.equal(await runOf(uuid), 'running');
    assert.deepEqual(await readdir(folder), [uuid]);
  });

  test('take with them what has had no effect yet', async () => {
    open({ latencyMs: { start: 100 } });
    const start = refuses('hypervisor.missing', driver.start(CONFIG, { isPaused: false }));
    await settle();
    await world.dropClients();
    await start;
    await clock.advance(1000);
    assert.deepEqual(world.list(), []);
  });
});
