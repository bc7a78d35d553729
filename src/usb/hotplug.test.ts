import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, suite, test } from 'node:test';
import { pollUntil } from '../lib/deadline.ts';
import { watchHotplug } from './hotplug.ts';

let devRoot = '';
let hints = 0;
let stop = () => {};

function begin(): void {
  hints = 0;
  stop = watchHotplug({ devRoot, onHint: () => hints++, how: 'inotify' });
}

async function hinted(what: string): Promise<void> {
  await pollUntil({ what, timeoutMs: 5_000, everyMs: 2 }, () => hints > 0 || undefined);
  // Let the rest of the same change come in, so that the next wait is for the next change.
  for (let quiet = 0, before = hints; quiet < 5; quiet++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    if (hints !== before) [quiet, before] = [0, hints];
  }
  hints = 0;
}

suite('watchHotplug by inotify', () => {
  beforeEach(() => {
    devRoot = mkdtempSync(join(tmpdir(), 'usher-dev-'));
    mkdirSync(join(devRoot, 'bus/usb/001'), { recursive: true });
  });
  afterEach(() => {
    stop();
    rmSync(devRoot, { recursive: true });
  });

  test('hints when a node comes or goes, on a new bus too', async () => {
    begin();
    const node = join(devRoot, 'bus/usb/001/002');
    writeFileSync(node, '');
    await hinted('a node');
    rmSync(node);
    await hinted('no node');
    mkdirSync(join(devRoot, 'bus/usb/002'));
    await hinted('a bus');
    writeFileSync(join(devRoot, 'bus/usb/002/001'), '');
    await hinted('a node on the new bus');
    rmSync(join(devRoot, 'bus/usb/002'), { recursive: true });
    await hinted('no bus');
    writeFileSync(join(devRoot, 'bus/usb/001/003'), '');
    await hinted('another node on the old bus');
  });

  test('many events at once make few hints', async () => {
    begin();
    for (let n = 10; n < 60; n++) writeFileSync(join(devRoot, `bus/usb/001/0${n}`), '');
    await pollUntil({ what: 'a hint', timeoutMs: 5_000, everyMs: 2 }, () => hints > 0 || undefined);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok(hints <= 5, `${hints} hints`);
  });

  test('stopped, it says nothing', async () => {
    begin();
    writeFileSync(join(devRoot, 'bus/usb/001/002'), '');
    stop();
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(hints, 0);
  });

  test('a host without the folder, nor udev, is no error', async () => {
    stop = watchHotplug({ devRoot: '/nonexistent', onHint: () => {}, how: 'inotify' });
    stop();
    const path = process.env['PATH'];
    process.env['PATH'] = '/nonexistent';
    stop = watchHotplug({ devRoot: '/nonexistent', onHint: () => hints++ });
    process.env['PATH'] = path;
    await new Promise((resolve) => setTimeout(resolve, 20));
  });
});
