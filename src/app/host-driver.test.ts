import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { driverOfHost, hasSignsOfXen } from './host-driver.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-host-'));
after(() => rmSync(folder, { recursive: true }));

test('a host is of Xen in its control domain only', async () => {
  const file = join(folder, 'capabilities');
  assert.equal(await driverOfHost(file), 'qemu', 'no Xen');
  for (const [text, driver] of [
    ['control_d\n', 'xen'],
    ['control_d,other\n', 'xen'],
    ['\n', 'qemu'],
    ['no_control_d\n', 'qemu'],
  ] as const) {
    writeFileSync(file, text);
    assert.equal(await driverOfHost(file), driver, text);
  }
});

test('a host is meant for Xen when it has something of its toolstack, also when it was booted without', async () => {
  const sign = join(folder, 'xl');
  assert.equal(await hasSignsOfXen([sign]), false);
  writeFileSync(sign, '');
  assert.equal(await hasSignsOfXen([join(folder, 'other'), sign]), true);
});
