import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failing, fakeXen, printing } from './testing/fake-xen.ts';
import { refusal } from './testing/refusal.ts';

test('media, memory and triggers are xl’s words; its refusal of a trigger says what the guest lacks', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  for (const command of ['cd-insert', 'cd-eject', 'mem-set', 'trigger']) xen.commands.set(command, () => printing(''));
  await driver.changeMedium(uuid, 'hdc', '/srv/a,b.iso');
  await driver.changeMedium(uuid, 'hdc', undefined);
  await driver.setMemoryTarget(uuid, 64);
  await driver.trigger(uuid, 'sleep');
  assert.deepEqual(xen.words.slice(1), [
    ['cd-insert', '1', 'hdc', '/srv/a,b.iso'],
    ['cd-eject', '1', 'hdc'],
    ['mem-set', '1', '64m'],
    ['trigger', '1', 'sleep'],
  ]);
  xen.commands.set('trigger', () => failing('no such board'));
  assert.match((await refusal('vm.unsupported', driver.trigger(uuid, 'nmi'))).message, /no such board/);
});

test('a VNC display is where the device model noted its port; what is no port is none', async (t) => {
  const xen = await fakeXen(t);
  const driver = xen.driver();
  const { uuid } = await driver.start(xen.config(1), { isPaused: false });
  assert.equal(await driver.findVnc(uuid), undefined);
  await xen.write('/local/domain/1/console/vnc-port', '5901');
  assert.deepEqual(await driver.findVnc(uuid), { host: '127.0.0.1', port: 5901 });
  await xen.write('/local/domain/1/console/vnc-port', '-1');
  assert.equal(await driver.findVnc(uuid), undefined);
  await driver.destroy(uuid);
  await refusal('vm.no_domain', driver.findVnc(uuid));
});
