import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { defaultPath } from './transport.ts';

test('the socket is used if it is there or hidden, else the device if that is there', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'xenstore-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [absent, device, loop] = ['absent', 'device', 'loop'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(device, '');
  symlinkSync('loop', loop);
  assert.equal(defaultPath(absent, absent), absent);
  assert.equal(defaultPath(absent, device), device);
  assert.equal(defaultPath(device, device), device);
  // As a folder that others may not look into, this cannot be looked at.
  const hidden = join(loop, 'socket');
  assert.equal(defaultPath(hidden, device), hidden);
  assert.equal(defaultPath(absent, hidden), hidden);
});
