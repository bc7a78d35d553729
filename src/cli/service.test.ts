import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { closedFolder, serviceUnit } from './service.ts';

test('the unit runs this bundle by this Node, and stopping it stops no VM', () => {
  const unit = serviceUnit('/opt/node 24/bin/node', '/opt/usher/dist/usherd.cjs');
  assert.match(
    unit,
    /^ExecStart="\/opt\/node 24\/bin\/node" --max-semi-space-size=1 "\/opt\/usher\/dist\/usherd.cjs"$/m,
  );
  assert.match(unit, /^KillMode=process$/m);
  assert.match(unit, /^Restart=always$/m);
  assert.match(unit, /^After=.* xenstored\.service .*xenconsoled\.service$/m);
  assert.doesNotMatch(unit, /ProtectKernelTunables|ReadOnlyPaths/, 'drivers_probe is written to');
  assert.match(unit, /^WantedBy=multi-user.target$/m);
});

test('unprivileged it is another user’s, with the folders of the host and what the guests have in them', () => {
  const unit = serviceUnit('/opt/node/bin/node', '/opt/usher/dist/usherd.cjs', true);
  for (const line of [
    'User=usher',
    'Group=usher', // by which the daemon knows that it is the host's
    'Environment=USHER_SYSTEM=1',
    'StateDirectory=usher',
    'RuntimeDirectory=usher',
    'RuntimeDirectoryPreserve=yes', // the sockets of guests that go on
    'CapabilityBoundingSet=',
    'KillMode=process',
  ]) {
    assert.ok(unit.split('\n').includes(line), line);
  }
  const section = unit.slice(unit.indexOf('[Service]'), unit.indexOf('[Install]'));
  assert.match(section, /^Type=exec\nUser=usher$/m);
  assert.doesNotMatch(serviceUnit('/n', '/d/usherd.cjs'), /User=|USHER_SYSTEM|CapabilityBoundingSet/);
});

test('finds the folder that others may not enter', () => {
  const root = mkdtempSync(join(tmpdir(), 'usher-service-'));
  const inner = join(root, 'inner');
  mkdirSync(inner);
  writeFileSync(join(inner, 'usherd.cjs'), '');
  chmodSync(inner, 0o755);
  assert.equal(closedFolder(join(inner, 'usherd.cjs')), root, 'mkdtemp makes it for its owner alone');
  chmodSync(root, 0o711);
  assert.equal(closedFolder(join(inner, 'usherd.cjs')), undefined);
  rmSync(root, { recursive: true });
});

test('a path cannot add words or specifiers to the unit', () => {
  const unit = serviceUnit('/n', '/a"b\\c%d$e/dist/usherd.cjs');
  assert.match(unit, /^ExecStart="\/n" --max-semi-space-size=1 "\/a\\"b\\\\c%%d\$\$e\/dist\/usherd.cjs"$/m);
});
