/** `--dry-run`: what would happen is said, as far as it goes right; and nothing happens. Simulated VMs. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { DeviceView, PreviewView, VmView } from '../../src/api/views.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

let stage: Stage;
let world: WorldProcess;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  await stage.startDaemon({ USHER_SIMULATOR_WORLD: world.socket });
  for (const name of ['work', 'play', 'new']) {
    await writeFile(join(stage.home, `${name}.cfg`), `name = ${name}\ndriver = simulator\nmemory = 64\n`);
  }
  for (const name of ['work', 'play']) await stage.usher('vm', 'create', join(stage.home, `${name}.cfg`));
  await stage.usher('vm', 'start', 'work');
  for (const port of ['1', '2']) {
    await stage.usher('usb', 'plug', '--at', `virtual:1-${port}`, '--kind', 'tablet', '--serial', `S${port}`);
  }
  await stage.usher('usb', 'assign', 'work', 'virtual:1-1', '--auto');
  await stage.usher('usb', 'assign', 'play', 'virtual:1-2', '--auto');
  await stage.usher('usb', 'attach', 'work', 'virtual:1-1');
});
after(async () => {
  await stage.strike();
  await world.stop();
});

/** Everything that a command could have changed, and the trail. */
async function everything(): Promise<unknown> {
  const questions = [
    ['vm', 'list'],
    ['usb', 'list', '--all'],
    ['usb', 'assignments'],
    ['usb', 'holds'],
    ['audit', 'verify'],
  ];
  return await Promise.all(questions.map((words) => stage.ask(...words)));
}

for (const [words, says] of [
  [
    ['vm', 'create', '$HOME/new.cfg'],
    /^VM new \(.*\) would be taken in, with the driver simulator; nothing is started/,
  ],
  [['vm', 'set', 'work', '--autostart', 'yes'], /^VM work would be started with the host/],
  [['vm', 'remove', 'play'], /^VM play would leave the inventory, and 1 of its assignments with it/],
  [
    ['vm', 'start', 'play'],
    /^VM play is halted, and would be running\.\nvirtual:1-2 would be attached to VM play; as it is, waiting for VM play/,
  ],
  [['vm', 'pause', 'work'], /^VM work is running, and would be paused/],
  [['vm', 'shutdown', 'work'], /^VM work is running, and would be halted\.\nvirtual:1-1 would be waiting for VM work/],
  [['vm', 'suspend', 'work'], /would be suspended\.\nvirtual:1-1 would be waiting/],
  [['vm', 'checkpoint', 'work', '$HOME/save'], /^VM work would stay running/],
  [['vm', 'restart', 'work'], /^VM work would stay running/],
  [['vm', 'reset', 'work'], /^VM work would stay running/],
  [['vm', 'destroy', 'work'], /^VM work is running, and would be halted/],
  [['usb', 'plug', '--at', 'virtual:1-3', '--kind', 'mouse'], /^A mouse would be plugged at virtual:1-3/],
  [['usb', 'unplug', 'virtual:1-1'], /^virtual:1-1 would be gone/],
  [
    ['usb', 'attach', 'work', 'virtual:1-2'],
    /^virtual:1-2 would be attached to VM work; as it is, waiting for VM play/,
  ],
  [['usb', 'detach', 'virtual:1-1'], /^virtual:1-1 would be left with its backend; as it is, attached to VM work/],
  [['usb', 'release', 'virtual:1-1'], /^Nothing would change/],
  [
    ['usb', 'assign', 'work', 'virtual:1-2:0627:*', '--auto'],
    /^It matches virtual:1-2\.\nvirtual:1-2 would be attached to VM work/,
  ],
  [['usb', 'assign', 'work', 'virtual:7-*', '--auto'], /^It matches nothing that is plugged now\.$/],
  [['usb', 'unassign', '2'], /^virtual:1-2 would be left with its backend/],
  [['usb', 'reconcile'], /^Every device is where it belongs, or waits/],
] as const) {
  test(`usher ${words.join(' ')} --dry-run says what would be, and nothing is`, async () => {
    const line = words.map((word) => word.replace('$HOME', stage.home));
    const before = await everything();
    assert.match((await stage.usher(...line, '--dry-run')).trim(), says);
    assert.deepEqual(await everything(), before);
  });
}

for (const [words, status, says] of [
  [['vm', 'start', 'work'], 5, /VM work is running/],
  [['vm', 'remove', 'work'], 5, /expected halted/],
  [['vm', 'create', '$HOME/work.cfg'], 5, /already a VM with the name "work"/],
  [['vm', 'adopt', 'nobody'], 4, /nobody/],
  [['usb', 'attach', 'play', 'virtual:1-1'], 5, /VM play is halted/],
  [['usb', 'attach', 'work', 'virtual:1-2', '--port', '7-1'], 4, /has no port 7-1/],
  [['usb', 'attach', 'work', 'virtual:9-9'], 4, /There is no device/],
  [['usb', 'plug', '--at', 'virtual:1-1', '--kind', 'mouse'], 5, /already plugged/],
  [['usb', 'unassign', '99'], 4, /no assignment 99/],
  [['usb', 'answer', 'virtual:1-2', 'no'], 4, /Nobody is asked/],
  [['usb', 'release', 'virtual:1-2'], 4, /not held/],
] as const) {
  test(`usher ${words.join(' ')} --dry-run is refused as without it`, async () => {
    const line = words.map((word) => word.replace('$HOME', stage.home));
    for (const more of [['--dry-run'], []]) {
      const refused = await stage.try(...line, ...more);
      assert.deepEqual([refused.status, says.test(refused.stderr)], [status, true], refused.stderr);
    }
  });
}

test('what was foreseen comes', async () => {
  const { says } = await stage.ask<PreviewView>('vm', 'start', 'play', '--dry-run');
  assert.match(says.join(' '), /virtual:1-2 would be attached to VM play/);
  await stage.usher('vm', 'start', 'play');
  const devices = await stage.ask<DeviceView[]>('usb', 'list');
  assert.equal(devices.find(({ device }) => device === 'virtual:1-2')?.vm, 'play');
  const vms = await stage.ask<VmView[]>('vm', 'list');
  assert.ok(vms.every(({ state }) => state === 'running'));
});
