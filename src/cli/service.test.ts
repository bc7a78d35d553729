import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serviceUnit } from './service.ts';

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

test('a path cannot add words or specifiers to the unit', () => {
  const unit = serviceUnit('/n', '/a"b\\c%d$e/dist/usherd.cjs');
  assert.match(unit, /^ExecStart="\/n" --max-semi-space-size=1 "\/a\\"b\\\\c%%d\$\$e\/dist\/usherd.cjs"$/m);
});
