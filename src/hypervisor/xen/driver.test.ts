import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { sleep, systemClock } from '../../lib/clock.ts';
import { type Fault, type FaultCode, isFault } from '../../lib/fault.ts';
import { domainPaths } from './paths.ts';
import { failing, fakeXen, printing } from './testing/fake-xen.ts';
import { sampleConfig, sampleSave } from './testing/sample-save.ts';

/** `SHUTDOWN_suspend`. */
const SUSPEND = 2;

async function refusal(code: FaultCode, promise: Promise<unknown>): Promise<Fault> {
  try {
    await promise;
  } catch (error) {
    if (!isFault(error)) throw error;
    assert.equal(error.code, code, error.message);
    return error;
  }
  return assert.fail(`expected ${code}`);
}

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

test('a look costs xl nothing while nothing has changed, and is new when something has', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  await driver.find(uuid);
  await xen.until('quiet', () => (xen.running === 0 ? true : undefined));
  const before = xen.lists;
  for (let i = 0; i < 50; i++) assert.equal((await driver.find(uuid))?.run, 'running');
  assert.equal(xen.lists, before);
  await xen.shutDown(uuid, 3);
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
  await xen.shutDown(uuid, SUSPEND);
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

test('a guest that does not answer a request to power off is told as such, and the request is withdrawn', async (t) => {
  const xen = await fakeXen(t);
  const clock = {
    ...systemClock,
    after: (ms: number, fire: () => void) => systemClock.after(ms === 20_000 ? 200 : ms, fire),
  };
  const driver = xen.driver({ clock });
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  xen.commands.set('shutdown', async () => {
    await xen.write('/local/domain/1/control/shutdown', 'poweroff');
    return undefined;
  });
  const fault = await refusal('timeout', driver.requestShutdown(uuid));
  assert.match(fault.message, /The answer of VM vm1 to the request to power off took longer than 20 s/);
  assert.equal(await xen.read('/local/domain/1/control/shutdown'), '');
  xen.commands.delete('shutdown');
  await driver.requestShutdown(uuid);
  const dead = await xen.until('its end', async () => {
    const domain = await driver.find(uuid);
    return domain?.run === 'dead' ? domain : undefined;
  });
  assert.equal(dead.death?.reason, 'halt');
});

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
  await xen.shutDown(uuid, 2);
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
  await xen.shutDown(uuid, 1);
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
