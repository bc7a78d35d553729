import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { completeConfig } from '../config/xenvm-file.ts';
import { systemClock } from '../lib/clock.ts';
import { Fault } from '../lib/fault.ts';
import { silentLog } from '../lib/log.ts';
import { debugLogOf, withDebugLog } from './debug-log.ts';
import type { Domain, Driver } from './driver.ts';

test('what is done to a VM that asks for it is written down, over restarts of the daemon, for us alone', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-debug-'));
  t.after(() => rm(folder, { recursive: true }));
  const config = completeConfig({}, { name: 'work', driver: 'simulator' });
  const { uuid } = config;
  /** Knows only what is asked for here. */
  class Told {
    readonly name = 'simulator';
    readonly #domain = { uuid } as Domain;
    start = () => Promise.resolve(this.#domain);
    pause() {
      return Promise.reject(new Fault('vm.no_domain', { vm: this.name }));
    }
    find() {
      return Promise.resolve(this.#domain);
    }
  }
  const logs = join(folder, 'logs');
  const open = () =>
    withDebugLog(new Told() as unknown as Driver, { folder: logs, clock: systemClock, log: silentLog });
  const path = debugLogOf(logs, uuid);
  await open().start(config, { isPaused: true });
  await assert.rejects(stat(path), 'nobody asked for it');

  const driver = open();
  assert.equal(driver.name, 'simulator');
  await driver.start({ ...config, isDebugged: true }, { isPaused: true, signal: new AbortController().signal });
  await driver.find(uuid);
  await assert.rejects(open().pause(uuid), /work|simulator/);
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const said = lines.map((line) => line.replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z /, ''));
  assert.ok(said.includes('config: debug = true'));
  assert.ok(said.includes('start [{"isPaused":true}]'), said.join('\n'));
  assert.match(said.join('\n'), /start: done in \d+ ms\npause \[\]\npause: failed after \d+ ms: .*simulator/);
  assert.equal((await stat(path)).mode & 0o077, 0);

  await open().start(config, { isPaused: true });
  await assert.rejects(stat(path));
  assert.equal((await readFile(`${path}.1`, 'utf8')).trimEnd().split('\n').length, lines.length);
});
